// Traces of the same transactions on two nodes, and what geth documents about each tracer.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { addresses } from "../accounts.mjs";
import { deploy, hex } from "../deploy.mjs";
import { isAnvil, startAnvil, startNode } from "../node.mjs";
import { testContract } from "../solidity.mjs";

const SALT = `0x${"05".repeat(32)}`;
const STEPS = [
  ["set", [5, "five"]],
  ["nest", [4]],
  ["swallow", []],
  ["createChild", [3, SALT], { value: hex(10) }],
  ["createChild", [666, SALT]],
  ["sendTo", [addresses[9], 5]],
  ["refuse", [7]],
  ["refuseWithReason", []],
  ["panicAssert", []],
  ["invalidOpcode", [], { gas: hex(100_000) }],
  ["outOfGas", [], { gas: hex(60_000) }],
  ["fill", [0, 3]],
  ["clear", [0, 3]],
];

/** A node with the contract, and the receipt of each step. */
async function prepare(node) {
  const probe = await deploy(node, testContract("Probe"), { from: addresses[0], args: [7], value: 1000 });
  const receipts = [probe.receipt];
  for (const [method, args, extra] of STEPS) receipts.push(await probe.send(method, args, extra));
  return { node, probe, receipts };
}

let ours;
let peer;

before(async () => {
  ours = await prepare(await startNode({ args: isAnvil ? ["--steps-tracing"] : [] }));
  peer = await prepare(await startAnvil(["--steps-tracing"]));
});
after(async () => {
  await ours?.node.stop();
  await peer?.node.stop();
});

const trace = ({ node, receipts }, index, options) =>
  node.request("debug_traceTransaction", [receipts[index].transactionHash, options]);

async function both(index, options) {
  return Promise.all([trace(ours, index, options), trace(peer, index, options)]);
}

const nameOf = (index) => (index === 0 ? "the deployment" : `${STEPS[index - 1][0]}(${STEPS[index - 1][1]})`);
const indices = Array.from({ length: STEPS.length + 1 }, (_, index) => index);
const lower = (value) => JSON.parse(JSON.stringify(value).toLowerCase());

test("both nodes did the same", () => {
  assert.equal(ours.probe.address.toLowerCase(), peer.probe.address.toLowerCase());
  for (const index of indices) {
    for (const field of ["status", "gasUsed"]) {
      assert.equal(ours.receipts[index][field], peer.receipts[index][field], `${nameOf(index)} ${field}`);
    }
  }
});

describe("callTracer", () => {
  for (const index of indices) {
    test(nameOf(index), async () => {
      const [mine, theirs] = await both(index, { tracer: "callTracer", tracerConfig: { withLog: true } });
      const words = (frame) => {
        // The words of a failure below the EVM's own are each node's.
        const { error, calls, logs, ...rest } = frame;
        const bare = { ...rest, failed: Boolean(error), calls: (calls ?? []).map(words) };
        // Positions of logs among calls came later to geth, and not everywhere.
        bare.logs = (logs ?? []).map(({ address, topics, data }) => ({ address, topics, data }));
        return bare;
      };
      // The outermost frame shows the transaction's limit, as geth has it; anvil shows what is left of it at the start.
      const { gas } = await ours.node.request("eth_getTransactionByHash", [ours.receipts[index].transactionHash]);
      if (!isAnvil) assert.equal(mine.gas, gas);
      assert.deepEqual(lower(words({ ...mine, gas })), lower(words({ ...theirs, gas })));
    });
  }

  test("errors are in geth's words", async () => {
    const errorOf = async (method) => {
      const index = STEPS.findIndex((step) => step[0] === method) + 1;
      return trace(ours, index, { tracer: "callTracer" });
    };
    const reverted = await errorOf("refuseWithReason");
    assert.equal(reverted.error, "execution reverted");
    assert.equal(reverted.revertReason, "a plain reason");
    assert.match((await errorOf("outOfGas")).error, /out of gas/i);
    assert.match((await errorOf("invalidOpcode")).error, /invalid opcode|invalid ?fe/i);
  });

  test("onlyTopCall leaves out the rest", async () => {
    const index = STEPS.findIndex((step) => step[0] === "nest") + 1;
    const frame = await trace(ours, index, { tracer: "callTracer", tracerConfig: { onlyTopCall: true } });
    assert.ok(!frame.calls || frame.calls.length === 0);
  });
});

describe("prestateTracer", () => {
  const bare = (accounts) => {
    // Fees differ between nodes, and with them what the payer and the miner have.
    const entries = Object.entries(lower(accounts)).filter(([, account]) => account.code || account.storage);
    return Object.fromEntries(entries);
  };

  for (const index of indices.filter((i) => i === 0 || !["invalidOpcode", "outOfGas"].includes(STEPS[i - 1][0]))) {
    test(nameOf(index), async () => {
      const [mine, theirs] = await both(index, { tracer: "prestateTracer" });
      // What was empty before is left out by geth; anvil shows it.
      const existed = (accounts) => Object.fromEntries(Object.entries(bare(accounts)).filter(([, account]) => account.code));
      assert.deepEqual(existed(mine), existed(theirs));
      const [myDiff, theirDiff] = await both(index, { tracer: "prestateTracer", tracerConfig: { diffMode: true } });
      assert.deepEqual(bare(myDiff.post), bare(theirDiff.post));
      assert.ok(addresses[0].toLowerCase() in lower(myDiff.post), "the sender's nonce changed");
    });
  }
});

describe("opcodes", () => {
  for (const index of indices.filter((i) => i === 0 || STEPS[i - 1][0] !== "outOfGas")) {
    test(nameOf(index), async () => {
      const [mine, theirs] = await both(index, { enableMemory: true });
      assert.equal(mine.failed, theirs.failed);
      assert.equal(mine.gas, theirs.gas);
      assert.equal(hexOf(mine.returnValue), hexOf(theirs.returnValue));
      assert.equal(mine.structLogs.length, theirs.structLogs.length);
      for (const [at, step] of mine.structLogs.entries()) {
        const other = theirs.structLogs[at];
        const brief = ({ pc, op, depth, gas, stack, memory }) => ({ pc, op, depth, gas, stack, memory: (memory ?? []).map(hexOf) });
        assert.deepEqual(brief(step), brief(other), `step ${at}`);
      }
    });
  }

  test("what is not wanted is left out", async () => {
    const { structLogs } = await trace(ours, 1, { disableStack: true, disableStorage: true });
    for (const step of structLogs) {
      assert.ok(!step.stack && !step.storage && !step.memory?.length, JSON.stringify(step));
    }
  });

  test("storage stands beside what touched it", async () => {
    const { structLogs } = await trace(ours, 1, {});
    const stores = structLogs.filter((step) => step.op === "SSTORE");
    assert.ok(stores.length > 0 && stores.every((step) => step.storage));
  });
});

describe("debug_traceCall", () => {
  test("gives the frames that anvil gives", async () => {
    const ask = ({ node, probe }) => {
      const tx = { from: addresses[0], to: probe.address, data: probe.encode("nest", 3), gas: hex(1_000_000) };
      return node.request("debug_traceCall", [tx, "latest", { tracer: "callTracer" }]);
    };
    const [mine, theirs] = await Promise.all([ask(ours), ask(peer)]);
    assert.equal(mine.gas, isAnvil ? theirs.gas : hex(1_000_000));
    assert.deepEqual(lower({ ...mine, gas: "" }), lower({ ...theirs, gas: "" }));
  });

  test("at a block of the past, and with overrides", async () => {
    const { node, probe, receipts } = ours;
    const tx = { to: probe.address, data: probe.encode("value") };
    const then = await node.request("debug_traceCall", [tx, receipts[0].blockNumber, { tracer: "callTracer" }]);
    assert.equal(BigInt(then.output), 7n);
    const slot = `0x${"0".repeat(64)}`;
    const stateOverrides = { [probe.address]: { stateDiff: { [slot]: `0x${"0".repeat(62)}63` } } };
    const other = await node.request("debug_traceCall", [tx, "latest", { tracer: "callTracer", stateOverrides }]);
    assert.equal(BigInt(other.output), 99n);
  });
});

describe("whole blocks, and what is refused", () => {
  test("by number and by hash", async () => {
    const { node, receipts } = ours;
    const [entry] = await node.request("debug_traceBlockByNumber", [receipts[2].blockNumber, { tracer: "callTracer" }]);
    assert.deepEqual(entry.result, await trace(ours, 2, { tracer: "callTracer" }));
    assert.equal(entry.txHash, receipts[2].transactionHash);
    const byHash = await node.request("debug_traceBlockByHash", [receipts[2].blockHash, { tracer: "callTracer" }]);
    assert.deepEqual(byHash, [entry]);
  });

  test("unknown transactions and tracers", async () => {
    const nothing = await ours.node.tryRequest("debug_traceTransaction", [`0x${"22".repeat(32)}`, {}]);
    if (!isAnvil) assert.match(nothing.error.message, /not found/);
    const hash = ours.receipts[1].transactionHash;
    assert.ok((await ours.node.tryRequest("debug_traceTransaction", [hash, { tracer: "noSuchTracer" }])).error);
  });
});

function hexOf(text) {
  return (text ?? "").replace(/^0x/, "").toLowerCase();
}
