// What a client is told without asking again: subscriptions over WebSocket, filters over HTTP.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { addresses } from "../accounts.mjs";
import { deploy, send } from "../deploy.mjs";
import { isAnvil, startNode } from "../node.mjs";
import { artefact } from "../solidity.mjs";

const WAIT_MS = 15_000;

let node;
let erc20;

before(async () => {
  node = await startNode();
  erc20 = await deploy(node, artefact("Erc20"), { from: addresses[0], args: [10n ** 24n] });
});
after(() => node?.stop());

/** A JSON-RPC connection that collects notifications. */
async function connect() {
  const socket = new WebSocket(node.ws);
  const answers = new Map();
  const waiting = [];
  const notifications = [];
  let id = 0;
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.method === "eth_subscription") notifications.push(message.params);
    else answers.get(message.id)?.(message);
    waiting.splice(0).forEach((wake) => wake());
  });
  await new Promise((done, failed) => socket.once("open", done).once("error", failed));
  const raw = (method, params = []) =>
    new Promise((done) => {
      id += 1;
      answers.set(id, done);
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  return {
    socket,
    notifications,
    raw,
    request: async (method, params) => {
      const answer = await raw(method, params);
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      return answer.result;
    },
    until: async (holds, what) => {
      const deadline = setTimeout(() => waiting.splice(0).forEach((wake) => wake("late")), WAIT_MS);
      try {
        while (!holds()) {
          if ((await new Promise((wake) => waiting.push(wake))) === "late") throw new Error(`never came: ${what}`);
        }
      } finally {
        clearTimeout(deadline);
      }
    },
    close: () => new Promise((done) => socket.once("close", done) && socket.close()),
  };
}

describe("over WebSocket", () => {
  test("ordinary calls and batches work too", async () => {
    const client = await connect();
    assert.equal(await client.request("eth_chainId"), "0x7a69");
    const answer = new Promise((done) => client.socket.once("message", (data) => done(JSON.parse(data))));
    const call = (id) => ({ jsonrpc: "2.0", id, method: "eth_chainId", params: [] });
    client.socket.send(JSON.stringify([call("a"), call("b")]));
    assert.deepEqual((await answer).map(({ id, result }) => [id, result]), [["a", "0x7a69"], ["b", "0x7a69"]]);
    await client.close();
  });

  test("new heads follow each other", async () => {
    const client = await connect();
    const subscription = await client.request("eth_subscribe", ["newHeads"]);
    assert.match(subscription, /^0x[0-9a-f]+$/);
    const first = await erc20.send("transfer", [addresses[1], 1]);
    const second = await erc20.send("transfer", [addresses[1], 1]);
    const heads = () => client.notifications.map((n) => n.result);
    await client.until(() => heads().some((head) => head.hash === second.blockHash), "the second head");
    const numbers = heads().map((head) => BigInt(head.number));
    assert.deepEqual(numbers, [BigInt(first.blockNumber), BigInt(second.blockNumber)]);
    assert.equal(heads()[1].parentHash, first.blockHash);
    assert.ok(client.notifications.every((n) => n.subscription === subscription));
    assert.ok(!("transactions" in heads()[0]) || isAnvil, "a head is a header");
    const block = await node.request("eth_getBlockByHash", [first.blockHash, false]);
    for (const field of ["stateRoot", "logsBloom", "gasUsed", "baseFeePerGas", "timestamp", "miner"]) {
      assert.equal(heads()[0][field], block[field], field);
    }
    await client.close();
  });

  test("logs that match, and only those", async () => {
    const client = await connect();
    const to = `0x${addresses[2].slice(2).toLowerCase().padStart(64, "0")}`;
    await client.request("eth_subscribe", ["logs", { address: erc20.address, topics: [null, null, to] }]);
    await erc20.send("transfer", [addresses[1], 5]);
    const wanted = await erc20.send("transfer", [addresses[2], 6]);
    await client.until(() => client.notifications.length > 0, "a log");
    assert.deepEqual(client.notifications.map((n) => n.result.transactionHash), [wanted.transactionHash]);
    assert.equal(client.notifications[0].result.removed, false);
    await client.close();
  });

  test("pending transactions, by hash", async () => {
    const client = await connect();
    await client.request("eth_subscribe", ["newPendingTransactions"]);
    const receipt = await send(node, { from: addresses[0], to: addresses[1], value: "0x1" });
    await client.until(() => client.notifications.some((n) => n.result === receipt.transactionHash), "the hash");
    await client.close();
  });

  test("unsubscribing ends it, once", async () => {
    const client = await connect();
    const subscription = await client.request("eth_subscribe", ["newHeads"]);
    assert.equal(await client.request("eth_unsubscribe", [subscription]), true);
    const again = await client.raw("eth_unsubscribe", [subscription]);
    assert.ok(again.error || again.result === false);
    await send(node, { from: addresses[0], to: addresses[1], value: "0x1" });
    await client.request("eth_blockNumber");
    assert.equal(client.notifications.length, 0);
    await client.close();
  });

  test("unknown subscriptions and broken frames are refused", { skip: isAnvil && "anvil closes" }, async () => {
    const client = await connect();
    assert.ok((await client.raw("eth_subscribe", ["weather"])).error.code <= -32000);
    const answer = new Promise((done) => client.socket.once("message", (data) => done(JSON.parse(data))));
    client.socket.send("{ broken");
    assert.equal((await answer).error.code, -32700);
    assert.equal(await client.request("eth_chainId"), "0x7a69");
    await client.close();
  });
});

describe("filters", () => {
  const changes = (id) => node.request("eth_getFilterChanges", [id]);

  test("blocks since last asked", async () => {
    const id = await node.request("eth_newBlockFilter");
    assert.deepEqual(await changes(id), []);
    const receipt = await send(node, { from: addresses[0], to: addresses[1], value: "0x1" });
    assert.deepEqual(await changes(id), [receipt.blockHash]);
    assert.deepEqual(await changes(id), []);
    assert.equal(await node.request("eth_uninstallFilter", [id]), true);
    assert.equal(await node.request("eth_uninstallFilter", [id]), false);
  });

  test("logs since last asked, and all of them", async () => {
    const filter = { address: erc20.address, fromBlock: "earliest" };
    const id = await node.request("eth_newFilter", [filter]);
    await changes(id);
    const receipt = await erc20.send("transfer", [addresses[3], 1]);
    assert.deepEqual((await changes(id)).map((log) => log.transactionHash), [receipt.transactionHash]);
    assert.deepEqual(await changes(id), []);
    const all = await node.request("eth_getFilterLogs", [id]);
    assert.deepEqual(all, await node.request("eth_getLogs", [{ ...filter, toBlock: "latest" }]));
    assert.ok(all.length >= 2);
  });

  test("pending transactions since last asked", async () => {
    const id = await node.request("eth_newPendingTransactionFilter");
    const receipt = await send(node, { from: addresses[0], to: addresses[1], value: "0x1" });
    assert.ok((await changes(id)).includes(receipt.transactionHash));
  });

  test("a filter that is gone is an error", async () => {
    const answer = await node.tryRequest("eth_getFilterChanges", ["0xdeadbeef"]);
    assert.ok(isAnvil || answer.error.code === -32000, JSON.stringify(answer));
    if (!isAnvil) assert.match(answer.error.message, /filter not found/);
  });
});
