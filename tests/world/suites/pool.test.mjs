// The pool: gaps, replacement, order, and what `txpool_` shows of it.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { Wallet } from "ethers";
import { addresses, keys } from "../accounts.mjs";
import { receiptOf } from "../deploy.mjs";
import { CHAIN_ID, isAnvil, startNode } from "../node.mjs";

const GWEI = 10n ** 9n;

let node;
let nextAccount = 2;
let wallet;

before(async () => {
  node = await startNode();
});
after(() => node?.stop());
beforeEach(() => {
  wallet = new Wallet(keys[nextAccount]);
  nextAccount += 1;
});

async function sign(nonce, { tip = GWEI, max = 100n * GWEI, value = 1n, from = wallet } = {}) {
  return from.signTransaction({
    type: 2,
    chainId: CHAIN_ID,
    to: addresses[1],
    value,
    gasLimit: 21_000n,
    maxFeePerGas: max,
    maxPriorityFeePerGas: tip,
    nonce,
  });
}
const submit = (raw) => node.request("eth_sendRawTransaction", [raw]);
const refusal = async (raw) => (await node.tryRequest("eth_sendRawTransaction", [raw])).error;

describe("gaps", () => {
  test("a transaction waits for the ones before it", async () => {
    const later = await submit(await sign(2));
    const middle = await submit(await sign(1));
    assert.equal(await node.request("eth_getTransactionReceipt", [later]), null);
    const status = await node.request("txpool_status");
    assert.ok(BigInt(status.queued) >= 2n, JSON.stringify(status));
    const content = await node.request("txpool_content");
    const mine = Object.entries(content.queued).find(([who]) => who.toLowerCase() === wallet.address.toLowerCase());
    assert.deepEqual(Object.keys(mine[1]).sort(), ["1", "2"]);
    assert.equal(mine[1]["2"].hash, later);
    const inspect = await node.request("txpool_inspect");
    const lines = Object.entries(inspect.queued).find(([who]) => who.toLowerCase() === wallet.address.toLowerCase());
    assert.match(lines[1]["1"], /wei/);
    const first = await submit(await sign(0));
    for (const hash of [first, middle, later]) assert.equal((await receiptOf(node, hash)).status, "0x1");
    assert.equal(await node.request("eth_getTransactionCount", [wallet.address, "latest"]), "0x3");
  });
});

describe("replacement", () => {
  test("needs a price that is a tenth higher", async () => {
    await node.request("evm_setAutomine", [false]);
    try {
      const original = await submit(await sign(0, { tip: 10n * GWEI }));
      const known = await refusal(await sign(0, { tip: 10n * GWEI }));
      if (!isAnvil) assert.match(known.message, /already known/);
      const little = await refusal(await sign(0, { tip: 10n * GWEI + 1n, max: 100n * GWEI + 1n, value: 2n }));
      if (!isAnvil) assert.match(little.message, /replacement transaction underpriced|underpriced/);
      const better = await submit(await sign(0, { tip: 20n * GWEI, max: 200n * GWEI, value: 3n }));
      assert.equal(await node.request("eth_getTransactionByHash", [original]), null);
      await node.request("evm_mine");
      assert.equal((await receiptOf(node, better)).status, "0x1");
      assert.equal(await node.request("eth_getTransactionReceipt", [original]), null);
    } finally {
      await node.request("evm_setAutomine", [true]);
    }
  });
});

describe("order", () => {
  test("the higher tip comes first, and an account's own order holds", { skip: isAnvil && "it orders by maximum" }, async () => {
    await node.request("evm_setAutomine", [false]);
    try {
      const other = new Wallet(keys[nextAccount]);
      nextAccount += 1;
      const low = await submit(await sign(0, { tip: GWEI }));
      const high = await submit(await sign(0, { tip: 50n * GWEI, from: other }));
      const lowNext = await submit(await sign(1, { tip: 60n * GWEI }));
      const status = await node.request("txpool_status");
      assert.equal(BigInt(status.pending), 3n);
      await node.request("evm_mine");
      const block = await node.request("eth_getBlockByNumber", ["latest", false]);
      assert.deepEqual(block.transactions, [high, low, lowNext]);
    } finally {
      await node.request("evm_setAutomine", [true]);
    }
  });

  test("an account may have many in one block", async () => {
    await node.request("evm_setAutomine", [false]);
    try {
      const hashes = [];
      for (let nonce = 0; nonce < 50; nonce += 1) hashes.push(await submit(await sign(nonce)));
      await node.request("evm_mine");
      const block = await node.request("eth_getBlockByNumber", ["latest", false]);
      assert.deepEqual(block.transactions, hashes);
    } finally {
      await node.request("evm_setAutomine", [true]);
    }
  });
});

describe("bounds", () => {
  test("a batch of raw transactions is taken whole", async () => {
    const calls = [];
    for (let nonce = 0; nonce < 100; nonce += 1) {
      calls.push({ jsonrpc: "2.0", id: nonce, method: "eth_sendRawTransaction", params: [await sign(nonce)] });
    }
    const response = await fetch(node.rpc, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(calls),
    });
    const answers = await response.json();
    assert.equal(answers.length, 100);
    assert.ok(answers.every((answer) => /^0x[0-9a-f]{64}$/.test(answer.result)), JSON.stringify(answers.find((a) => a.error)));
    await receiptOf(node, answers[99].result);
    assert.equal(await node.request("eth_getTransactionCount", [wallet.address, "latest"]), "0x64");
  });
});
