// ethers v6 over HTTP and WebSocket.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  Contract, ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, ZeroAddress, parseEther, toBeHex,
} from "ethers";
import { FUNDED_WEI, addresses, keys } from "../accounts.mjs";
import { CHAIN_ID, startNode } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

let node;
let provider;
let wallet;
let erc20;
let probe;

before(async () => {
  node = await startNode();
  provider = new JsonRpcProvider(node.rpc, undefined, { polling: true, pollingInterval: 50, cacheTimeout: -1 });
  wallet = new NonceManager(new Wallet(keys[0], provider));
  const create = async ({ abi, bytecode }, ...args) => {
    const contract = await new ContractFactory(abi, bytecode, wallet).deploy(...args);
    return contract.waitForDeployment();
  };
  erc20 = await create(artefact("Erc20"), parseEther("1000"));
  probe = await create(testContract("Probe"), 7, { value: 100 });
});
after(async () => {
  provider?.destroy();
  await node?.stop();
});

describe("reading", () => {
  test("network, balances, blocks", async () => {
    assert.equal((await provider.getNetwork()).chainId, BigInt(CHAIN_ID));
    assert.equal(await provider.getBalance(addresses[18]), FUNDED_WEI);
    const block = await provider.getBlock("latest", true);
    assert.equal(block.prefetchedTransactions.length, block.transactions.length);
    assert.equal((await provider.getBlock(block.hash)).number, block.number);
    assert.equal(await provider.getBlock(10_000_000), null);
    const fees = await provider.getFeeData();
    assert.equal(typeof fees.maxFeePerGas, "bigint");
    assert.equal(typeof fees.gasPrice, "bigint");
  });

  test("contracts, now and then", async () => {
    const then = await provider.getBlockNumber();
    await (await erc20.transfer(addresses[1], 5n)).wait();
    assert.equal(await erc20.balanceOf(addresses[1]), 5n);
    assert.equal(await erc20.balanceOf(addresses[1], { blockTag: then }), 0n);
    assert.equal(await provider.getStorage(await probe.getAddress(), 0), toBeHex(7, 32));
    assert.ok((await provider.getCode(await probe.getAddress())).length > 100);
  });
});

describe("writing", () => {
  test("each type of transaction", async () => {
    const { gasPrice } = await provider.getFeeData();
    const price = (gasPrice || 1n) * 2n;
    for (const request of [
      { type: 0, gasPrice: price },
      { type: 1, gasPrice: price, accessList: [[await probe.getAddress(), [toBeHex(0, 32)]]] },
      { type: 2, maxFeePerGas: price, maxPriorityFeePerGas: 0n },
    ]) {
      const response = await wallet.sendTransaction({ to: addresses[2], value: 1n, ...request });
      const receipt = await response.wait();
      assert.equal(receipt.type, request.type);
      const shown = await provider.getTransaction(receipt.hash);
      assert.equal(shown.from, addresses[0]);
      assert.equal(shown.type, request.type);
      assert.equal(shown.value, 1n);
    }
  });

  test("an authorization, EIP-7702", async () => {
    const owner = new Wallet(keys[4], provider);
    const target = await probe.getAddress();
    const authorization = await owner.authorize({ address: target, nonce: 0 });
    const response = await wallet.sendTransaction({ type: 4, to: addresses[4], value: 0n, authorizationList: [authorization] });
    const receipt = await response.wait();
    assert.equal(receipt.type, 4);
    assert.equal(await provider.getCode(addresses[4]), `0xef0100${target.slice(2).toLowerCase()}`);
    const shown = await provider.getTransaction(receipt.hash);
    assert.equal(shown.authorizationList[0].address, target);
  });

  test("many at once, in order", async () => {
    const responses = await Promise.all(Array.from({ length: 20 }, (_, i) => wallet.sendTransaction({ to: addresses[3], value: BigInt(i) })));
    const receipts = await Promise.all(responses.map((response) => response.wait()));
    assert.ok(receipts.every((receipt) => receipt.status === 1));
    assert.equal(await provider.getBalance(addresses[3]), FUNDED_WEI + 190n);
  });

  test("what fails says why", async () => {
    await assert.rejects(probe.refuseWithReason.staticCall(), (error) => error.code === "CALL_EXCEPTION" && error.reason === "a plain reason");
    await assert.rejects(probe.refuse.staticCall(9), (error) => error.revert.name === "Refused" && error.revert.args[0] === 9n);
    await assert.rejects(probe.panicAssert.staticCall(), (error) => error.revert.name === "Panic" && Number(error.revert.args[0]) === 1);
    await assert.rejects(erc20.transfer.staticCall(ZeroAddress, 1n), (error) => error.revert.name === "InvalidReceiver");
    const failing = await new Wallet(keys[9], provider).sendTransaction({ to: await probe.getAddress(), data: probe.interface.encodeFunctionData("refuse", [1]), gasLimit: 100_000n });
    await assert.rejects(failing.wait(), (error) => error.code === "CALL_EXCEPTION" && error.receipt.status === 0);
  });

  test("errors are those that ethers knows by name", async () => {
    const poor = Wallet.createRandom().connect(provider);
    await assert.rejects(poor.sendTransaction({ to: addresses[0], value: 1n }), (error) => error.code === "INSUFFICIENT_FUNDS");
    const used = new Wallet(keys[0], provider);
    const again = { to: addresses[1], value: 1n, nonce: 0, gasLimit: 21_000n };
    await assert.rejects(used.sendTransaction(again), (error) => error.code === "NONCE_EXPIRED");
  });
});

describe("events", () => {
  test("of the past", async () => {
    const receipt = await (await erc20.transfer(addresses[6], 11n)).wait();
    const found = await erc20.queryFilter(erc20.filters.Transfer(null, addresses[6]), 0);
    assert.deepEqual(found.map((event) => event.transactionHash), [receipt.hash]);
    assert.equal(found[0].args.value, 11n);
  });

  test("as they happen, by asking again and again", async () => {
    const seen = new Promise((done) => erc20.once("Transfer", (from, to, value) => done(value)));
    await new Promise((done) => setTimeout(done, 200)); // ethers notes where it starts from
    await (await erc20.transfer(addresses[7], 12n)).wait();
    assert.equal(await seen, 12n);
  });

  test("as they happen, over WebSocket", async () => {
    const socket = new WebSocketProvider(node.ws);
    try {
      assert.equal((await socket.getNetwork()).chainId, BigInt(CHAIN_ID));
      const listening = new Contract(await erc20.getAddress(), artefact("Erc20").abi, socket);
      const event = new Promise((done) => listening.on("Transfer", (from, to, value) => done(value)));
      const block = new Promise((done) => socket.on("block", done));
      await socket.send("eth_chainId", []); // both subscriptions were sent before this
      await new Promise((done) => setTimeout(done, 100));
      const receipt = await (await erc20.transfer(addresses[8], 13n)).wait();
      assert.equal(await event, 13n);
      assert.ok((await block) <= receipt.blockNumber);
    } finally {
      await socket.destroy();
    }
  });
});

describe("signing", () => {
  test("typed data and messages, with the accounts that the node holds", async () => {
    const signer = await provider.getSigner(addresses[1]);
    const message = await signer.signMessage("hello");
    assert.equal(message, await new Wallet(keys[1]).signMessage("hello"));
    const domain = { name: "Test", version: "1", chainId: CHAIN_ID, verifyingContract: await erc20.getAddress() };
    const types = { Thing: [{ name: "id", type: "uint256" }, { name: "what", type: "string" }] };
    const value = { id: 5n, what: "a thing" };
    assert.equal(await signer.signTypedData(domain, types, value), await new Wallet(keys[1]).signTypedData(domain, types, value));
  });
});
