// Four members whose clocks jump: one of them, most of them, back and forth. Blocks go on, and their times never go back. A node whose
// clock is set back starts again; members whose clocks lie more than half a minute apart do not connect anew, so that one that is far
// behind is alone until its clock is right.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Clocks } from "../clock.mjs";
import { Consortium, freePorts, until } from "../consortium.mjs";
import { Load } from "../load.mjs";

const options = { skip: Clocks.missing() };
const MINUTES = 60_000;
const HOUR_S = 3_600;
const NAMES = ["ada", "bell", "clarke", "driscoll"];
const ENGINE = process.env.WORLD_ENGINE ? ["--engine", process.env.WORLD_ENGINE] : [];

let clocks;
let consortium;
let load;

before(async () => {
  if (options.skip) return;
  clocks = new Clocks(NAMES.length);
  const base = await freePorts(NAMES.length);
  const seats = NAMES.map((name, index) => ({ name, p2p: `127.0.0.1:${base + index}`, within: clocks.within(index) }));
  consortium = await Consortium.gather({ seats, args: ["--epoch-blocks", "50", "--heartbeat-ms", "500", ...ENGINE] });
  load = await Load.on(consortium);
  load.start();
});
after(async () => {
  await consortium?.end();
  clocks?.clear();
});

/** All go on but those that are alone; these say so. */
async function goesOn(...alone) {
  const others = consortium.members.filter((member) => !alone.includes(member));
  for (const member of alone) {
    await until(`${member.name} says that it is alone`, async () => {
      const { ready, reasons } = await member.readiness();
      return !ready && reasons.some((reason) => /waiting for/.test(reason));
    });
  }
  await load.goesOn(20);
  await consortium.movesOn(4, others);
  await consortium.caughtUp(...others);
}

describe("clocks that jump", { ...options, timeout: 20 * MINUTES }, () => {
  const cases = [
    ["one is an hour ahead", [HOUR_S, 0, 0, 0]],
    ["it is right again", [0, 0, 0, 0]],
    ["one is an hour behind, and alone", [0, -HOUR_S, 0, 0], ["bell"]],
    ["one more is ahead", [0, -HOUR_S, HOUR_S, 0], ["bell"]],
    ["all are right again", [0, 0, 0, 0]],
    ["all are a minute ahead", [60, 60, 60, 60]],
    ["all go a minute back", [0, 0, 0, 0]],
  ];
  for (const [what, shifts, alone = []] of cases) {
    test(what, async () => {
      shifts.forEach((seconds, index) => clocks.shift(index, seconds));
      await goesOn(...alone.map((name) => consortium.named(name)));
    });
  }

  test("a member that starts with a wrong clock takes part once it is right", async () => {
    const [late] = consortium.members;
    await late.kill();
    clocks.shift(0, -HOUR_S);
    await late.restart();
    await goesOn(late);
    clocks.shift(0, 0);
    await goesOn();
  });
});

describe("at the end", { ...options, timeout: 10 * MINUTES }, () => {
  test("no block is older than the one before it, all members have the same, and every folder verifies", async () => {
    await load.stop();
    await consortium.caughtUp(...consortium.members);
    await load.isOn(consortium.members);
    const { number, hashes } = await consortium.commonBlock();
    assert.equal(hashes.length, 1);
    let time = 0;
    for (let height = 1; height <= number; height += 1) {
      const { timestamp } = await consortium.members[0].request("eth_getBlockByNumber", [`0x${height.toString(16)}`, false]);
      assert.ok(Number(timestamp) >= time, `block ${height} is older than the one before it`);
      time = Number(timestamp);
    }
    await Promise.all(consortium.members.map((member) => member.stop()));
    for (const member of consortium.members) {
      const verdict = await bletchley("verify", member.data);
      assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
    }
  });
});
