// Four members on hosts of their own, on a network that comes apart: packets are lost and nobody is told.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium, until } from "../consortium.mjs";
import { Load } from "../load.mjs";
import { Network, missing } from "../network.mjs";

const options = { skip: missing() };
const MINUTES = 60_000;
const NAMES = ["ada", "bell", "clarke", "driscoll"];
const ENGINE = process.env.WORLD_ENGINE ? ["--engine", process.env.WORLD_ENGINE] : [];
const SEPARATE_MS = 12_000;

let network;
let consortium;
let load;

before(async () => {
  if (options.skip) return;
  network = new Network(NAMES.length);
  const seats = NAMES.map((name, index) => {
    const { address, api, within } = network.hosts[index];
    return { name, p2p: `${address}:30300`, api: `${api}:8545`, within };
  });
  consortium = await Consortium.gather({ seats, args: ["--epoch-blocks", "50", "--heartbeat-ms", "500", ...ENGINE] });
  load = await Load.on(consortium);
  load.start();
});
after(async () => {
  await consortium?.end();
  network?.clear();
});

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function healed() {
  network.heal();
  await consortium.movesOn(3, consortium.members);
  await consortium.caughtUp(...consortium.members);
  await load.goesOn(20);
  await consortium.isReady();
}

describe("a network that comes apart", { ...options, timeout: 20 * MINUTES }, () => {
  test("two and two: no blocks, the missing named, and all goes on when it heals", async () => {
    network.separate(2, 3);
    const missed = [/clarke.*driscoll/, /clarke.*driscoll/, /ada.*bell/, /ada.*bell/];
    for (const [index, member] of consortium.members.entries()) {
      await until(`${member.name} says whom it waits for`, async () => {
        const { ready, reasons } = await member.readiness();
        return !ready && reasons.some((reason) => missed[index].test(reason));
      });
    }
    const stood = await Promise.all(consortium.members.map((member) => member.height()));
    await pause(SEPARATE_MS);
    assert.deepEqual(await Promise.all(consortium.members.map((member) => member.height())), stood);
    await healed();
  });

  test("three and one: the three go on, the one catches up", async () => {
    network.separate(0);
    const [alone, ...three] = consortium.members;
    await consortium.movesOn(5, three);
    await until("the one says that it is alone", async () => !(await alone.readiness()).ready);
    const stood = await alone.height();
    await consortium.movesOn(5, three);
    assert.equal(await alone.height(), stood);
    await healed();
  });

  test("apart and together again and again, each time otherwise", async () => {
    for (const apart of [[0], [1, 2], [3], [0, 3], [2], [1]]) {
      network.separate(...apart);
      await pause(2_000);
      network.heal();
      await pause(1_000);
    }
    await healed();
  });
});

describe("at the end", { ...options, timeout: 10 * MINUTES }, () => {
  test("every member has the same blocks, receipts and balances, and every folder verifies", async () => {
    await load.stop();
    await consortium.caughtUp(...consortium.members);
    await load.isOn(consortium.members);
    assert.equal((await consortium.commonBlock()).hashes.length, 1);
    await Promise.all(consortium.members.map((member) => member.stop()));
    for (const member of consortium.members) {
      const verdict = await bletchley("verify", member.data);
      assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
    }
  });
});
