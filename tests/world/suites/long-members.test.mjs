// Consortia of other kinds: seven members, the stories on four of whom one dies, agreement by Tendermint.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium } from "../consortium.mjs";
import { Load } from "../load.mjs";

const MINUTES = 60_000;
const options = { timeout: 20 * MINUTES };

async function verified(consortium) {
  await consortium.caughtUp(...consortium.members);
  assert.equal((await consortium.commonBlock()).hashes.length, 1);
  await Promise.all(consortium.members.map((member) => member.stop()));
  for (const member of consortium.members) {
    const verdict = await bletchley("verify", member.data, "--reexecute");
    assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
  }
}

/** What happens to any consortium: one member dies and comes back, then all of them. */
async function survives(consortium, oneCanFail) {
  const load = await Load.on(consortium);
  load.start();
  await load.goesOn(20);
  const dead = consortium.members.slice(-oneCanFail);
  await Promise.all(dead.map((member) => member.kill()));
  await load.goesOn(20);
  await Promise.all(dead.map((member) => member.restart()));
  await consortium.caughtUp(...dead);
  await Promise.all(consortium.members.map((member) => member.kill()));
  await Promise.all(consortium.members.map((member) => member.restart()));
  await load.goesOn(20);
  await consortium.movesOn();
  await load.stop();
  await consortium.caughtUp(...consortium.members);
  await load.isOn(consortium.members);
  await verified(consortium);
}

describe("seven members", options, () => {
  let consortium;
  before(async () => {
    consortium = await Consortium.found({ members: 7 });
  });
  after(() => consortium?.end());

  test("agree, do without two, come back from nothing, and verify", () => survives(consortium, 2));
});

describe("four members that agree by Tendermint", options, () => {
  let consortium;
  before(async () => {
    consortium = await Consortium.found({ args: ["--engine", "tendermint"] });
  });
  after(() => consortium?.end());

  test("agree, do without one, come back from nothing, and verify", () => survives(consortium, 1));
});

describe("the story of a loan on four members", options, () => {
  let consortium;
  before(async () => {
    consortium = await Consortium.found();
  });
  after(() => consortium?.end());

  const loan = (member, ...more) => bletchley("demo", "loan", "--data", consortium.data, "--member", member, ...more);

  test("is told through any of them", async () => {
    for (const { name } of consortium.members) {
      const told = await loan(name);
      assert.equal(told.code, 0, `${name}\n${told.stdout}\n${told.stderr}`);
    }
  });

  test("goes on when a member is killed in its midst", async () => {
    for (const dead of [consortium.named("regulator"), consortium.named("bank-a")]) {
      const telling = loan("manufacturer", "--currency", "GBP");
      await new Promise((done) => setTimeout(done, 4_000));
      await dead.kill();
      const told = await telling;
      assert.equal(told.code, 0, `without ${dead.name}\n${told.stdout}\n${told.stderr}`);
      await dead.restart();
      await consortium.caughtUp(dead);
    }
  });

  test("is the same for everyone, and verifies, calls run again included", () => verified(consortium));
});
