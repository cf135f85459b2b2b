// Gas: an estimate must suffice, and must not be more than a little above what suffices.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { addresses } from "../accounts.mjs";
import { deploy, hex, receiptOf } from "../deploy.mjs";
import { isAnvil, startAnvil, startNode } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

/** geth stops its search this far above the least that suffices. */
const EXCESS_RATIO_MAX = 0.016;

let node;
let probe;
let erc20;

before(async () => {
  node = await startNode();
  probe = await deploy(node, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
  erc20 = await deploy(node, artefact("Erc20"), { from: addresses[0], args: [10n ** 24n] });
});
after(() => node?.stop());

async function suffices(tx, gas) {
  const answer = await node.tryRequest("eth_call", [{ ...tx, gas: hex(gas) }, "latest"]);
  return !answer.error;
}

/** The least gas with which a transaction succeeds, by search. */
async function least(tx, above) {
  let fails = 20_999n;
  let works = above;
  while (works - fails > 1n) {
    const middle = (works + fails) / 2n;
    if (await suffices(tx, middle)) works = middle;
    else fails = middle;
  }
  return works;
}

describe("estimates are tight", () => {
  const cases = {
    "a plain transfer": () => ({ to: addresses[1], value: "0x1" }),
    "an ERC-20 transfer to a new holder": () => ({
      to: erc20.address,
      data: erc20.encode("transfer", "0x00000000000000000000000000000000000000a1", 5),
    }),
    "setting a slot": () => ({ to: probe.address, data: probe.encode("set", 99, "text") }),
    "clearing slots, with a refund": () => ({ to: probe.address, data: probe.encode("clear", 0, 10) }),
    "gas forwarded to an inner call": () => ({ to: probe.address, data: probe.encode("needsForwardedGas", 500) }),
    "calls ten deep": () => ({ to: probe.address, data: probe.encode("nest", 10) }),
    "creating a contract": () => ({ to: probe.address, data: probe.encode("createChild", 5, `0x${"07".repeat(32)}`) }),
    "a deployment": () => ({ data: artefact("ItemRegister").bytecode }),
    "a long calldata, where EIP-7623 sets the floor": () => ({ to: addresses[1], data: `0x${"ff".repeat(5000)}` }),
  };
  before(() => probe.send("fill", [0, 10]));

  for (const [name, make] of Object.entries(cases)) {
    test(name, async () => {
      const tx = { from: addresses[0], ...make() };
      const estimate = BigInt(await node.request("eth_estimateGas", [tx]));
      if (name === "a plain transfer") assert.equal(estimate, 21_000n);
      assert.ok(await suffices(tx, estimate), `${estimate} does not suffice`);
      if (isAnvil) return;
      const needed = await least(tx, estimate);
      const excess = Number(estimate - needed) / Number(needed);
      assert.ok(excess <= EXCESS_RATIO_MAX, `${estimate} where ${needed} suffices`);
      const hash = await node.request("eth_sendTransaction", [{ ...tx, gas: hex(estimate) }]);
      assert.equal((await receiptOf(node, hash)).status, "0x1");
    });
  }

  test("what cannot succeed has no estimate", async () => {
    const poor = "0x00000000000000000000000000000000000000c1";
    const { error } = await node.tryRequest("eth_estimateGas", [{ from: poor, to: addresses[0], value: "0x1" }]);
    if (!isAnvil) assert.match(error.message, /insufficient funds/i);
    const looping = { from: addresses[0], to: probe.address, data: probe.encode("outOfGas") };
    const endless = await node.tryRequest("eth_estimateGas", [looping]);
    assert.ok(endless.error);
  });

  test("at a block of the past", async () => {
    const tx = { from: addresses[0], to: addresses[1], value: "0x1" };
    assert.equal(await node.request("eth_estimateGas", [tx, "0x1"]), "0x5208");
    assert.equal(await node.request("eth_estimateGas", [tx, "pending"]), "0x5208");
  });
});

describe("access lists", () => {
  test("name what was touched, and say what it costs", async () => {
    const tx = { from: addresses[0], to: probe.address, data: probe.encode("set", 5, "x") };
    const { accessList, gasUsed } = await node.request("eth_createAccessList", [tx, "latest"]);
    const entry = accessList.find((item) => item.address.toLowerCase() === probe.address.toLowerCase());
    assert.ok(entry.storageKeys.includes(`0x${"0".repeat(64)}`));
    assert.ok(BigInt(gasUsed) >= 21_000n);
    const withList = { ...tx, accessList, gas: hex(BigInt(gasUsed) + 5000n) };
    await node.request("eth_call", [withList, "latest"]);
    const receipt = await receiptOf(node, await node.request("eth_sendTransaction", [withList]));
    assert.equal(receipt.status, "0x1");
    assert.equal(receipt.type === "0x1" || receipt.type === "0x2", true);
  });

  test("are those that anvil gives", { skip: isAnvil && "this is anvil" }, async () => {
    const anvil = await startAnvil();
    try {
      const other = await deploy(anvil, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
      const list = async (where, contract, method, args) => {
        const tx = { from: addresses[0], to: contract.address, data: contract.encode(method, ...args) };
        const { accessList } = await where.request("eth_createAccessList", [tx, "latest"]);
        const keys = accessList.filter((item) => item.address.toLowerCase() === contract.address.toLowerCase());
        return keys.flatMap((item) => item.storageKeys).sort();
      };
      for (const [method, args] of [["nest", [3]], ["fill", [5, 3]], ["swallow", []], ["set", [1, "a"]]]) {
        assert.deepEqual(await list(node, probe, method, args), await list(anvil, other, method, args), method);
      }
    } finally {
      await anvil.stop();
    }
  });
});
