// viem: public, wallet and test clients, over HTTP with batches and over WebSocket.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createPublicClient, createTestClient, createWalletClient, encodeDeployData, http, keccak256, parseEther, publicActions, toHex, webSocket } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { addresses, keys } from "../accounts.mjs";
import { CHAIN_ID, startNode } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

const TIMING = { pollingInterval: 50, cacheTime: 0 };

let node;
let chain;
let client;
let wallet;
let erc20;
let probe;

before(async () => {
  node = await startNode();
  chain = { ...foundry, rpcUrls: { default: { http: [node.rpc], webSocket: [node.ws] } } };
  client = createPublicClient({ chain, transport: http(node.rpc, { batch: true }), ...TIMING });
  wallet = walletOf(0);
  erc20 = await deploy(artefact("Erc20"), [parseEther("1000")]);
  probe = await deploy(testContract("Probe"), [7n], 100n);
});
after(() => node?.stop());

function walletOf(index) {
  return createWalletClient({ account: privateKeyToAccount(keys[index]), chain, transport: http(node.rpc), ...TIMING }).extend(publicActions);
}

async function deploy({ abi, bytecode }, args, value) {
  const hash = await wallet.deployContract({ abi, bytecode, args, value });
  const { contractAddress } = await client.waitForTransactionReceipt({ hash });
  return { address: contractAddress, abi };
}

async function mined(hash) {
  return client.waitForTransactionReceipt({ hash: await hash });
}
const balanceOf = (who, extra = {}) => client.readContract({ ...erc20, functionName: "balanceOf", args: [who], ...extra });
const transfer = (to, value, from = wallet) => mined(from.writeContract({ ...erc20, functionName: "transfer", args: [to, value] }));

describe("public client", () => {
  test("chain, blocks, fees", async () => {
    assert.equal(await client.getChainId(), CHAIN_ID);
    const block = await client.getBlock({ includeTransactions: true });
    assert.equal((await client.getBlock({ blockHash: block.hash })).number, block.number);
    assert.equal(await client.getBlockTransactionCount({ blockNumber: block.number }), block.transactions.length);
    const history = await client.getFeeHistory({ blockCount: 2, rewardPercentiles: [25, 75] });
    assert.equal(history.reward.length, 2);
    assert.equal(typeof (await client.estimateFeesPerGas()).maxFeePerGas, "bigint");
    await assert.rejects(client.getBlock({ blockNumber: 99_999_999n }), { name: "BlockNotFoundError" });
    await assert.rejects(client.getTransaction({ hash: `0x${"12".repeat(32)}` }), { name: "TransactionNotFoundError" });
  });

  test("reads in one batch, at one block of the past", async () => {
    const then = await client.getBlockNumber();
    await transfer(addresses[1], 5n);
    const [now, before, code, slot] = await Promise.all([
      balanceOf(addresses[1]),
      balanceOf(addresses[1], { blockNumber: then }),
      client.getCode({ address: probe.address }),
      client.getStorageAt({ address: probe.address, slot: "0x0" }),
    ]);
    assert.deepEqual([now, before], [5n, 0n]);
    assert.ok(code.length > 100);
    assert.equal(BigInt(slot), 7n);
  });

  test("simulation, estimates, access lists", async () => {
    const call = { ...erc20, functionName: "transfer", args: [addresses[2], 1n], account: addresses[0] };
    const { result, request } = await client.simulateContract(call);
    assert.equal(result, true);
    await mined(wallet.writeContract({ ...request, account: wallet.account }));
    assert.ok((await client.estimateContractGas(call)) < 60_000n);
    const { accessList } = await client.createAccessList({ account: addresses[0], to: erc20.address, data: "0x18160ddd" });
    assert.equal(accessList.length, 1);
  });

  test("state overrides and deployless calls", async () => {
    const stateOverride = [{ address: probe.address, stateDiff: [{ slot: toHex(0, { size: 32 }), value: toHex(55, { size: 32 }) }] }];
    assert.equal(await client.readContract({ ...probe, functionName: "value", stateOverride }), 55n);
    const code = encodeDeployData({ ...testContract("Probe"), args: [66n] });
    assert.equal(await client.readContract({ abi: probe.abi, code, functionName: "value" }), 66n);
  });

  test("reverts by name", async () => {
    const failing = (functionName, args = []) => client.simulateContract({ ...probe, functionName, args, account: addresses[0] });
    await assert.rejects(failing("refuse", [4n]), (error) => error.walk().data?.errorName === "Refused" || error.cause.data.errorName === "Refused");
    await assert.rejects(failing("refuseWithReason"), (error) => error.cause.reason === "a plain reason");
    await assert.rejects(failing("panicAssert"), (error) => error.cause.data.errorName === "Panic");
  });

  test("proofs", async () => {
    const proof = await client.getProof({ address: probe.address, storageKeys: [toHex(0, { size: 32 })] });
    assert.equal(proof.storageProof[0].value, 7n);
    assert.equal(proof.codeHash, keccak256(await client.getCode({ address: probe.address })));
  });

  test("logs and filters", async () => {
    const filter = await client.createContractEventFilter({ ...erc20, eventName: "Transfer", args: { to: addresses[6] } });
    await transfer(addresses[5], 1n);
    const receipt = await transfer(addresses[6], 2n);
    const changes = await client.getFilterChanges({ filter });
    assert.deepEqual(changes.map((log) => [log.transactionHash, log.args.value]), [[receipt.transactionHash, 2n]]);
    const logs = await client.getContractEvents({ ...erc20, eventName: "Transfer", args: { to: addresses[6] }, fromBlock: 0n });
    assert.equal(logs.length, 1);
    assert.equal(await client.uninstallFilter({ filter }), true);
  });
});

describe("wallet client", () => {
  test("each type of transaction", async () => {
    const gasPrice = (await client.getGasPrice()) * 2n + 1n;
    const requests = [
      [{ type: "legacy", gasPrice }, "legacy"],
      [{ type: "eip2930", gasPrice, accessList: [] }, "eip2930"],
      [{ type: "eip1559", maxFeePerGas: gasPrice, maxPriorityFeePerGas: 0n }, "eip1559"],
    ];
    for (const [extra, type] of requests) {
      const receipt = await mined(wallet.sendTransaction({ to: addresses[3], value: 1n, ...extra }));
      assert.equal(receipt.type, type);
      assert.equal((await client.getTransaction({ hash: receipt.transactionHash })).type, type);
    }
  });

  test("an authorization of the sender itself, EIP-7702", async () => {
    const self = walletOf(7);
    const authorization = await self.signAuthorization({ contractAddress: probe.address, executor: "self" });
    const receipt = await mined(self.sendTransaction({ authorizationList: [authorization], to: self.account.address, data: "0x", gas: 200_000n }));
    assert.equal(receipt.type, "eip7702");
    assert.equal(receipt.status, "success");
    assert.equal(await client.getCode({ address: self.account.address }), `0xef0100${probe.address.slice(2).toLowerCase()}`);
    assert.equal(receipt.logs.length, 1, "its new code ran");
  });

  test("errors that viem has names for", async () => {
    const poor = createWalletClient({ account: privateKeyToAccount(keccak256("0x01")), chain, transport: http(node.rpc) });
    const isNamed = (name) => (error) => error.walk((inner) => inner.name === name) !== null;
    await assert.rejects(poor.sendTransaction({ to: addresses[0], value: 1n, gas: 21_000n }), isNamed("InsufficientFundsError"));
    await assert.rejects(wallet.sendTransaction({ to: addresses[0], value: 1n, nonce: 0, gas: 21_000n }), isNamed("NonceTooLowError"));
    await assert.rejects(wallet.sendTransaction({ to: addresses[0], gas: 20_000n }), isNamed("IntrinsicGasTooLowError"));
  });
});

describe("test client", () => {
  for (const mode of ["anvil", "hardhat"]) {
    test(`in ${mode} mode`, async () => {
      const tests = createTestClient({ mode, chain, transport: http(node.rpc), ...TIMING }).extend(publicActions);
      const id = await tests.snapshot();
      const who = `0x${(mode === "anvil" ? "c1" : "c2").repeat(20)}`;
      await tests.setBalance({ address: who, value: parseEther("5") });
      assert.equal(await tests.getBalance({ address: who }), parseEther("5"));
      await tests.setCode({ address: who, bytecode: testContract("Probe").deployedBytecode });
      await tests.setStorageAt({ address: who, index: 0, value: toHex(9, { size: 32 }) });
      assert.equal(await tests.readContract({ address: who, abi: probe.abi, functionName: "value" }), 9n);
      await tests.setNonce({ address: who, nonce: 5 });
      assert.equal(await tests.getTransactionCount({ address: who }), 5);
      const { number, timestamp } = await tests.getBlock();
      await tests.mine({ blocks: 3, interval: 10 });
      assert.equal(await tests.getBlockNumber(), number + 3n);
      await tests.increaseTime({ seconds: 3600 });
      await tests.setNextBlockTimestamp({ timestamp: timestamp + 10_000n });
      await tests.mine({ blocks: 1 });
      assert.equal((await tests.getBlock()).timestamp, timestamp + 10_000n);
      await tests.impersonateAccount({ address: addresses[9] });
      await tests.stopImpersonatingAccount({ address: addresses[9] });
      await tests.revert({ id });
      assert.equal(await tests.getBalance({ address: who }), 0n);
    });
  }

  test("what is in the pool", async () => {
    const tests = createTestClient({ mode: "anvil", chain, transport: http(node.rpc), ...TIMING });
    await tests.setAutomine(false);
    const hash = await wallet.sendTransaction({ to: addresses[3], value: 1n });
    const { pending, queued } = await tests.getTxpoolStatus();
    assert.deepEqual([pending, queued], [1, 0]);
    const content = await tests.getTxpoolContent();
    assert.equal(Object.keys(content.pending).length, 1);
    await tests.setAutomine(true);
    await tests.mine({ blocks: 1 });
    assert.equal((await client.getTransactionReceipt({ hash })).status, "success");
  });
});

describe("watching", () => {
  test("blocks, logs and pending transactions over WebSocket", async () => {
    const transport = webSocket(node.ws, { keepAlive: false, reconnect: false });
    const socket = createPublicClient({ chain, transport, ...TIMING });
    const stops = [];
    const seen = (watch, options) => new Promise((done, failed) => stops.push(watch({ ...options(done), onError: failed })));
    const block = seen(socket.watchBlocks, (done) => ({ onBlock: done }));
    const logs = seen(socket.watchContractEvent, (done) => ({ ...erc20, eventName: "Transfer", onLogs: done }));
    const hashes = seen(socket.watchPendingTransactions, (done) => ({ onTransactions: done }));
    await socket.getBlockNumber(); // what was asked before this is answered before it
    await new Promise((done) => setTimeout(done, 100));
    const receipt = await transfer(addresses[8], 3n);
    assert.equal((await logs)[0].transactionHash, receipt.transactionHash);
    assert.ok((await hashes).includes(receipt.transactionHash));
    assert.ok((await block).number >= receipt.blockNumber);
    stops.forEach((stop) => stop());
    (await socket.transport.getRpcClient()).close();
  });

  test("blocks over HTTP", async () => {
    const seen = new Promise((done) => {
      const stop = client.watchBlockNumber({ onBlockNumber: (number, previous) => previous !== undefined && (stop(), done(number)) });
    });
    const moving = setInterval(() => node.request("evm_mine"), 100);
    try {
      assert.equal(typeof (await seen), "bigint");
    } finally {
      clearInterval(moving);
    }
  });
});
