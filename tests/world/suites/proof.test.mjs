// Everything a header commits to, checked by code that is not ours: its hash, the state behind eth_getProof, the transactions, the
// receipts. The tries are @ethereumjs/mpt's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { MerklePatriciaTrie, createMPT, verifyMerkleProof } from "@ethereumjs/mpt";
import { RLP } from "@ethereumjs/rlp";
import { getBytes, hexlify, keccak256 } from "ethers";
import { addresses } from "../accounts.mjs";
import { deploy, hex } from "../deploy.mjs";
import { isAnvil, startNode } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

const EMPTY_CODE = keccak256("0x");
const EMPTY_ROOT = keccak256("0x80");

let node;
let probe;

before(async () => {
  node = await startNode();
  probe = await deploy(node, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
  await probe.send("fill", [0, 40]);
  await probe.send("setText", ["a text that is longer than thirty-two bytes, so that it takes several slots"]);
});
after(() => node?.stop());

const blockAt = (tag) => node.request("eth_getBlockByNumber", [tag, false]);
const bytes = (text) => getBytes(text.length % 2 ? `0x0${text.slice(2)}` : text);

/** A number as RLP has it: no leading zeros. */
function number(text) {
  const value = BigInt(text);
  return value === 0n ? new Uint8Array() : bytes(`0x${value.toString(16)}`);
}

const slot = (key) => `0x${BigInt(key).toString(16).padStart(64, "0")}`;

/** What a proof proves under a key, or null if it proves that nothing is there. */
async function proven(root, key, proof) {
  const nodes = proof.map((item) => getBytes(item));
  return verifyMerkleProof(getBytes(keccak256(key)), nodes, { root: getBytes(root) });
}

async function provenAccount(address, keys, tag) {
  const block = await blockAt(tag);
  const answer = await node.request("eth_getProof", [address, keys, block.number]);
  assert.equal(answer.address.toLowerCase(), address.toLowerCase());
  const value = await proven(block.stateRoot, address, answer.accountProof);
  return { block, answer, value };
}

async function assertStorage(answer, key, expected) {
  const item = answer.storageProof.find((entry) => BigInt(entry.key) === BigInt(key));
  assert.equal(BigInt(item.value), expected);
  if (answer.storageHash === EMPTY_ROOT) return assert.equal(expected, 0n);
  const value = await proven(answer.storageHash, slot(key), item.proof);
  if (expected === 0n) assert.equal(value, null);
  else assert.equal(BigInt(hexlify(RLP.decode(value))), expected);
}

describe("eth_getProof", () => {
  test("an account with code and storage", async () => {
    const table = keccak256(`0x${(3).toString(16).padStart(64, "0")}${"1".padStart(64, "0")}`);
    const { answer, value } = await provenAccount(probe.address, [slot(0), table, slot(0x63)], "latest");
    const [nonce, balance, storageHash, codeHash] = RLP.decode(value);
    assert.equal(hexlify(storageHash), answer.storageHash);
    assert.equal(hexlify(codeHash), answer.codeHash);
    assert.equal(BigInt(hexlify(balance)), BigInt(answer.balance));
    assert.equal(BigInt(hexlify(nonce)), BigInt(answer.nonce));
    assert.equal(answer.codeHash, keccak256(await node.request("eth_getCode", [probe.address, "latest"])));
    await assertStorage(answer, "0x0", 7n);
    await assertStorage(answer, table, 4n);
    await assertStorage(answer, "0x63", 0n);
    if (isAnvil) return; // it wants whole words
    await assertStorage((await provenAccount(probe.address, ["0x0"], "latest")).answer, "0x0", 7n);
  });

  test("every slot of a storage trie with many", async () => {
    const keys = Array.from({ length: 40 }, (_, i) => keccak256(`0x${i.toString(16).padStart(64, "0")}${"1".padStart(64, "0")}`));
    const { answer } = await provenAccount(probe.address, keys, "latest");
    for (const [i, key] of keys.entries()) await assertStorage(answer, key, BigInt(i + 1));
  });

  test("a plain account, and one that is not there", async () => {
    const plain = await provenAccount(addresses[2], [], "latest");
    const [, balance, root, code] = RLP.decode(plain.value);
    assert.equal(BigInt(hexlify(balance)), BigInt(await node.request("eth_getBalance", [addresses[2], "latest"])));
    assert.deepEqual([hexlify(root), hexlify(code)], [EMPTY_ROOT, EMPTY_CODE]);
    const nobody = await provenAccount("0x00000000000000000000000000000000deadbeef", [slot(1)], "latest");
    assert.equal(nobody.value, null);
    assert.equal(BigInt(nobody.answer.balance), 0n);
  });

  test("of a block in the past", async () => {
    const { number: then } = await blockAt("latest");
    await probe.send("set", [1234, "later"]);
    await assertStorage((await provenAccount(probe.address, [slot(0)], then)).answer, "0x0", 7n);
    await assertStorage((await provenAccount(probe.address, [slot(0)], "latest")).answer, "0x0", 1234n);
  });

  test("of genesis", { skip: isAnvil && "anvil's genesis root is another" }, async () => {
    const { value } = await provenAccount(addresses[4], [], "earliest");
    assert.equal(BigInt(hexlify(RLP.decode(value)[1])), 10_000n * 10n ** 18n);
  });

  test("after slots have gone again", { skip: isAnvil && "it keeps leaves of zero" }, async () => {
    await probe.send("clear", [0, 39]);
    const key = (i) => keccak256(`0x${i.toString(16).padStart(64, "0")}${"1".padStart(64, "0")}`);
    const { answer } = await provenAccount(probe.address, [key(0), key(38), key(39)], "latest");
    await assertStorage(answer, key(0), 0n);
    await assertStorage(answer, key(38), 0n);
    await assertStorage(answer, key(39), 40n);
  });

  test("a flipped bit proves nothing", async () => {
    const { block, answer } = await provenAccount(probe.address, [], "latest");
    const broken = [...answer.accountProof];
    const last = getBytes(broken.at(-1));
    last[last.length - 1] ^= 1;
    broken[broken.length - 1] = hexlify(last);
    await assert.rejects(proven(block.stateRoot, probe.address, broken));
  });
});

describe("headers", () => {
  test("their hash is the hash of what they show", async () => {
    for (const tag of isAnvil ? ["latest"] : ["earliest", "0x1", "latest"]) {
      const block = await blockAt(tag);
      assert.equal(keccak256(RLP.encode(headerFields(block))), block.hash, tag);
    }
  });

  test("transactions and receipts are committed to", async () => {
    await node.request("evm_setAutomine", [false]);
    const hashes = [];
    for (let i = 0; i < 20; i += 1) {
      const data = i % 3 === 0 ? probe.encode("refuse", i) : probe.encode("set", i, `note ${i}`);
      const price = i % 2 ? { gasPrice: hex(3n * 10n ** 9n) } : {};
      hashes.push(await node.request("eth_sendTransaction", [{ from: addresses[i % 4], to: probe.address, data, gas: hex(200_000), ...price }]));
    }
    await node.request("evm_mine");
    await node.request("evm_setAutomine", [true]);
    const block = await blockAt("latest");
    assert.equal(block.transactions.length, hashes.length);
    const raws = await Promise.all(block.transactions.map((hash) => node.request("eth_getRawTransactionByHash", [hash])));
    assert.equal(await rootOf(raws.map((raw) => getBytes(raw))), block.transactionsRoot);
    const receipts = await node.request("eth_getBlockReceipts", [block.number]);
    assert.equal(await rootOf(receipts.map(encodedReceipt)), block.receiptsRoot);
    assert.ok(receipts.some((receipt) => receipt.status === "0x0"));
  });

  test("the bloom holds every log", async () => {
    const receipt = await probe.send("set", [1, "bloom"]);
    const block = await blockAt(receipt.blockNumber);
    const bloom = getBytes(block.logsBloom);
    for (const item of [receipt.logs[0].address, ...receipt.logs[0].topics]) {
      const hash = getBytes(keccak256(item));
      for (const at of [0, 2, 4]) {
        const bit = ((hash[at] << 8) | hash[at + 1]) & 2047;
        assert.ok(bloom[255 - (bit >> 3)] & (1 << (bit & 7)), item);
      }
    }
  });
});

function headerFields(block) {
  const fields = [
    block.parentHash, block.sha3Uncles, block.miner, block.stateRoot, block.transactionsRoot, block.receiptsRoot, block.logsBloom,
  ].map((text) => getBytes(text));
  fields.push(...[block.difficulty, block.number, block.gasLimit, block.gasUsed, block.timestamp].map(number));
  fields.push(getBytes(block.extraData), getBytes(block.mixHash), getBytes(block.nonce), number(block.baseFeePerGas));
  if (block.withdrawalsRoot !== undefined) fields.push(getBytes(block.withdrawalsRoot));
  if (block.blobGasUsed !== undefined) fields.push(number(block.blobGasUsed), number(block.excessBlobGas));
  if (block.parentBeaconBlockRoot !== undefined) fields.push(getBytes(block.parentBeaconBlockRoot));
  if (block.requestsHash !== undefined) fields.push(getBytes(block.requestsHash));
  return fields;
}

function encodedReceipt(receipt) {
  const logs = receipt.logs.map((log) => [getBytes(log.address), log.topics.map((topic) => getBytes(topic)), getBytes(log.data)]);
  const body = RLP.encode([number(receipt.status), number(receipt.cumulativeGasUsed), getBytes(receipt.logsBloom), logs]);
  return receipt.type === "0x0" ? body : Uint8Array.from([Number(receipt.type), ...body]);
}

async function rootOf(items) {
  const trie = await createMPT();
  for (const [index, item] of items.entries()) await trie.put(RLP.encode(index), item);
  assert.ok(trie instanceof MerklePatriciaTrie);
  return hexlify(trie.root());
}
