// What was acknowledged outlives a kill; what is on disk can be checked by anyone, offline.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { addresses } from "../accounts.mjs";
import { bletchley } from "../command.mjs";
import { deploy, send } from "../deploy.mjs";
import { isAnvil, startNode } from "../node.mjs";
import { artefact } from "../solidity.mjs";

const options = { skip: isAnvil && "anvil forgets" };
const folders = [];

function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), "bletchley-survive-"));
  folders.push(folder);
  return folder;
}
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** Everything that a client can see of the ledger. */
async function seen(node) {
  const number = Number(await node.request("eth_blockNumber"));
  const blocks = [];
  for (let n = 0; n <= number; n += 1) {
    const at = `0x${n.toString(16)}`;
    blocks.push(await node.request("eth_getBlockByNumber", [at, true]), await node.request("eth_getBlockReceipts", [at]));
  }
  const balances = await Promise.all(addresses.map((address) => node.request("eth_getBalance", [address, "latest"])));
  const nonces = await Promise.all(addresses.map((address) => node.request("eth_getTransactionCount", [address, "latest"])));
  return { blocks, balances, nonces };
}

async function work(node) {
  const erc20 = await deploy(node, artefact("Erc20"), { from: addresses[0], args: [10n ** 24n] });
  for (let i = 1; i < 10; i += 1) await erc20.send("transfer", [addresses[i], i]);
  await send(node, { from: addresses[3], to: addresses[4], value: "0x1234" });
  return erc20;
}

describe("a node that is killed", options, () => {
  test("comes back with everything it acknowledged, several times over", async () => {
    const data = newFolder();
    let node = await startNode({ data });
    const erc20 = await work(node);
    let before = await seen(node);
    for (let round = 0; round < 3; round += 1) {
      await node.kill();
      node = await startNode({ data });
      assert.deepEqual(await seen(node), before, `round ${round}`);
      const receipt = await send(node, { from: addresses[1], to: addresses[2], value: "0x1" });
      assert.equal(receipt.status, "0x1");
      before = await seen(node);
    }
    const { to: address } = await node.request("eth_getTransactionByHash", [(await erc20Transfer(node, erc20)).transactionHash]);
    assert.equal(address.toLowerCase(), erc20.address.toLowerCase());
    await node.stop();
  });

  test("a kill while it works loses nothing that had a receipt", async () => {
    const data = newFolder();
    const node = await startNode({ data });
    const acknowledged = [];
    const working = (async () => {
      for (let i = 0; i < 10_000; i += 1) {
        acknowledged.push(await send(node, { from: addresses[i % 5], to: addresses[9], value: "0x1" }));
      }
    })().catch(() => {});
    while (acknowledged.length < 25) await new Promise((done) => setTimeout(done, 5));
    await node.kill();
    await working;
    const again = await startNode({ data });
    for (const receipt of acknowledged) {
      assert.deepEqual(await again.request("eth_getTransactionReceipt", [receipt.transactionHash]), receipt);
    }
    await again.stop();
  });
});

describe("verify", options, () => {
  test("accepts a copy, and finds one flipped bit in it", async () => {
    const data = newFolder();
    const node = await startNode({ data });
    await work(node);
    await node.stop();
    const copy = newFolder();
    cpSync(data, copy, { recursive: true });
    const good = await bletchley("verify", copy);
    assert.equal(good.code, 0, `${good.stdout}\n${good.stderr}`);
    const file = largestSegment(copy);
    const bytes = readFileSync(file);
    const at = Math.floor(bytes.length / 2);
    bytes[at] ^= 0x10;
    writeFileSync(file, bytes);
    const bad = await bletchley("verify", copy);
    assert.notEqual(bad.code, 0, bad.stdout);
    assert.match(`${bad.stdout}${bad.stderr}`, /block|height|segment|offset/i);
  });
});

async function erc20Transfer(node, erc20) {
  return send(node, { from: addresses[0], to: erc20.address, data: erc20.encode("transfer", addresses[5], 1) });
}

/** The biggest file whose name says that blocks are in it, else the biggest of all but tables. */
function largestSegment(folder) {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const blocks = all.filter((path) => /seg/i.test(path) && /evm/i.test(path));
  const candidates = blocks.length > 0 ? blocks : all.filter((path) => !path.endsWith(".redb"));
  return candidates.sort((a, b) => statSync(b).size - statSync(a).size)[0];
}
