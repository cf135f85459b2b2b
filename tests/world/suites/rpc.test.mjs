// JSON-RPC itself: shapes, tags, batches, bounds, and error codes as geth gives them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Transaction, Wallet, concat, encodeRlp, keccak256 } from "ethers";
import { FUNDED_WEI, addresses, keys } from "../accounts.mjs";
import { deploy, hex, receiptOf, send } from "../deploy.mjs";
import { CHAIN_ID, isAnvil, post, startNode } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

const HASH_OF_NOTHING = `0x${"11".repeat(32)}`;
const QUANTITY = /^0x(0|[1-9a-f][0-9a-f]*)$/;

let node;
let probe;

before(async () => {
  node = await startNode();
  probe = await deploy(node, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
});
after(() => node?.stop());

async function errorOf(method, params) {
  const answer = await node.tryRequest(method, params);
  assert.ok(answer.error, `${method} should be refused and gave ${JSON.stringify(answer.result)}`);
  return answer.error;
}

describe("identity", () => {
  test("chain, network and client", async () => {
    assert.equal(await node.request("eth_chainId"), hex(CHAIN_ID));
    assert.equal(await node.request("net_version"), `${CHAIN_ID}`);
    assert.equal(await node.request("net_listening"), true);
    if (!isAnvil) assert.match(await node.request("net_peerCount"), QUANTITY);
    assert.match(await node.request("web3_clientVersion"), isAnvil ? /^anvil/ : /^bletchley\/v?\d+\.\d+\.\d+/i);
    assert.equal(await node.request("web3_sha3", ["0x68656c6c6f"]), keccak256("0x68656c6c6f"));
    assert.equal(await node.request("eth_syncing"), false);
    assert.match(await node.request("eth_coinbase").catch(() => "0x" + "0".repeat(40)), /^0x[0-9a-f]{40}$/i);
  });

  test("twenty funded accounts", async () => {
    const accounts = await node.request("eth_accounts");
    assert.deepEqual(accounts.map((a) => a.toLowerCase()), addresses.map((a) => a.toLowerCase()));
    assert.equal(BigInt(await node.request("eth_getBalance", [addresses[19], "latest"])), FUNDED_WEI);
  });

  test("fees", async () => {
    assert.match(await node.request("eth_gasPrice"), QUANTITY);
    assert.match(await node.request("eth_maxPriorityFeePerGas"), QUANTITY);
    assert.match(await node.request("eth_blobBaseFee"), QUANTITY);
  });
});

describe("blocks", () => {
  test("by tag, number and hash are one block", async () => {
    const latest = await node.request("eth_getBlockByNumber", ["latest", false]);
    assert.deepEqual(await node.request("eth_getBlockByNumber", [latest.number, false]), latest);
    assert.deepEqual(await node.request("eth_getBlockByHash", [latest.hash, false]), latest);
    for (const field of ["number", "timestamp", "gasLimit", "gasUsed", "baseFeePerGas", "size", "difficulty"]) {
      assert.match(latest[field], QUANTITY, field);
    }
    for (const field of ["hash", "parentHash", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash", "sha3Uncles"]) {
      assert.match(latest[field], /^0x[0-9a-f]{64}$/, field);
    }
    assert.equal(latest.logsBloom.length, 2 + 512);
    assert.equal(latest.nonce, "0x0000000000000000");
    assert.deepEqual(latest.uncles, []);
    assert.equal(latest.transactions.length, 1);
  });

  test("earliest, pending, safe, finalized", async () => {
    const earliest = await node.request("eth_getBlockByNumber", ["earliest", false]);
    assert.equal(earliest.number, "0x0");
    assert.equal(earliest.parentHash, `0x${"0".repeat(64)}`);
    for (const tag of ["safe", "finalized"]) {
      const block = await node.request("eth_getBlockByNumber", [tag, false]);
      assert.ok(BigInt(block.number) <= BigInt(await node.request("eth_blockNumber")), tag);
    }
    const pending = await node.request("eth_getBlockByNumber", ["pending", false]);
    assert.equal(BigInt(pending.number), BigInt(await node.request("eth_blockNumber")) + 1n);
  });

  test("with whole transactions", async () => {
    const block = await node.request("eth_getBlockByNumber", [probe.receipt.blockNumber, true]);
    const [tx] = block.transactions;
    assert.equal(tx.hash, probe.receipt.transactionHash);
    assert.deepEqual(await node.request("eth_getTransactionByHash", [tx.hash]), tx);
    assert.deepEqual(await node.request("eth_getTransactionByBlockHashAndIndex", [block.hash, "0x0"]), tx);
    assert.deepEqual(await node.request("eth_getTransactionByBlockNumberAndIndex", [block.number, "0x0"]), tx);
    assert.equal(await node.request("eth_getBlockTransactionCountByHash", [block.hash]), "0x1");
    assert.equal(await node.request("eth_getBlockTransactionCountByNumber", [block.number]), "0x1");
    assert.deepEqual(await node.request("eth_getBlockReceipts", [block.number]), [probe.receipt]);
    assert.equal(await node.request("eth_getUncleCountByBlockNumber", [block.number]), "0x0");
    assert.equal(await node.request("eth_getUncleCountByBlockHash", [block.hash]), "0x0");
    assert.equal(await node.request("eth_getUncleByBlockNumberAndIndex", [block.number, "0x0"]), null);
  });

  test("what is not there is null", async () => {
    assert.equal(await node.request("eth_getBlockByHash", [HASH_OF_NOTHING, false]), null);
    assert.equal(await node.request("eth_getBlockByNumber", ["0xffffff", false]), null);
    assert.equal(await node.request("eth_getTransactionByHash", [HASH_OF_NOTHING]), null);
    assert.equal(await node.request("eth_getTransactionReceipt", [HASH_OF_NOTHING]), null);
    assert.equal(await node.request("eth_getTransactionByBlockNumberAndIndex", ["latest", "0x99"]), null);
  });
});

describe("state", () => {
  test("balance, nonce, code and storage", async () => {
    assert.equal(BigInt(await node.request("eth_getBalance", [probe.address, "latest"])), 1000n);
    assert.ok(BigInt(await node.request("eth_getTransactionCount", [addresses[0], "latest"])) >= 1n);
    const code = await node.request("eth_getCode", [probe.address, "latest"]);
    assert.equal(code.length, testContract("Probe").deployedBytecode.length);
    assert.equal(await node.request("eth_getStorageAt", [probe.address, "0x0", "latest"]), hex32(7));
    assert.equal(await node.request("eth_getStorageAt", [probe.address, hex32(9), "latest"]), hex32(0));
    assert.equal(await node.request("eth_getCode", [addresses[5], "latest"]), "0x");
  });

  test("history: by number, by hash, by EIP-1898 object", async () => {
    const before = await node.request("eth_getBlockByNumber", ["latest", false]);
    await probe.send("set", [8, "eight"]);
    await probe.send("set", [9, "nine"]);
    assert.equal((await probe.call("value", [], before.number))[0], 7n);
    assert.equal((await probe.call("value", [], { blockHash: before.hash }))[0], 7n);
    assert.equal((await probe.call("value", [], { blockNumber: before.number }))[0], 7n);
    assert.equal((await probe.call("value", [], { blockHash: before.hash, requireCanonical: true }))[0], 7n);
    assert.equal((await probe.call("value", []))[0], 9n);
    assert.equal(await node.request("eth_getStorageAt", [probe.address, "0x0", before.number]), hex32(7));
    assert.equal(await node.request("eth_getCode", [probe.address, "0x0"]), "0x");
    const old = BigInt(await node.request("eth_getTransactionCount", [addresses[0], before.number]));
    assert.equal(BigInt(await node.request("eth_getTransactionCount", [addresses[0], "latest"])), old + 2n);
    assert.ok(
      BigInt(await node.request("eth_getBalance", [addresses[0], "earliest"])) >=
        BigInt(await node.request("eth_getBalance", [addresses[0], "latest"])),
    );
  });

  test("a block that is not there is an error", async () => {
    assert.equal((await errorOf("eth_getBalance", [addresses[0], "0xffffff"])).code, isAnvil ? -32602 : -32000);
    assert.ok([-32000, -32001, -32602].includes((await errorOf("eth_getBalance", [addresses[0], { blockHash: HASH_OF_NOTHING }])).code));
  });
});

describe("calls", () => {
  test("surroundings are those of the block asked for", async () => {
    const block = await node.request("eth_getBlockByNumber", ["latest", false]);
    const [number, timestamp, , , chainId] = await probe.call("surroundings", [], block.number);
    assert.equal(number, BigInt(block.number));
    assert.equal(timestamp, BigInt(block.timestamp));
    assert.equal(chainId, BigInt(CHAIN_ID));
  });

  test("`input` and `data` are the same, and from may be anyone", async () => {
    const input = probe.encode("whoAmI");
    const from = "0x00000000000000000000000000000000000000aa";
    const [byInput, byData] = await Promise.all([
      node.request("eth_call", [{ from, to: probe.address, input }, "latest"]),
      node.request("eth_call", [{ from, to: probe.address, data: input }, "latest"]),
    ]);
    assert.equal(byInput, byData);
    assert.equal(probe.abi.decodeFunctionResult("whoAmI", byInput).sender.toLowerCase(), from);
  });

  test("a call needs neither money nor a gas price", async () => {
    const poor = Wallet.createRandom().address;
    await node.request("eth_call", [{ from: poor, to: probe.address, data: probe.encode("whoAmI") }, "latest"]);
  });

  test("state overrides", async () => {
    const call = { to: probe.address, data: probe.encode("value") };
    const diff = { [probe.address]: { stateDiff: { [hex32(0)]: hex32(77) } } };
    assert.equal(BigInt(await node.request("eth_call", [call, "latest", diff])), 77n);
    const whole = { [probe.address]: { state: {} } };
    assert.equal(BigInt(await node.request("eth_call", [call, "latest", whole])), 0n);
    const elsewhere = "0x00000000000000000000000000000000000000bb";
    const code = { [elsewhere]: { code: await node.request("eth_getCode", [probe.address, "latest"]) } };
    assert.equal(BigInt(await node.request("eth_call", [{ ...call, to: elsewhere }, "latest", code])), 0n);
    assert.equal((await probe.call("value", []))[0], 9n, "an override changes nothing");
  });

  test("reverts carry code 3, the data, and the reason in words", async () => {
    const cases = [
      ["refuseWithReason", [], /execution reverted: a plain reason/],
      ["refuse", [42], /execution reverted/],
      ["refuseSilently", [], /execution reverted/],
      ["panicAssert", [], /execution reverted/],
    ];
    for (const [method, args, message] of cases) {
      const call = { from: addresses[0], to: probe.address, data: probe.encode(method, ...args) };
      for (const rpc of ["eth_call", "eth_estimateGas"]) {
        const error = await errorOf(rpc, rpc === "eth_call" ? [call, "latest"] : [call]);
        assert.equal(error.code, 3, `${rpc} ${method}`);
        assert.match(error.message, message, `${rpc} ${method}`);
        assert.match(error.data ?? "0x", /^0x/, `${rpc} ${method}`);
      }
    }
    const error = await errorOf("eth_call", [{ to: probe.address, data: probe.encode("refuse", 42) }, "latest"]);
    const decoded = probe.abi.parseError(error.data);
    assert.deepEqual([decoded.name, decoded.args[0], decoded.args[1]], ["Refused", 42n, "because"]);
  });

  test("other failures are -32000 in words", { skip: isAnvil && "anvil has codes of its own" }, async () => {
    const call = (method, gas) => [{ to: probe.address, data: probe.encode(method), gas }, "latest"];
    const outOfGas = await errorOf("eth_call", call("outOfGas", hex(60_000)));
    assert.equal(outOfGas.code, -32000);
    assert.match(outOfGas.message, /out of gas/);
    const invalid = await errorOf("eth_call", call("invalidOpcode", hex(60_000)));
    assert.equal(invalid.code, -32000);
    assert.match(invalid.message, /invalid opcode/i);
  });
});

describe("transactions that are refused", () => {
  const wallet = new Wallet(keys[3]);
  const signed = (fields) =>
    wallet.signTransaction({
      type: 2,
      chainId: CHAIN_ID,
      to: addresses[4],
      value: 1n,
      gasLimit: 21_000n,
      maxFeePerGas: 10n ** 10n,
      maxPriorityFeePerGas: 1n,
      nonce: 0,
      ...fields,
    });
  const refusal = async (raw) => errorOf("eth_sendRawTransaction", [raw]);

  test("each for its own reason", async () => {
    const good = await signed({});
    const hash = await node.request("eth_sendRawTransaction", [good]);
    assert.equal(hash, keccak256(good));
    await receiptOf(node, hash);
    const cases = [
      [good, /nonce too low|already known|already imported/],
      [await signed({ value: 1n }), /nonce too low|already known|already imported/],
      [await signed({ nonce: 1, value: FUNDED_WEI * 2n }), /insufficient funds|enough funds/i],
      [await signed({ nonce: 1, gasLimit: 20_000n }), /intrinsic gas too low|gas too low/i],
      [await signed({ nonce: 1, chainId: 1 }), /chain ?id/i],
      [await signed({ nonce: 1, gasLimit: 10n ** 12n }), /gas[ _]limit|enough funds/i],
      ["0x02", /./],
      ["0x", /./],
      [`${good.slice(0, -2)}00ff`, /./],
      ["0xf8", /./],
    ];
    for (const [raw, message] of cases) {
      const error = await refusal(raw);
      assert.match(error.message, message);
      assert.ok(error.code <= -32000, `${error.code} ${error.message}`);
      if (!isAnvil) assert.ok([-32000, -32602, -32003].includes(error.code), `${error.code} ${error.message}`);
    }
    assert.equal(await node.request("eth_getTransactionCount", [addresses[3], "latest"]), "0x1");
  });

  test("a priority fee above the maximum", async () => {
    // Written by hand: no client would sign this.
    const fields = [hex(CHAIN_ID), hex(1), hex(10 ** 10), hex(10 ** 9), hex(21_000), addresses[4], "0x", "0x", []].map(toBytes);
    const digest = keccak256(concat(["0x02", encodeRlp(fields)]));
    const { yParity, r, s } = wallet.signingKey.sign(digest);
    const raw = concat(["0x02", encodeRlp([...fields, toBytes(hex(yParity)), toBytes(r), toBytes(s)])]);
    const error = await refusal(raw);
    assert.match(error.message, /priority fee/i);
  });

  test("an account without key cannot send", async () => {
    const error = await errorOf("eth_sendTransaction", [{ from: probe.address, to: addresses[0], value: "0x0" }]);
    assert.ok(error.code <= -32000, `${error.code}`);
  });
});

describe("transaction kinds", () => {
  for (const type of [0, 1, 2]) {
    test(`type ${type} is mined and shown as it was signed`, async () => {
      const wallet = new Wallet(keys[6]);
      const price = BigInt(await node.request("eth_gasPrice")) * 2n;
      const fields = { type, chainId: CHAIN_ID, to: addresses[7], value: 5n, gasLimit: 60_000n, nonce: type };
      if (type === 2) Object.assign(fields, { maxFeePerGas: price, maxPriorityFeePerGas: 0n });
      else fields.gasPrice = price;
      if (type > 0) fields.accessList = [{ address: probe.address, storageKeys: [hex32(0)] }];
      const raw = await wallet.signTransaction(fields);
      const receipt = await receiptOf(node, await node.request("eth_sendRawTransaction", [raw]));
      assert.equal(receipt.status, "0x1");
      assert.equal(receipt.type, hex(type));
      const tx = await node.request("eth_getTransactionByHash", [receipt.transactionHash]);
      assert.equal(tx.type, hex(type));
      assert.equal(tx.from.toLowerCase(), addresses[6].toLowerCase());
      if (type > 0) assert.equal(tx.accessList[0].address.toLowerCase(), probe.address.toLowerCase());
      const signature = Transaction.from(raw).signature;
      assert.equal(BigInt(tx.r), BigInt(signature.r));
      assert.equal(BigInt(tx.s), BigInt(signature.s));
      assert.equal(await node.request("eth_getRawTransactionByHash", [receipt.transactionHash]), raw);
    });
  }
});

describe("fee history", () => {
  test("has a value more than blocks, and percentiles", async () => {
    await send(node, { from: addresses[0], to: addresses[1], value: "0x1" });
    const history = await node.request("eth_feeHistory", ["0x2", "latest", [0, 50, 100]]);
    assert.equal(history.baseFeePerGas.length, 3);
    assert.equal(history.gasUsedRatio.length, 2);
    assert.equal(history.reward.length, 2);
    for (const rewards of history.reward) assert.equal(rewards.length, 3);
    const latest = await node.request("eth_getBlockByNumber", ["latest", false]);
    assert.equal(BigInt(history.oldestBlock), BigInt(latest.number) - 1n);
    assert.equal(history.baseFeePerGas[1], latest.baseFeePerGas);
    const ratio = Number(BigInt(latest.gasUsed)) / Number(BigInt(latest.gasLimit));
    assert.ok(Math.abs(history.gasUsedRatio[1] - ratio) < 1e-9);
    assert.equal((await node.request("eth_feeHistory", [2, "latest", []])).gasUsedRatio.length, 2);
  });

  test("bad percentiles are refused", { skip: isAnvil && "anvil takes them" }, async () => {
    for (const percentiles of [[101], [50, 10], [-1]]) {
      assert.ok((await errorOf("eth_feeHistory", ["0x1", "latest", percentiles])).code <= -32000);
    }
  });
});

describe("the envelope", () => {
  const call = (id, method, params = []) => ({ jsonrpc: "2.0", id, method, params });

  test("batches answer each call, in order, wrong ones included", async () => {
    const batch = [call(1, "eth_chainId"), call("two", "eth_noSuchMethod"), call(3, "eth_blockNumber")];
    const { json } = await post(node.rpc, JSON.stringify(batch));
    assert.deepEqual(json.map((answer) => answer.id), [1, "two", 3]);
    assert.equal(json[0].result, hex(CHAIN_ID));
    assert.equal(json[1].error.code, -32601);
    assert.match(json[2].result, QUANTITY);
  });

  test("codes of the JSON-RPC specification", async () => {
    assert.equal((await errorOf("eth_noSuchMethod", [])).code, -32601);
    assert.equal((await errorOf("eth_getBalance", ["0x1234", "latest"])).code, -32602);
    assert.equal((await errorOf("eth_getBalance", [])).code, -32602);
    assert.equal((await errorOf("eth_getBlockByNumber", ["soon", false])).code, -32602);
    assert.equal((await errorOf("eth_getBlockByNumber", ["0x01", "yes"])).code, -32602);
    const broken = await post(node.rpc, "{ this is not json");
    if (!isAnvil) assert.equal(broken.json.error.code, -32700);
    for (const body of ["{}", "5", '"x"', '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","id":1,"method":7}']) {
      const { json } = await post(node.rpc, body);
      if (!isAnvil) assert.equal(json.error.code, -32600, body);
    }
    const empty = await post(node.rpc, "[]");
    if (!isAnvil) assert.equal(empty.json.error.code, -32600);
  });

  test("notifications have no answer", { skip: isAnvil && "anvil answers" }, async () => {
    const { text } = await post(node.rpc, JSON.stringify({ jsonrpc: "2.0", method: "eth_chainId", params: [] }));
    assert.equal(text, "");
  });

  test("hostile bodies are refused and the node goes on", { skip: isAnvil && "the bounds are ours" }, async () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const bodies = [deep, `{"a":`.repeat(50_000), JSON.stringify(Array(200_000).fill(call(1, "eth_chainId"))), "\u0000\uffff", `"${"x".repeat(40_000_000)}"`];
    for (const body of bodies) {
      const outcome = await post(node.rpc, body).catch((error) => ({ cut: error }));
      const answers = [outcome.json].flat();
      assert.ok(outcome.cut || outcome.status >= 400 || (answers.length === 1 && answers[0].error), body.slice(0, 20));
    }
    assert.equal(await node.request("eth_chainId"), hex(CHAIN_ID));
  });

  test("pages of this machine and wallets may call, strangers' pages may not", async () => {
    const ask = (origin) =>
      fetch(node.rpc, {
        method: "OPTIONS",
        headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
      });
    for (const origin of ["http://localhost:3000", "chrome-extension://abcdefgh"]) {
      const response = await ask(origin);
      assert.ok(response.ok, `${origin}: ${response.status}`);
      assert.ok(["*", origin].includes(response.headers.get("access-control-allow-origin")), origin);
    }
    const stranger = await ask("https://stranger.example");
    if (!isAnvil) assert.equal(stranger.status, 403);
  });
});

describe("logs", () => {
  test("by range, by hash, by address and topics", async () => {
    const erc20 = await deploy(node, artefact("Erc20"), { from: addresses[0], args: [10n ** 24n] });
    const first = await erc20.send("transfer", [addresses[1], 1]);
    const second = await erc20.send("transfer", [addresses[2], 2]);
    const topic = erc20.abi.getEvent("Transfer").topicHash;
    const to = (address) => `0x${address.slice(2).toLowerCase().padStart(64, "0")}`;
    const get = (filter) => node.request("eth_getLogs", [filter]);
    const range = { fromBlock: first.blockNumber, toBlock: second.blockNumber };
    const both = await get({ ...range, address: erc20.address, topics: [topic] });
    assert.deepEqual(both.map((log) => log.transactionHash), [first.transactionHash, second.transactionHash]);
    assert.deepEqual(both[0], { ...first.logs[0], ...both[0] });
    assert.equal((await get({ ...range, topics: [topic, null, to(addresses[2])] })).length, 1);
    assert.equal((await get({ ...range, topics: [topic, null, [to(addresses[1]), to(addresses[2])]] })).length, 2);
    assert.equal((await get({ ...range, address: [erc20.address, probe.address] })).length, 2);
    assert.equal((await get({ blockHash: second.blockHash })).length, 1);
    assert.equal((await get({ ...range, topics: [to(addresses[1])] })).length, 0);
    assert.equal((await get({ fromBlock: "earliest", toBlock: "latest", address: erc20.address })).length, 3);
    assert.equal(both[0].removed, false);
  });

  test("contradictions are refused", { skip: isAnvil && "anvil answers with nothing" }, async () => {
    const wrong = [
      { fromBlock: "0x2", toBlock: "0x1" },
      { fromBlock: "0x0", blockHash: HASH_OF_NOTHING },
      { topics: [[], [], [], [], []] },
      { blockHash: HASH_OF_NOTHING },
    ];
    for (const filter of wrong) {
      const error = await errorOf("eth_getLogs", [filter]);
      assert.ok([-32000, -32602].includes(error.code), JSON.stringify(filter));
    }
  });
});

// As RLP wants numbers: no leading zeros, and nothing for zero.
function toBytes(field) {
  if (Array.isArray(field) || field === addresses[4]) return field;
  const digits = field.slice(2).replace(/^0+/, "");
  return `0x${digits.length % 2 ? "0" : ""}${digits}`;
}

function hex32(number) {
  return `0x${BigInt(number).toString(16).padStart(64, "0")}`;
}
