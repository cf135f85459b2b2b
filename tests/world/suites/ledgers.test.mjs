// Ledgers that votes create while a consortium runs: of two of four members, of three, of all; what the others see of them; a pace,
// an upgrade, and a member who joins, all by vote and without a restart.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createPublicClient, createWalletClient, http, webSocket } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { id } from "ethers";
import { bletchley, events } from "../command.mjs";
import { Consortium, until } from "../consortium.mjs";
import { isAnvil } from "../node.mjs";
import { artefact } from "../solidity.mjs";

const MINUTES = 60_000;
const options = { skip: isAnvil && "anvil agrees with nobody", timeout: 15 * MINUTES };
const BANKS = { name: "banks", chainId: 4243, members: ["bank-a", "bank-b"] };
const BONDS = { name: "bonds", members: ["bank-a", "bank-b", "regulator"] };
/** Silence of an idle ledger that is voted for, and then another. */
const QUICK_MS = 400;
const SLOW_MS = 1_500;
/** Over so many blocks it shows: at the usual silence of 2 s they would take 20 s. */
const BLOCKS = 10;
const FAST_S = 9;
const erc20 = artefact("Erc20");
const account = privateKeyToAccount(id("ledgers"));

let consortium;

before(async () => {
  if (isAnvil) return;
  consortium = await Consortium.found();
});
after(() => consortium?.end());

const run = (member, ...words) => bletchley("consortium", ...words, "--data", consortium.data, "--member", member, "--json");

/** Proposes as the first bank, and lets the next two members agree. */
async function decide(...what) {
  const proposed = await run("bank-a", "propose", ...what);
  assert.equal(proposed.code, 0, `${proposed.stdout}\n${proposed.stderr}`);
  const { number } = events(proposed).at(-1);
  for (const voter of ["bank-b", "manufacturer"]) {
    await knows(consortium.named(voter), number, "open");
    const voted = await run(voter, "vote", "yes", `${number}`);
    assert.equal(voted.code, 0, `${voted.stdout}\n${voted.stderr}`);
  }
  for (const member of consortium.living) await knows(member, number, "accepted");
}

/** Waits until a member has the block that a proposal came to this state with: members are a moment apart. */
async function knows(member, number, status) {
  await until(`${member.name} has proposal ${number} as ${status}`, async () => {
    const { open, closed } = JSON.parse((await member.get("/v1/consortium")).body);
    return [...open, ...closed].some((found) => found.number === number && found.status === status);
  });
}

/** What a proposal is refused with. */
async function refused(...what) {
  const { code, stdout, stderr } = await run("bank-a", "propose", ...what);
  assert.notEqual(code, 0, stdout);
  return `${stdout}\n${stderr}`;
}

const names = async (member) => (await member.status()).ledgers.map(({ name }) => name);
const has = (member, ledger) => until(`${member.name} has ledger ${ledger}`, async () => (await names(member)).includes(ledger));

function chainOf(member, { name, chainId }) {
  const url = `${member.rpc}/ledgers/${name}`;
  const rpcUrls = { default: { http: [url], webSocket: [url.replace("http", "ws")] } };
  return { id: chainId, name, nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls };
}

function clients(member, ledger) {
  const chain = chainOf(member, ledger);
  const timing = { pollingInterval: 50, cacheTime: 0 };
  return {
    reader: createPublicClient({ chain, transport: http(), ...timing }),
    wallet: createWalletClient({ chain, account, transport: http() }),
    hearer: () => createPublicClient({ chain, transport: webSocket(undefined, { reconnect: false, keepAlive: false }), ...timing }),
  };
}

/** A bank proves the receipt of a transaction to a member that has nothing of the ledger but the votes that made it. */
async function proved(hash) {
  const file = join(consortium.data, "receipt.json");
  const of = (member) => ["--data", consortium.data, "--member", member];
  const shown = await bletchley("prove", "receipt", hash, "--ledger", BANKS.name, "--save", file, ...of("bank-b"));
  assert.equal(shown.code, 0, `${shown.stdout}\n${shown.stderr}`);
  const checked = await bletchley("check", file, "--ledger", BANKS.name, ...of("manufacturer"));
  assert.equal(checked.code, 0, `${checked.stdout}\n${checked.stderr}`);
  assert.match(checked.stdout, /2 of 2 validators signed/);
  const wrong = await bletchley("check", file, ...of("manufacturer"));
  assert.equal(wrong.code, 2, `${wrong.stdout}\n${wrong.stderr}`);
}

describe("a ledger of two of four members", options, () => {
  let token;

  test("starts on their nodes when the vote is final, and on no other", async () => {
    await decide("create-ledger", BANKS.name, "--kind", "evm", "--chain-id", `${BANKS.chainId}`, "--members", BANKS.members.join(","));
    for (const member of consortium.members) {
      if (BANKS.members.includes(member.name)) await has(member, BANKS.name);
      else assert.ok(!(await names(member)).includes(BANKS.name), member.name);
    }
  });

  test("takes contracts and transfers through both, over HTTP and WebSocket", async () => {
    const [one, other] = BANKS.members.map((name) => clients(consortium.named(name), BANKS));
    assert.equal(await one.reader.getChainId(), BANKS.chainId);
    const fees = { maxFeePerGas: 0n, maxPriorityFeePerGas: 0n };
    const deployed = await one.wallet.deployContract({ ...erc20, args: [1000n], gas: 3_000_000n, ...fees });
    const { contractAddress } = await one.reader.waitForTransactionReceipt({ hash: deployed });
    token = { address: contractAddress, abi: erc20.abi };
    await until("the other bank has it", () => other.reader.getTransactionReceipt({ hash: deployed }));
    const heads = [];
    const hearer = one.hearer();
    const unwatch = hearer.watchBlockNumber({ onBlockNumber: (number) => heads.push(number) });
    const receiver = "0x00000000000000000000000000000000000000aa";
    const hash = await other.wallet.writeContract({ ...token, functionName: "transfer", args: [receiver, 7n], gas: 100_000n, ...fees });
    const { status } = await other.reader.waitForTransactionReceipt({ hash });
    assert.equal(status, "success");
    await until("the first bank has it", () => one.reader.getTransactionReceipt({ hash }));
    assert.equal(await one.reader.readContract({ ...token, functionName: "balanceOf", args: [receiver] }), 7n);
    await until("its blocks are heard of", () => heads.length > 0);
    unwatch();
    (await hearer.transport.getRpcClient()).close();
    await proved(hash);
  });

  test("asks cryptlets, and both banks' hosts sign what its contract is told", async () => {
    await consortium.isReady();
    const { reader, wallet } = clients(consortium.named("bank-a"), BANKS);
    const fees = { gas: 5_000_000n, maxFeePerGas: 0n, maxPriorityFeePerGas: 0n };
    const delegating = artefact("Delegating");
    const deployed = await wallet.deployContract({ ...delegating, ...fees });
    const { contractAddress: address } = await reader.waitForTransactionReceipt({ hash: deployed });
    const hash = await wallet.writeContract({ address, abi: delegating.abi, functionName: "countDelegated", args: [20240229], ...fees });
    const { status, logs } = await reader.waitForTransactionReceipt({ hash });
    assert.deepEqual([status, logs.length], ["success", 1]);
    const other = clients(consortium.named("bank-b"), BANKS).reader;
    await until("the other bank has checked it", () => other.getTransactionReceipt({ hash }));
  });

  test("is nowhere on the others: not on disk, not in an interface", async () => {
    for (const name of ["manufacturer", "regulator"]) {
      const member = consortium.named(name);
      assert.ok(!existsSync(join(member.data, "ledgers", BANKS.name)), `${name} keeps it`);
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_blockNumber", params: [] });
      const answer = await fetch(`${member.rpc}/ledgers/${BANKS.name}`, { method: "POST", body });
      assert.equal(answer.status, 404);
      assert.match((await answer.json()).error.message, /no ledger "banks"/);
      assert.equal((await member.get(`/ledgers/${BANKS.name}/v1/network`)).status, 404);
      assert.doesNotMatch((await member.get("/metrics")).body, /ledger="banks"/);
      // That there is such a ledger everybody knows by the vote.
      const told = await run(name, "ledgers");
      assert.match(told.stdout, /"banks"/);
    }
  });

  test("comes back with a member that is started again", async () => {
    const bank = consortium.named("bank-b");
    await bank.kill();
    await bank.restart();
    await has(bank, BANKS.name);
    const { reader } = clients(bank, BANKS);
    await until("it has the state", async () => (await reader.readContract({ ...token, functionName: "totalSupply" })) === 1000n);
    const before = await bank.height(BANKS.name);
    await until("it goes on", async () => (await bank.height(BANKS.name)) > before);
  });

  test("is no way around the rules: what cannot be is refused in words", async () => {
    const create = (name, ...more) => refused("create-ledger", name, ...more);
    assert.match(await create("banks", "--chain-id", "9"), /there is a ledger banks already/);
    assert.match(await create("evm", "--chain-id", "9"), /there is a ledger evm already/);
    assert.match(await create("more", "--chain-id", `${BANKS.chainId}`), /chain id 4243 belongs to another ledger/);
    assert.match(await create("more"), /chain id above 0/);
    assert.match(await create("more", "--chain-id", "9", "--members", "bank-a,nobody"), /no member nobody/);
    assert.match(await create("more", "--chain-id", "9", "--members", "bank-a", "--engine", "simplex"), /one validator, and simplex is for members that agree/);
    assert.match(await create("more", "--chain-id", "9", "--members", "bank-a,bank-b", "--engine", "solo"), /for one member alone/);
    assert.match(await create("../evil", "--kind", "utxo"), /no name for a ledger/);
    assert.match(await create("more", "--kind", "utxo", "--chain-id", "9"), /any other ledger has none/);
  });
});

describe("a token ledger of three", options, () => {
  const token = (member, ...words) => bletchley("token", ...words, "--ledger", BONDS.name, "--data", consortium.data, "--member", member, "--json");

  test("takes tokens through any of them", async () => {
    await decide("create-ledger", BONDS.name, "--kind", "utxo", "--engine", "tendermint", "--members", BONDS.members.join(","));
    for (const name of BONDS.members) await has(consortium.named(name), BONDS.name);
    const issued = await token("bank-a", "issue", "--as", "manufacturer", "--class", "bond", "--serial", "1");
    assert.equal(issued.code, 0, `${issued.stdout}\n${issued.stderr}`);
    const given = await until("the regulator sees it", async () => {
      const shown = await token("regulator", "show", "manufacturer/bond/1");
      return shown.code === 0 && shown;
    });
    assert.match(given.stdout, /bond/);
    const moved = await token("regulator", "transfer", "manufacturer/bond/1", "--to", "alice");
    assert.equal(moved.code, 0, `${moved.stdout}\n${moved.stderr}`);
    const proof = await token("bank-b", "proof", "manufacturer/bond/1");
    assert.equal(proof.code, 0, `${proof.stdout}\n${proof.stderr}`);
  });

  test("is another than the root ledger, and not the fourth member's", async () => {
    const shown = await bletchley("token", "show", "manufacturer/bond/1", "--data", consortium.data, "--member", "bank-a");
    assert.notEqual(shown.code, 0, shown.stdout);
    const other = await token("manufacturer", "show", "manufacturer/bond/1");
    assert.match(`${other.stdout}${other.stderr}`, /no ledger/);
    assert.ok(!existsSync(join(consortium.named("manufacturer").data, "ledgers", BONDS.name)));
  });
});

describe("without a restart", options, () => {
  test("a ledger of one member alone starts on its node", async () => {
    await decide("create-ledger", "books", "--chain-id", "4244", "--members", "regulator");
    await has(consortium.named("regulator"), "books");
    const { reader } = clients(consortium.named("regulator"), { name: "books", chainId: 4244 });
    assert.equal(await reader.getChainId(), 4244);
  });

  test("a pace that members vote for holds at the next blocks", async () => {
    const member = consortium.named("bank-a");
    const pids = consortium.members.map(({ pid }) => pid);
    await decide("set-parameter", `${BANKS.name}.heartbeatMs`, `${QUICK_MS}`);
    await until("its idle blocks come faster", async () => {
      const to = await member.height(BANKS.name);
      if (to <= BLOCKS) return false;
      const [first, last] = await Promise.all([to - BLOCKS, to].map((height) => secondsOf(member, BANKS.name, height)));
      return last - first <= FAST_S;
    });
    await decide("set-parameter", `${BANKS.name}.heartbeatMs`, `${SLOW_MS}`);
    assert.deepEqual(consortium.members.map(({ pid }) => pid), pids);
  });

  test("an upgrade holds from its height on: blocks of contracts may use twice the gas", async () => {
    const member = consortium.named("manufacturer");
    const gas = async () => Number((await member.request("eth_getBlockByNumber", ["latest", false])).gasLimit);
    const before = await gas();
    const height = (await member.height("tokens")) + 10;
    await decide("upgrade", "2", "--height", `${height}`);
    await until("blocks may use twice the gas", async () => (await gas()) === 2 * before);
    assert.ok((await member.height("tokens")) >= height);
    assert.ok(consortium.members.every((other) => other.isUp));
  });

  test("everything verifies, every ledger of every folder", async () => {
    await Promise.all(consortium.members.map((member) => member.stop()));
    for (const member of consortium.members) {
      const verdict = await bletchley("verify", member.data, "--json");
      assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
      const verified = events(verdict).filter(({ event }) => event === "ledger").map(({ ledger }) => ledger);
      assert.equal(verified.includes(BANKS.name), BANKS.members.includes(member.name), member.name);
      assert.equal(verified.includes(BONDS.name), BONDS.members.includes(member.name), member.name);
    }
    await Promise.all(consortium.members.map((member) => member.restart()));
    await consortium.isReady();
  });

  test("a node stops before rules that its program does not know, after it has warned", async () => {
    const member = consortium.named("bank-a");
    const height = (await member.height("tokens")) + 12;
    await decide("upgrade", "3", "--height", `${height}`);
    const warning = new RegExp(`protocol version 3 holds from block ${height}`);
    await until("it warns", async () => warning.test((await member.get("/readyz")).body) && warning.test(JSON.stringify(await member.status())));
    await until("every node has stopped", () => consortium.members.every((other) => !other.isUp));
    assert.match(member.log(), /install a newer bletchley/);
    await assert.rejects(member.restart(), /install a newer bletchley/);
    const verdict = await bletchley("verify", member.data, "--json");
    assert.equal(verdict.code, 0, verdict.stdout);
    const root = events(verdict).find(({ event, ledger }) => event === "ledger" && ledger === "tokens");
    assert.equal(root.height, height - 1);
  });
});

/** Time of a block of a ledger with contracts. */
async function secondsOf(member, ledger, height) {
  const params = [`0x${height.toString(16)}`, false];
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_getBlockByNumber", params });
  const answer = await fetch(`${member.rpc}/ledgers/${ledger}`, { method: "POST", body });
  return Number((await answer.json()).result.timestamp);
}
