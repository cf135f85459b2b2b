// A contract's test suite as a Hardhat user writes it: fixtures by snapshot, time travel, impersonation, balances out of nothing.
const assert = require("node:assert/strict");
const { ethers, network } = require("hardhat");

const DAY_SECONDS = 86_400;
const send = (method, ...params) => network.provider.send(method, params);

describe("Vault", () => {
  let snapshot;
  let vault;
  let owner;
  let heir;
  let stranger;

  before(async () => {
    [owner, heir, stranger] = await ethers.getSigners();
    vault = await ethers.deployContract("Vault", [heir.address, 30 * DAY_SECONDS], { value: ethers.parseEther("1") });
    await vault.waitForDeployment();
    snapshot = await send("evm_snapshot");
  });

  afterEach(async () => {
    assert.equal(await send("evm_revert", snapshot), true);
    snapshot = await send("evm_snapshot");
  });

  async function revertOf(promise) {
    const error = await promise.then(() => assert.fail("this should have been refused"), (reason) => reason);
    const data = error.data?.data ?? error.data ?? error.error?.data;
    return vault.interface.parseError(data);
  }

  it("knows its twenty signers", async () => {
    const signers = await ethers.getSigners();
    assert.equal(signers.length, 20);
    assert.equal(signers[0].address, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
  });

  it("stays shut before its time", async () => {
    const error = await revertOf(vault.connect(heir).open.staticCall());
    assert.equal(error.name, "TooEarly");
    assert.equal(error.args[0], await vault.opensAt());
  });

  it("opens after it, for the heir alone", async () => {
    await send("evm_increaseTime", 31 * DAY_SECONDS); // no block yet: the estimate must see the time to come
    assert.equal((await revertOf(vault.connect(stranger).open.staticCall())).name, "NotTheHeir");
    const before = await ethers.provider.getBalance(heir.address);
    const receipt = await (await vault.connect(heir).open()).wait();
    const after = await ethers.provider.getBalance(heir.address);
    assert.equal(after - before + receipt.fee, ethers.parseEther("1"));
    assert.equal((await vault.queryFilter(vault.filters.Opened()))[0].args.amount, ethers.parseEther("1"));
  });

  it("opens in the very second, and not one before", async () => {
    const opensAt = Number(await vault.opensAt());
    await send("evm_setNextBlockTimestamp", opensAt - 1);
    const early = await vault.connect(heir).open({ gasLimit: 100_000n });
    await assert.rejects(early.wait());
    await send("evm_setNextBlockTimestamp", opensAt);
    const inTime = await vault.connect(heir).open({ gasLimit: 100_000n });
    assert.equal((await inTime.wait()).status, 1);
  });

  it("took back what the test before did", async () => {
    assert.equal(await ethers.provider.getBalance(await vault.getAddress()), ethers.parseEther("1"));
    assert.deepEqual(await vault.queryFilter(vault.filters.Opened()), []);
  });

  it("counts what each pays in", async () => {
    for (const [who, amount] of [[owner, 1n], [stranger, 2n], [stranger, 3n]]) {
      await (await who.sendTransaction({ to: await vault.getAddress(), value: amount })).wait();
    }
    assert.equal(await vault.paidIn(stranger.address), 5n);
    const events = await vault.queryFilter(vault.filters.PaidIn(stranger.address));
    assert.deepEqual(events.map((event) => event.args.amount), [2n, 3n]);
  });

  it("takes a stranger's money, made out of nothing, by impersonation", async () => {
    const whale = "0x00000000000000000000000000000000000b16b0";
    await send("hardhat_setBalance", whale, ethers.toQuantity(ethers.parseEther("1000000")));
    await send("hardhat_impersonateAccount", whale);
    const signer = await ethers.getImpersonatedSigner(whale).catch(() => ethers.getSigner(whale));
    await (await signer.sendTransaction({ to: await vault.getAddress(), value: ethers.parseEther("500000") })).wait();
    assert.equal(await vault.paidIn(whale), ethers.parseEther("500000"));
    await send("hardhat_stopImpersonatingAccount", whale);
  });

  it("can be given another past", async () => {
    const address = await vault.getAddress();
    const key = ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(["address", "uint256"], [owner.address, 0]));
    await send("hardhat_setStorageAt", address, key, ethers.toBeHex(77, 32));
    assert.equal(await vault.paidIn(owner.address), 77n);
    await send("hardhat_setCode", address, "0x");
    assert.equal(await ethers.provider.getCode(address), "0x");
  });

  it("mines many blocks at once", async () => {
    const before = await ethers.provider.getBlockNumber();
    await send("hardhat_mine", "0x64", "0x3c");
    assert.equal(await ethers.provider.getBlockNumber(), before + 100);
  });
});
