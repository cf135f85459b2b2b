// What test suites expect of a development node, under each of the names they use for it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FUNDED_WEI, addresses } from "../accounts.mjs";
import { deploy, hex, receiptOf, send } from "../deploy.mjs";
import { isAnvil, startNode } from "../node.mjs";
import { testContract } from "../solidity.mjs";

let node;
let probe;

before(async () => {
  node = await startNode();
  probe = await deploy(node, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
});
after(() => node?.stop());

const latest = () => node.request("eth_getBlockByNumber", ["latest", false]);
const pay = (from = addresses[0]) => send(node, { from, to: addresses[1], value: "0x1" });

describe("snapshots", () => {
  test("reverting takes everything back: state, blocks, receipts", async () => {
    const before = await latest();
    const id = await node.request("evm_snapshot");
    const receipt = await probe.send("set", [100, "gone soon"]);
    await pay();
    assert.equal(await node.request("evm_revert", [id]), true);
    assert.deepEqual(await latest(), before);
    assert.equal((await probe.call("value", []))[0], 7n);
    assert.equal(await node.request("eth_getTransactionReceipt", [receipt.transactionHash]), null);
    assert.equal(await node.request("eth_getBlockByHash", [receipt.blockHash, false]), null);
    assert.deepEqual(await node.request("eth_getLogs", [{ fromBlock: receipt.blockNumber, toBlock: "latest" }]).catch(() => []), []);
  });

  test("a snapshot serves once, and one takes later ones with it", async () => {
    const first = await node.request("evm_snapshot");
    await pay();
    const second = await node.request("evm_snapshot");
    await pay();
    assert.equal(await node.request("evm_revert", [first]), true);
    if (isAnvil) return; // it goes astray when asked for one that is gone
    for (const id of [first, second]) {
      const answer = await node.tryRequest("evm_revert", [id]);
      assert.ok(answer.error || answer.result === false, id);
    }
  });

  test("the same transaction again after a revert has the same effect", async () => {
    const id = await node.request("evm_snapshot");
    const one = await probe.send("set", [5, "again"]);
    await node.request("evm_revert", [id]);
    const other = await probe.send("set", [5, "again"]);
    assert.equal(one.gasUsed, other.gasUsed);
    assert.equal(one.blockNumber, other.blockNumber);
    assert.equal((await probe.call("value", []))[0], 5n);
  });
});

describe("time", () => {
  test("increaseTime moves the clock for good", async () => {
    const before = BigInt((await latest()).timestamp);
    await node.request("evm_increaseTime", [86_400]);
    await node.request("evm_mine");
    const after = BigInt((await latest()).timestamp);
    assert.ok(after >= before + 86_400n && after < before + 86_400n + 60n, `${before} -> ${after}`);
    await pay();
    assert.ok(BigInt((await latest()).timestamp) >= after);
  });

  test("setNextBlockTimestamp holds for the next block exactly", async () => {
    const at = BigInt((await latest()).timestamp) + 1_000n;
    await node.request("evm_setNextBlockTimestamp", [Number(at)]);
    const receipt = await pay();
    const block = await node.request("eth_getBlockByHash", [receipt.blockHash, false]);
    assert.equal(BigInt(block.timestamp), at);
    await pay();
    assert.ok(BigInt((await latest()).timestamp) >= at);
    const past = await node.tryRequest("evm_setNextBlockTimestamp", [Number(at - 500n)]);
    assert.ok(past.error, "the past is refused");
  });

  test("calls at the pending block see the time to come, those at the latest do not", async () => {
    const timeAt = async (tag) => (await probe.call("surroundings", [], tag))[1];
    await node.request("evm_mine");
    const now = await timeAt("latest");
    await node.request("evm_increaseTime", [5000]);
    assert.equal(await timeAt("latest"), now);
    const pending = await timeAt("pending");
    assert.ok(pending >= now + 5000n && pending < now + 5060n, `${now} -> ${pending}`);
    const waits = { from: addresses[0], to: probe.address, data: probe.encode("onlyAfter", now + 4000n) };
    await node.request("eth_estimateGas", [waits]); // where it would run
    assert.equal((await node.tryRequest("eth_estimateGas", [waits, "latest"])).error.code, 3);
    await node.request("evm_setNextBlockTimestamp", [Number(now + 9000n)]);
    assert.equal(await timeAt("pending"), now + 9000n);
    await node.request("evm_mine");
    assert.equal(await timeAt("latest"), now + 9000n);
  });

  test("a quantity in hexadecimal serves too", async () => {
    const at = BigInt((await latest()).timestamp) + 50n;
    await node.request("evm_setNextBlockTimestamp", [hex(at)]);
    await node.request("evm_mine", []);
    assert.equal(BigInt((await latest()).timestamp), at);
    await node.request("evm_increaseTime", [hex(10)]);
  });
});

describe("mining", () => {
  test("many blocks at once, with an interval", async () => {
    for (const prefix of ["hardhat", "anvil"]) {
      const before = await latest();
      await node.request(`${prefix}_mine`, [hex(10), hex(60)]);
      const after = await latest();
      assert.equal(BigInt(after.number), BigInt(before.number) + 10n, prefix);
      const passed = BigInt(after.timestamp) - BigInt(before.timestamp);
      assert.ok(passed >= 9n * 60n && passed <= 10n * 60n + 60n, `${prefix}: ${passed} s`);
      await node.request(`${prefix}_mine`, []);
      assert.equal(BigInt((await latest()).number), BigInt(after.number) + 1n);
    }
  });

  test("without automine, transactions wait and share a block", async () => {
    await node.request("evm_setAutomine", [false]);
    try {
      assert.equal(await node.request(isAnvil ? "anvil_getAutomine" : "hardhat_getAutomine"), false);
      const number = await node.request("eth_blockNumber");
      const hashes = [];
      for (let i = 0; i < 3; i += 1) {
        const tx = { from: addresses[0], to: addresses[1], value: hex(i + 1), gas: hex(21_000) };
        hashes.push(await node.request("eth_sendTransaction", [tx]));
      }
      assert.equal(await node.request("eth_blockNumber"), number);
      assert.equal(await node.request("eth_getTransactionReceipt", [hashes[0]]), null);
      assert.equal((await node.request("eth_getTransactionByHash", [hashes[0]])).blockNumber, null);
      const counts = await Promise.all(["latest", "pending"].map((tag) => node.request("eth_getTransactionCount", [addresses[0], tag])));
      assert.equal(BigInt(counts[1]) - BigInt(counts[0]), 3n);
      await node.request("evm_mine");
      const receipts = await Promise.all(hashes.map((hash) => receiptOf(node, hash)));
      assert.equal(new Set(receipts.map((receipt) => receipt.blockHash)).size, 1);
      assert.deepEqual(receipts.map((receipt) => receipt.transactionIndex), ["0x0", "0x1", "0x2"]);
      assert.equal(BigInt(receipts[2].cumulativeGasUsed), 63_000n);
    } finally {
      await node.request("evm_setAutomine", [true]);
    }
  });

  test("by the clock", async () => {
    await node.request("evm_setIntervalMining", [1]);
    try {
      const receipt = await pay();
      assert.equal(receipt.status, "0x1");
    } finally {
      await node.request("evm_setIntervalMining", [0]);
      await node.request("evm_setAutomine", [true]);
    }
    await pay();
  });
});

for (const prefix of ["hardhat", "anvil"]) {
  describe(`${prefix}_ methods that write state`, () => {
    const someone = `0x${(prefix === "anvil" ? "a7" : "b7").repeat(20)}`;

    test("setBalance, and the root follows", async () => {
      const root = (await latest()).stateRoot;
      await node.request(`${prefix}_setBalance`, [someone, hex(123n * 10n ** 18n)]);
      assert.equal(BigInt(await node.request("eth_getBalance", [someone, "latest"])), 123n * 10n ** 18n);
      await node.request("evm_mine");
      assert.notEqual((await latest()).stateRoot, root);
    });

    test("setCode and setStorageAt", async () => {
      await node.request(`${prefix}_setCode`, [someone, testContract("Probe").deployedBytecode]);
      const slot = `0x${"0".repeat(64)}`;
      await node.request(`${prefix}_setStorageAt`, [someone, slot, `0x${"0".repeat(62)}2a`]);
      const output = await node.request("eth_call", [{ to: someone, data: probe.encode("value") }, "latest"]);
      assert.equal(BigInt(output), 42n);
      assert.equal(BigInt(await node.request("eth_getStorageAt", [someone, "0x0", "latest"])), 42n);
    });

    test("setNonce, forwards only", async () => {
      const fresh = `0x${(prefix === "anvil" ? "a8" : "b8").repeat(20)}`;
      await node.request(`${prefix}_setNonce`, [fresh, hex(9)]);
      assert.equal(await node.request("eth_getTransactionCount", [fresh, "latest"]), "0x9");
    });

    test("impersonation lets anyone send, until it is stopped", async () => {
      await node.request(`${prefix}_setBalance`, [probe.address, hex(10n ** 18n)]);
      await node.request(`${prefix}_impersonateAccount`, [probe.address]);
      const receipt = await send(node, { from: probe.address, to: addresses[9], value: "0x5", gas: hex(50_000) });
      assert.equal(receipt.from.toLowerCase(), probe.address.toLowerCase());
      assert.equal(receipt.status, "0x1");
      await node.request(`${prefix}_stopImpersonatingAccount`, [probe.address]);
      const tx = { from: probe.address, to: addresses[9], value: "0x5", gas: hex(50_000) };
      assert.ok((await node.tryRequest("eth_sendTransaction", [tx])).error);
    });

    test("what every copy of the ledger must agree on is set, or refused in words", async () => {
      const coinbase = await node.tryRequest(`${prefix}_setCoinbase`, [someone]);
      const baseFee = await node.tryRequest(`${prefix}_setNextBlockBaseFeePerGas`, [hex(7)]);
      await node.request("evm_mine");
      const block = await latest();
      if (coinbase.error) assert.match(coinbase.error.message, /not supported/);
      else assert.equal(block.miner.toLowerCase(), someone);
      if (baseFee.error) assert.match(baseFee.error.message, /not supported/);
      else assert.equal(block.baseFeePerGas, "0x7");
    });
  });
}

describe("an account at the start", () => {
  test("has ten thousand ether", async () => {
    assert.equal(BigInt(await node.request("eth_getBalance", [addresses[15], "latest"])), FUNDED_WEI);
  });
});
