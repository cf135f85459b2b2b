// A small load on a consortium: transfers of an ERC-20 by several senders through members in turn, each counted once its receipt
// is there. The ledger takes no fees, so senders need nothing but keys.
import assert from "node:assert/strict";
import { ContractFactory, Interface, Transaction, Wallet, getCreateAddress, id } from "ethers";
import { until } from "./consortium.mjs";
import { artefact } from "./solidity.mjs";

const SENDERS = 4;
const GAS_DEPLOY = 3_000_000;
const GAS_TRANSFER = 100_000;
const SUPPLY = 10n ** 24n;
const POLL_MS = 25;
/** When a transfer without a receipt is sent again, through the next member. */
const RESEND_MS = 2_000;
/** A member says so of a transfer that it has, or that is in a block. */
const HAD = /already known|nonce too low/i;

const erc20 = artefact("Erc20");
const abi = new Interface(erc20.abi);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Load {
  /** Deploys the token and gives it to the senders. Transfers go through the given members, or through all that live. */
  static async on(consortium, { through } = {}) {
    const load = new Load();
    load.only = through;
    const chainId = Number(await consortium.members[0].request("eth_chainId"));
    const owner = wallet("owner");
    Object.assign(load, { consortium, chainId, receipts: new Map(), turn: 0, errors: [] });
    const { data } = await new ContractFactory(erc20.abi, erc20.bytecode).getDeployTransaction(SUPPLY);
    load.token = getCreateAddress({ from: owner.address, nonce: 0 });
    load.receiver = wallet("receiver").address;
    load.senders = Array.from({ length: SENDERS }, (_, index) => ({ wallet: wallet(`sender ${index}`), nonce: 0 }));
    await load.through(load.sign(owner, 0, { data, gasLimit: GAS_DEPLOY }));
    for (const [index, sender] of load.senders.entries()) {
      const give = abi.encodeFunctionData("transfer", [sender.wallet.address, SUPPLY / 10n]);
      await load.through(load.sign(owner, 1 + index, { to: load.token, data: give, gasLimit: GAS_TRANSFER }));
    }
    load.transfers = 0;
    return load;
  }

  sign(from, nonce, tx) {
    const unsigned = Transaction.from({ ...tx, chainId: this.chainId, nonce, gasPrice: 0, type: 0 });
    unsigned.signature = from.signingKey.sign(unsigned.unsignedHash);
    return { hash: unsigned.hash, raw: unsigned.serialized };
  }

  /** Sends a transaction through living members in turn until one of them has its receipt. */
  async through({ hash, raw }, first) {
    let member = first ?? this.next();
    const send = async () => {
      const answer = await member.tryRequest("eth_sendRawTransaction", [raw]);
      if (answer.error && !HAD.test(answer.error.message)) throw new Error(`${member.name}: ${answer.error.message}`);
    };
    let sent = 0;
    const receipt = await until(`there is a receipt of ${hash}`, async () => {
      try {
        if (Date.now() - sent > RESEND_MS) {
          if (sent > 0) member = this.next();
          sent = Date.now();
          await send();
        }
        return await member.request("eth_getTransactionReceipt", [hash]);
      } catch (error) {
        this.errors.push(error.message);
        sent = 1;
        return undefined;
      }
    });
    this.receipts.set(hash, receipt);
    return receipt;
  }

  next() {
    const living = this.only ?? this.consortium.living;
    this.turn += 1;
    const able = living.length > 0 ? living : this.consortium.members;
    return able[this.turn % able.length];
  }

  /** One transfer of one token by the sender at `index`. */
  async transfer(index = 0, member = undefined) {
    const sender = this.senders[index];
    const data = abi.encodeFunctionData("transfer", [this.receiver, 1n]);
    const signed = this.sign(sender.wallet, sender.nonce, { to: this.token, data, gasLimit: GAS_TRANSFER });
    sender.nonce += 1;
    const receipt = await this.through(signed, member);
    assert.equal(receipt.status, "0x1", `transfer ${signed.hash} failed`);
    this.transfers += 1;
    return receipt;
  }

  /** Every sender sends one transfer after another until the load is stopped. */
  start() {
    this.running = true;
    this.lanes = this.senders.map(async (_, index) => {
      while (this.running) {
        await this.transfer(index);
        await pause(POLL_MS);
      }
    });
    this.lanes.forEach((lane) => lane.catch(() => {}));
  }

  /** Waits until so many more transfers have a receipt. */
  async goesOn(transfers = 10) {
    const from = this.transfers;
    await Promise.race([
      until(`there are ${transfers} transfers more than ${from}`, () => this.transfers >= from + transfers),
      Promise.all(this.lanes),
    ]);
  }

  async stop() {
    this.running = false;
    await Promise.all(this.lanes ?? []);
  }

  /** Every receipt seen is on every given member, the same to the byte; every transfer has counted once. */
  async isOn(members) {
    for (const member of members) {
      for (const [hash, receipt] of this.receipts) {
        const theirs = await until(`${member.name} has ${hash}`, () => member.request("eth_getTransactionReceipt", [hash]));
        assert.deepEqual(theirs, receipt, `${member.name} has another receipt of ${hash}`);
      }
      if (!this.running) assert.equal(await this.received(member), BigInt(this.transfers), `transfers that ${member.name} counts`);
    }
  }

  async received(member) {
    const data = abi.encodeFunctionData("balanceOf", [this.receiver]);
    return BigInt(await member.request("eth_call", [{ to: this.token, data }, "latest"]));
  }
}

function wallet(name) {
  return new Wallet(id(`load on a consortium: ${name}`));
}
