// The project's example contracts by themselves, on anvil with a stand-in for the delegate: their arithmetic, their rules, their faces.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { AbiCoder, id, keccak256, toBeHex } from "ethers";
import { addresses } from "../accounts.mjs";
import { addMonths, isTargetDay, nextTargetDay, toInstant, weekday } from "../dates.mjs";
import { deploy, send } from "../deploy.mjs";
import { startAnvil } from "../node.mjs";
import { artefact, testContract } from "../solidity.mjs";

const DELEGATE = "0x00000000000000000000000000000000000b1E7C";
const coder = AbiCoder.defaultAbiCoder();

let node;
let teach;

before(async () => {
  node = await startAnvil();
  const answers = testContract("Answers");
  await node.request("anvil_setCode", [DELEGATE, answers.deployedBytecode]);
  const stand = await deploy(node, answers, { from: addresses[0] });
  teach = (name, method, inputTypes, input, outputTypes, output) => {
    const args = [id(name), method, coder.encode(inputTypes, input), coder.encode(outputTypes, output)];
    return send(node, { from: addresses[0], to: DELEGATE, data: stand.encode("teach", ...args) });
  };
});
after(() => node?.stop());

async function revertOf(contract, method, args, from = addresses[0]) {
  const data = contract.encode(method, ...args);
  const answer = await node.tryRequest("eth_call", [{ from, to: contract.address, data }, "latest"]);
  assert.ok(answer.error, `${method} should be refused`);
  const parsed = contract.abi.parseError(answer.error.data);
  return parsed?.name ?? answer.error.data;
}

describe("dates of this test", () => {
  test("TARGET's holidays of 2024, as the ECB published them", () => {
    const closed = [20240101, 20240329, 20240401, 20240501, 20241225, 20241226];
    for (const date of closed) assert.equal(isTargetDay(date), false, `${date}`);
    for (const date of [20240102, 20240328, 20240402, 20241224, 20241227]) assert.equal(isTargetDay(date), true, `${date}`);
  });
});

describe("Loan", () => {
  const N = 24;
  const FIRST = 20_230_131;
  const terms = (currency, principal = 1_000_000_01n, bps = 437n) => [addresses[1], addresses[2], principal, currency, bps, FIRST, N];
  const rateOf = (currency, date) => {
    const seed = BigInt(keccak256(toBeHex(BigInt(date) + BigInt(currency.charCodeAt(0)) * 10n ** 10n, 32)));
    const base = { USD: 108_000_000n, GBP: 87_000_000n, JPY: 14_500_000_000n }[currency];
    return base + (seed % (base / 20n));
  };
  const halfUp = (a, b) => (2n * a + b) / (2n * b);

  async function teachSchedule(currency) {
    for (let n = 0; n < N; n += 1) {
      const nominal = addMonths(FIRST, n);
      const business = nextTargetDay(nominal);
      const seconds = toInstant(business).getTime() / 1000 + 15 * 3600;
      await teach("calendar", "addMonths", ["uint32", "uint32"], [FIRST, n], ["uint32"], [nominal]);
      await teach("calendar", "nextBusinessDay", ["uint32", "string"], [nominal, "TARGET"], ["uint32"], [business]);
      await teach("calendar", "toUtc", ["uint32", "uint32", "string"], [business, 57_600, "Europe/Berlin"], ["uint64"], [seconds]);
      await teach("fx-rates", "rate", ["string", "string", "uint32"], ["EUR", currency, business], ["uint256", "uint32"], [rateOf(currency, business), business]);
    }
  }

  for (const currency of ["USD", "GBP", "JPY"]) {
    test(`24 instalments in ${currency} equal an independent computation`, async () => {
      await teachSchedule(currency);
      const [, , principal, , bps] = terms(currency);
      const loan = await deploy(node, artefact("Loan"), { from: addresses[0], args: terms(currency) });
      let outstanding = principal;
      let total = 0n;
      for (let n = 1n; n <= BigInt(N); n += 1n) {
        const part = (principal * n) / BigInt(N) - (principal * (n - 1n)) / BigInt(N);
        const interest = halfUp(outstanding * bps, 120_000n);
        const nominal = addMonths(FIRST, Number(n) - 1);
        const business = nextTargetDay(nominal);
        const amount = halfUp((part + interest) * rateOf(currency, business), 10n ** (currency === "JPY" ? 10n : 8n));
        const receipt = await loan.send(n % 2n ? "payInstalment" : "settle", n % 2n ? [] : [n], { from: addresses[2] });
        assert.equal(receipt.status, "0x1", `instalment ${n}`);
        const event = loan.abi.parseLog(receipt.logs[0]);
        assert.equal(event.name, "InstalmentSettled");
        const expected = [n, nominal, business, business, rateOf(currency, business), interest, part, amount].map(BigInt);
        assert.deepEqual([...event.args].map(BigInt), expected);
        outstanding -= part;
        total += amount;
        if (n === BigInt(N)) assert.equal(loan.abi.parseLog(receipt.logs[1]).args.totalForeignMinor, total);
      }
      assert.equal(outstanding, 0n, "the parts add up to the principal");
      assert.equal(await revertOf(loan, "payInstalment", [], addresses[2]), "NoSuchInstalment");
    });
  }

  test("refuses what is not agreed", async () => {
    await teachSchedule("USD");
    const loan = await deploy(node, artefact("Loan"), { from: addresses[0], args: terms("USD") });
    assert.equal(await revertOf(loan, "settle", [2], addresses[2]), "NotNext");
    assert.equal(await revertOf(loan, "settle", [1], addresses[5]), "NotAParty");
    assert.equal(await revertOf(loan, "due", [0]), "NoSuchInstalment");
    assert.equal(await revertOf(loan, "due", [25]), "NoSuchInstalment");
    assert.equal((await loan.call("due", [1])).principalPartEurCents, 1_000_000_01n / 24n);
  });

  test("refuses terms out of bounds", async () => {
    const wrong = [
      [0, addresses[2]], [2, 0n], [2, 10n ** 18n + 1n], [3, "XAU"], [3, "usd"], [4, 10_001n], [6, 23], [6, 481],
    ];
    for (const [at, value] of wrong) {
      const args = terms("USD");
      args[at] = value;
      await assert.rejects(deploy(node, artefact("Loan"), { from: addresses[0], args }), `${at} ${value}`);
    }
  });

  test("cannot be settled before its day's rates are published", async () => {
    const late = 20_990_105; // a Monday
    await teach("calendar", "addMonths", ["uint32", "uint32"], [late, 0], ["uint32"], [late]);
    await teach("calendar", "nextBusinessDay", ["uint32", "string"], [late, "TARGET"], ["uint32"], [late]);
    const seconds = toInstant(late).getTime() / 1000 + 15 * 3600;
    await teach("calendar", "toUtc", ["uint32", "uint32", "string"], [late, 57_600, "Europe/Berlin"], ["uint64"], [seconds]);
    const args = terms("USD");
    args[5] = late;
    const loan = await deploy(node, artefact("Loan"), { from: addresses[0], args });
    assert.equal(await revertOf(loan, "payInstalment", [], addresses[2]), "NotYetDue");
  });

  test("halves round up", async () => {
    const loan = await deploy(node, artefact("Loan"), { from: addresses[0], args: terms("USD") });
    for (const [cents, rate, expected] of [[1n, 50_000_000n, 1n], [1n, 49_999_999n, 0n], [3n, 50_000_000n, 2n], [0n, 10n ** 12n, 0n]]) {
      assert.equal((await loan.call("inForeignMinor", [cents, rate]))[0], expected);
    }
  });
});

describe("Delegating", () => {
  test("both ways give the same, and a failure passes through or is caught", async () => {
    const contract = await deploy(node, artefact("Delegating"), { from: addresses[0] });
    for (const date of [20240229, 20000101, 19991231, 21000301, 20261122]) {
      await teach("calendar", "weekday", ["uint32"], [date], ["uint8"], [weekday(date)]);
      for (const method of ["countPlain", "countDelegated"]) {
        const receipt = await contract.send(method, [date]);
        assert.equal(Number(contract.abi.parseLog(receipt.logs[0]).args.weekday), weekday(date), `${method} ${date}`);
      }
    }
    const unknown = ["nobody", "nothing", "0x"];
    const { abi } = artefact("ICryptoDelegate");
    assert.equal(abi.some((item) => item.type === "error" && item.name === "CryptletFailed"), true);
    const failed = id("CryptletFailed(uint8,string)").slice(0, 10);
    assert.equal((await revertOf(contract, "ask", unknown)).slice(0, 10), failed);
    const receipt = await contract.send("askCatching", unknown);
    const { ok, output } = contract.abi.parseLog(receipt.logs[0]).args;
    assert.equal(ok, false);
    assert.equal(output.slice(0, 10), failed);
    assert.equal(await revertOf(contract, "countPlain", [20241301]), "NotADate");
  });

  test("where there is no delegate, that is said", async () => {
    const bare = await startAnvil();
    try {
      const contract = await deploy(bare, artefact("Delegating"), { from: addresses[0] });
      const data = contract.encode("countDelegated", 20240101);
      const { error } = await bare.tryRequest("eth_call", [{ to: contract.address, data }, "latest"]);
      assert.equal(error.data, id("CryptoDelegateMissing()").slice(0, 10));
    } finally {
      await bare.stop();
    }
  });
});

describe("ItemRegister", () => {
  const [maker, buyer, stranger] = [addresses[3], addresses[4], addresses[5]];
  const item = (n) => keccak256(toBeHex(n, 32));
  const place = [id("ledger"), id("output")];
  let register;

  before(async () => {
    register = await deploy(node, artefact("ItemRegister"), { from: maker });
    await register.send("record", [item(1), ...place]);
  });

  test("records once, and says who", async () => {
    const receipt = await register.send("record", [item(2), ...place]);
    const [recorded, minted] = receipt.logs.map((log) => register.abi.parseLog(log));
    assert.deepEqual([...recorded.args], [item(2), ...place, maker]);
    assert.deepEqual([...minted.args], [`0x${"0".repeat(40)}`, maker, BigInt(item(2))]);
    assert.equal(await revertOf(register, "record", [item(2), ...place], stranger), "AlreadyRecorded");
    assert.equal(await revertOf(register, "record", [item(3), place[0], toBeHex(0, 32)]), "UnnamedOutput");
    assert.deepEqual([...(await register.call("items", [item(2)]))], [...place, maker]);
  });

  test("moves only with permission", async () => {
    assert.equal(await revertOf(register, "transferFrom", [maker, stranger, item(1)], stranger), "NotPermitted");
    assert.equal(await revertOf(register, "transferFrom", [buyer, stranger, item(1)], maker), "NotOwner");
    await register.send("approve", [buyer, item(1)]);
    assert.equal((await register.call("getApproved", [item(1)]))[0], buyer);
    await register.send("transferFrom", [maker, buyer, item(1)], { from: buyer });
    assert.equal((await register.call("ownerOf", [item(1)]))[0], buyer);
    assert.equal((await register.call("getApproved", [item(1)]))[0], `0x${"0".repeat(40)}`);
    assert.equal(await revertOf(register, "transferFrom", [buyer, maker, item(1)], maker), "NotPermitted");
    await register.send("setApprovalForAll", [stranger, true], { from: buyer });
    await register.send("transferFrom", [buyer, maker, item(1)], { from: stranger });
    const balances = await Promise.all([maker, buyer].map((who) => register.call("balanceOf", [who])));
    assert.deepEqual(balances.map(([count]) => count), [2n, 0n]);
  });

  test("goes safely only to contracts that take it", async () => {
    const safe = "safeTransferFrom(address,address,uint256)";
    const receivers = await Promise.all([0, 1, 2, 3].map(async (manner, i) => deploy(node, testContract("Receivers"), { from: addresses[6 + i], args: [manner] })));
    for (const at of [1, 2]) assert.equal(await revertOf(register, safe, [maker, receivers[at].address, item(1)], maker), "InvalidReceiver");
    assert.equal(await revertOf(register, safe, [maker, receivers[3].address, item(1)], maker), "Error");
    const receipt = await register.send(safe, [maker, receivers[0].address, item(1)]);
    assert.equal(receipt.status, "0x1");
    assert.equal((await receivers[0].call("taken", []))[0], BigInt(item(1)));
  });

  test("has the faces it says it has", async () => {
    for (const face of ["0x01ffc9a7", "0x80ac58cd", "0x5b5e139f"]) {
      assert.equal((await register.call("supportsInterface", [face]))[0], true, face);
    }
    assert.equal((await register.call("supportsInterface", ["0xffffffff"]))[0], false);
    assert.equal((await register.call("tokenURI", [item(2)]))[0], `bletchley:token/${item(2)}`);
    assert.equal(await revertOf(register, "ownerOf", [item(9)]), "NoSuchToken");
    assert.equal(await revertOf(register, "balanceOf", [`0x${"0".repeat(40)}`]), "InvalidOwner");
  });
});

describe("Erc20", () => {
  test("keeps balances in slot 0, as its documentation promises", async () => {
    const contract = await deploy(node, artefact("Erc20"), { from: addresses[9], args: [1000n] });
    const slot = keccak256(coder.encode(["address", "uint256"], [addresses[9], 0]));
    assert.equal(BigInt(await node.request("eth_getStorageAt", [contract.address, slot, "latest"])), 1000n);
    assert.deepEqual(artefact("Erc20").storage.map(({ name, slot: at }) => [name, at]), [["balanceOf", "0"], ["allowance", "1"], ["totalSupply", "2"]]);
  });

  test("allowances are used up, except the boundless", async () => {
    const [owner, spender] = [addresses[9], addresses[8]];
    const contract = await deploy(node, artefact("Erc20"), { from: owner, args: [1000n] });
    await contract.send("approve", [spender, 10n]);
    await contract.send("transferFrom", [owner, spender, 6n], { from: spender });
    assert.equal((await contract.call("allowance", [owner, spender]))[0], 4n);
    assert.equal(await revertOf(contract, "transferFrom", [owner, spender, 5n], spender), "InsufficientAllowance");
    assert.equal(await revertOf(contract, "transfer", [spender, 995n], owner), "InsufficientBalance");
    await contract.send("approve", [spender, 2n ** 256n - 1n]);
    await contract.send("transferFrom", [owner, spender, 5n], { from: spender });
    assert.equal((await contract.call("allowance", [owner, spender]))[0], 2n ** 256n - 1n);
  });
});
