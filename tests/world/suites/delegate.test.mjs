// Contracts call cryptlets on the running node, and their callers see it through ordinary Ethereum clients.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { AbiCoder, Contract, ContractFactory, Interface, JsonRpcProvider, Wallet, id } from "ethers";
import { addresses, keys } from "../accounts.mjs";
import { addMonths, nextTargetDay, weekday } from "../dates.mjs";
import { deploy, hex, receiptOf } from "../deploy.mjs";
import { isAnvil, startNode } from "../node.mjs";
import { artefact } from "../solidity.mjs";

const DELEGATE = "0x00000000000000000000000000000000000b1E7C";
const coder = AbiCoder.defaultAbiCoder();
const delegate = new Interface(artefact("ICryptoDelegate").abi);

let node;
let contract;

before(async () => {
  if (isAnvil) return;
  node = await startNode();
  contract = await deploy(node, artefact("Delegating"), { from: addresses[0] });
});
after(() => node?.stop());

const input = (types, values) => coder.encode(types, values);
const answerOf = (receipt) => contract.abi.parseLog(receipt.logs[0]).args;
const options = { skip: isAnvil && "anvil has no delegate" };

/** Calls the delegate itself, without a contract between. */
async function ask(name, method, types, values, outputs) {
  const data = delegate.encodeFunctionData("call", [id(name), method, input(types, values)]);
  const [output] = delegate.decodeFunctionResult("call", await node.request("eth_call", [{ to: DELEGATE, data }, "latest"]));
  return coder.decode(outputs, output);
}

describe("a contract that delegates", options, () => {
  test("gets what it would have worked out itself", async () => {
    for (const date of [20240229, 20000101, 19991231, 21000301, 20261122]) {
      const plain = await contract.send("countPlain", [date]);
      const delegated = await contract.send("countDelegated", [date]);
      assert.deepEqual([plain.status, delegated.status], ["0x1", "0x1"]);
      for (const receipt of [plain, delegated]) assert.equal(Number(answerOf(receipt).weekday), weekday(date), `${date}`);
    }
  });

  test("several times in one transaction", async () => {
    const receipt = await contract.send("countDelegatedTimes", [20240229, 5]);
    assert.equal(receipt.status, "0x1");
    assert.equal(receipt.logs.length, 5);
  });

  test("by eth_call and eth_estimateGas, which leave no trace", async () => {
    const number = await node.request("eth_blockNumber");
    const data = contract.encode("countDelegated", 20240301);
    const tx = { from: addresses[0], to: contract.address, data };
    const [counter] = await contract.call("counter", []);
    assert.equal(BigInt(await node.request("eth_call", [tx, "latest"])), counter + 1n);
    const gas = BigInt(await node.request("eth_estimateGas", [tx]));
    assert.equal(await node.request("eth_blockNumber"), number);
    const hash = await node.request("eth_sendTransaction", [{ ...tx, gas: hex(gas) }]);
    assert.equal((await receiptOf(node, hash)).status, "0x1", `${gas} must suffice`);
  });

  test("through a trace of what has happened", async () => {
    const receipt = await contract.send("countDelegated", [20240302]);
    const frame = await node.request("debug_traceTransaction", [receipt.transactionHash, { tracer: "callTracer" }]);
    const call = frame.calls.find((inner) => inner.to.toLowerCase() === DELEGATE.toLowerCase());
    assert.equal(call.type, "STATICCALL");
    const [output] = delegate.decodeFunctionResult("call", call.output);
    assert.equal(Number(coder.decode(["uint8"], output)[0]), weekday(20240302));
  });

  test("a failure is a revert with a reason, and can be caught", async () => {
    const cases = [
      ["calendar", "weekday", input(["uint32"], [20241301])],
      ["calendar", "noSuchMethod", "0x"],
      ["no-such-cryptlet", "anything", "0x"],
      ["calendar", "weekday", "0x1234"],
    ];
    for (const [name, method, data] of cases) {
      const { error } = await node.tryRequest("eth_call", [{ from: addresses[0], to: contract.address, data: contract.encode("ask", name, method, data) }, "latest"]);
      assert.equal(error.code, 3, `${name} ${method}`);
      const failed = delegate.parseError(error.data);
      assert.equal(failed.name, "CryptletFailed", `${name} ${method}`);
      assert.ok(Number(failed.args.status) >= 1 && failed.args.reason.length > 0, `${name} ${method}: ${failed.args}`);
      const receipt = await contract.send("askCatching", [name, method, data]);
      assert.equal(receipt.status, "0x1", `${name} ${method}`);
      const { ok, output } = answerOf(receipt);
      assert.equal(ok, false);
      assert.equal(delegate.parseError(output).name, "CryptletFailed");
    }
  });

  test("an uncaught failure is in the block as a failed transaction", async () => {
    const data = contract.encode("countDelegated", 20241301);
    const hash = await node.request("eth_sendTransaction", [{ from: addresses[0], to: contract.address, data, gas: hex(2_000_000) }]);
    const receipt = await receiptOf(node, hash);
    assert.equal(receipt.status, "0x0");
    const frame = await node.request("debug_traceTransaction", [hash, { tracer: "callTracer" }]);
    assert.equal(delegate.parseError(frame.output).name, "CryptletFailed");
  });
});

describe("calendar", options, () => {
  test("agrees with an independent calendar", async () => {
    for (const date of [20240329, 20240330, 20241224, 20241225, 20240430, 20270101, 20200412, 20240102]) {
      const [next] = await ask("calendar", "nextBusinessDay", ["uint32", "string"], [date, "TARGET"], ["uint32"]);
      assert.equal(Number(next), nextTargetDay(date), `${date}`);
      const [open] = await ask("calendar", "isBusinessDay", ["uint32", "string"], [date, "TARGET"], ["bool"]);
      assert.equal(open, nextTargetDay(date) === date, `${date}`);
    }
    for (const [date, months] of [[20230131, 1], [20230131, 13], [20231130, 3], [20240229, 12], [20230131, 0], [20231231, 2]]) {
      const [later] = await ask("calendar", "addMonths", ["uint32", "uint32"], [date, months], ["uint32"]);
      assert.equal(Number(later), addMonths(date, months), `${date} + ${months}`);
    }
  });

  test("knows what clocks show", async () => {
    const cases = [
      [20240115, 57_600, "Europe/Berlin", Date.UTC(2024, 0, 15, 15)],
      [20240715, 57_600, "Europe/Berlin", Date.UTC(2024, 6, 15, 14)],
      [20240715, 57_600, "America/New_York", Date.UTC(2024, 6, 15, 20)],
      [20240115, 0, "Asia/Tokyo", Date.UTC(2024, 0, 14, 15)],
    ];
    for (const [date, seconds, zone, expected] of cases) {
      const [unix] = await ask("calendar", "toUtc", ["uint32", "uint32", "string"], [date, seconds, zone], ["uint64"]);
      assert.equal(Number(unix) * 1000, expected, zone);
    }
  });
});

describe("through ethers", options, () => {
  test("a delegated call looks like any other", async () => {
    const provider = new JsonRpcProvider(node.rpc, undefined, { polling: true, pollingInterval: 50, cacheTimeout: -1 });
    try {
      const wallet = new Wallet(keys[3], provider);
      const { abi, bytecode } = artefact("Delegating");
      const deployed = await (await new ContractFactory(abi, bytecode, wallet).deploy()).waitForDeployment();
      const mine = new Contract(await deployed.getAddress(), abi, wallet);
      const receipt = await (await mine.countDelegated(20240229)).wait();
      assert.equal(receipt.status, 1);
      assert.equal(Number(await mine.lastWeekday()), 4);
    } finally {
      provider.destroy();
    }
  });
});

describe("the address itself", options, () => {
  test("changes nothing and takes no nonsense", async () => {
    for (const data of ["0x", "0x12345678", delegate.encodeFunctionData("call", [id("calendar"), "weekday", "0x"]).slice(0, 100)]) {
      const answer = await node.tryRequest("eth_call", [{ to: DELEGATE, data }, "latest"]);
      assert.ok(answer.error, data);
    }
    const selector = delegate.getFunction("call").selector;
    const monstrous = `${selector}${"ff".repeat(96)}`;
    assert.ok((await node.tryRequest("eth_call", [{ to: DELEGATE, data: monstrous }, "latest"])).error);
    assert.equal(await node.request("eth_chainId"), "0x7a69");
  });
});
