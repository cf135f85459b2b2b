// The real cast and forge, as a contract developer types them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { getCreateAddress } from "ethers";
import { addresses, keys } from "../accounts.mjs";
import { binary } from "../binaries.mjs";
import { CHAIN_ID, ROOT, isAnvil, startNode } from "../node.mjs";

const run = promisify(execFile);
const KEY = ["--private-key", keys[0]];
const SUPPLY = "1000000000000000000000000";

let node;
let home;
let erc20;

before(async () => {
  node = await startNode();
  home = mkdtempSync(join(tmpdir(), "bletchley-foundry-"));
  erc20 = await create("src/examples/Erc20.sol:Erc20", SUPPLY);
});
after(async () => {
  await node?.stop();
  if (home) rmSync(home, { recursive: true, force: true });
});

async function tool(name, args, cwd = home) {
  const env = { ...process.env, HOME: home, ETH_RPC_URL: node.rpc, NO_COLOR: "1", FOUNDRY_DISABLE_NIGHTLY_WARNING: "1" };
  const { stdout } = await run(binary(name), args, { cwd, env, maxBuffer: 1 << 26 });
  return stdout.trim();
}
const cast = (...args) => tool("cast", args);
const castJson = async (...args) => JSON.parse(await cast(...args, "--json"));
const first = (text) => text.split(/\s/)[0];

/** `forge create` in the project's own contracts folder; gives the address. */
async function create(contract, ...args) {
  const folder = ["--out", join(home, "out"), "--cache-path", join(home, "cache")];
  const extra = args.length > 0 ? ["--constructor-args", ...args] : [];
  const output = await tool("forge", ["create", contract, ...folder, ...KEY, "--broadcast", "--json", ...extra], join(ROOT, "contracts"));
  const { deployedTo, deployer, transactionHash } = JSON.parse(output.slice(output.indexOf("{")));
  assert.equal(deployer, addresses[0]);
  assert.match(transactionHash, /^0x[0-9a-f]{64}$/);
  return deployedTo;
}

describe("forge create", () => {
  test("left a contract where the nonce says", () => {
    assert.equal(erc20, getCreateAddress({ from: addresses[0], nonce: 0 }));
  });

  test("a contract with a constructor that checks its terms", async () => {
    const terms = [addresses[1], addresses[2], "10000000", "USD", "450", "20230131", "24"];
    const loan = await create("src/examples/Loan.sol:Loan", ...terms);
    assert.equal(await cast("call", loan, "currency()(string)"), '"USD"');
    const bad = [...terms];
    bad[3] = "XAU";
    await assert.rejects(create("src/examples/Loan.sol:Loan", ...bad), /revert/i);
  });
});

describe("cast asks", () => {
  test("about the chain", async () => {
    assert.equal(await cast("chain-id"), `${CHAIN_ID}`);
    assert.match(await cast("client"), isAnvil ? /anvil/ : /bletchley/i);
    assert.match(await cast("gas-price"), /^\d+$/);
    assert.match(await cast("base-fee"), /^\d+$/);
    assert.ok(Number(await cast("block-number")) >= 1);
    const block = await castJson("block", "1");
    assert.equal(block.number, "0x1");
    assert.equal(await cast("block", "1", "--field", "hash"), block.hash);
    assert.equal(await cast("age", "1").then((age) => age.length > 0), true);
    assert.equal((await cast("find-block", `${Number(block.timestamp)}`)).length > 0, true);
  });

  test("about accounts", async () => {
    assert.equal(await cast("balance", addresses[19], "--ether"), "10000.000000000000000000");
    assert.ok(Number(await cast("nonce", addresses[0])) >= 1);
    assert.match(await cast("code", erc20), /^0x60/);
    assert.match(await cast("codehash", erc20), /^0x[0-9a-f]{64}$/);
    const slot = await cast("index", "address", addresses[0], "0");
    assert.equal(BigInt(await cast("storage", erc20, slot)), BigInt(SUPPLY));
  });

  test("a contract, at a block of the past too", async () => {
    const balance = (...args) => cast("call", erc20, "balanceOf(address)(uint256)", addresses[1], ...args).then(first);
    const then = await cast("block-number");
    assert.equal(await balance(), "0");
    await cast("send", erc20, "transfer(address,uint256)", addresses[1], "5", ...KEY);
    assert.equal(await balance(), "5");
    assert.equal(await balance("--block", then), "0");
  });

  test("for proofs", async () => {
    const slot = await cast("index", "address", addresses[0], "0");
    const proof = await castJson("proof", erc20, slot);
    assert.equal(proof.storageProof.length, 1);
    assert.ok(proof.accountProof.length >= 1);
  });

  test("for estimates and access lists", async () => {
    const call = [erc20, "transfer(address,uint256)", addresses[3], "1", "--from", addresses[0]];
    const estimate = Number(await cast("estimate", ...call));
    assert.ok(estimate > 21_000 && estimate < 60_000, `${estimate}`);
    const list = await castJson("access-list", ...call);
    assert.equal(list.accessList.length, 1);
  });
});

describe("cast sends", () => {
  const transfer = (...extra) => castJson("send", erc20, "transfer(address,uint256)", addresses[4], "1", ...KEY, ...extra);

  test("each type of transaction", async () => {
    const list = JSON.stringify([{ address: erc20, storageKeys: [] }]);
    for (const [extra, type] of [[["--legacy"], "0x0"], [["--legacy", "--access-list", list], "0x1"], [[], "0x2"]]) {
      const receipt = await transfer(...extra);
      assert.equal(receipt.status, "0x1");
      assert.equal(receipt.type, type);
      assert.equal(receipt.logs.length, 1);
    }
  });

  test("an authorization, EIP-7702", async () => {
    const delegate = await create("src/examples/ItemRegister.sol:ItemRegister");
    const receipt = await castJson(
      "send", addresses[5], "setApprovalForAll(address,bool)", addresses[1], "true", "--auth", delegate, "--private-key", keys[5],
    );
    assert.equal(receipt.type, "0x4");
    assert.equal(receipt.status, "0x1");
    assert.equal(await cast("code", addresses[5]), `0xef0100${delegate.slice(2).toLowerCase()}`);
    assert.equal(await cast("call", addresses[5], "symbol()(string)"), '"ITEM"');
  });

  test("what was signed elsewhere", async () => {
    const raw = await cast("mktx", addresses[6], "--value", "7", ...KEY);
    const receipt = JSON.parse(await cast("publish", raw));
    assert.equal(receipt.status, "0x1");
  });

  test("a batch of a nonce gap, async", async () => {
    const nonce = Number(await cast("nonce", addresses[0]));
    const send = (at) => cast("send", addresses[7], "--value", "1", "--nonce", `${at}`, "--async", ...KEY);
    const later = await send(nonce + 1);
    await send(nonce);
    const receipt = await castJson("receipt", later);
    assert.equal(receipt.status, "0x1");
    const tx = await castJson("tx", later);
    assert.equal(Number(tx.nonce), nonce + 1);
  });

  test("from an account that the node unlocks", async () => {
    const receipt = await castJson("send", addresses[7], "--value", "1", "--from", addresses[8], "--unlocked");
    assert.equal(receipt.from.toLowerCase(), addresses[8].toLowerCase());
  });

  test("what cannot succeed is refused with its reason", async () => {
    const call = ["send", erc20, "transfer(address,uint256)", addresses[1], "1", "--private-key", keys[11]];
    await assert.rejects(cast(...call), (error) => /InsufficientBalance|revert/i.test(error.stderr));
  });
});

describe("cast looks back", () => {
  test("logs and receipts", async () => {
    const receipt = await castJson("send", erc20, "approve(address,uint256)", addresses[2], "9", ...KEY);
    const logs = await castJson("logs", "--from-block", "1", "--address", erc20, "Approval(address indexed,address indexed,uint256)");
    assert.deepEqual(logs.map((log) => log.transactionHash), [receipt.transactionHash]);
    assert.deepEqual((await castJson("receipt", receipt.transactionHash)).logs, receipt.logs);
  });

  test("a transaction is traced by the node, and again by cast itself", async () => {
    const { transactionHash } = await castJson("send", erc20, "transfer(address,uint256)", addresses[9], "3", ...KEY);
    const replayed = await cast("run", transactionHash, "--quick");
    assert.match(replayed, /emit Transfer|Transaction successfully executed/);
    const traced = await castJson("rpc", "debug_traceTransaction", transactionHash, '{"tracer":"callTracer"}');
    assert.equal(traced.to.toLowerCase(), erc20.toLowerCase());
  });
});

describe("forge script and test against the node", () => {
  test("cast call --trace forks its state", async () => {
    const output = await cast("call", erc20, "totalSupply()(uint256)", "--trace");
    assert.match(output, /totalSupply|0x18160ddd|Gas used/);
  });
});
