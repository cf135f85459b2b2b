// Members come and go by votes while clients send transfers through two that stay: no restart, no pause, and everybody has the same
// blocks at the end. WORLD_ENGINE chooses how they agree.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium, freePorts, until } from "../consortium.mjs";
import { Load } from "../load.mjs";
import { isAnvil } from "../node.mjs";

const options = { skip: isAnvil && "anvil agrees with nobody" };
const MINUTES = 60_000;
const NAMES = ["ada", "bell", "clarke", "driscoll"];
const NEWCOMER = "easley";
const BLOCK_MS = 200;
const EPOCH_BLOCKS = 25;
/**
 * Longest time between two blocks by their own times, in block intervals. A view whose leader is away costs 1.25 s beside the
 * heartbeat; a busy computer the rest.
 */
const PAUSE_INTERVALS_MAX = 25;
const ENGINE = process.env.WORLD_ENGINE ? ["--engine", process.env.WORLD_ENGINE] : [];

let consortium;
let load;

before(async () => {
  if (isAnvil) return;
  const base = await freePorts(NAMES.length + 1);
  const seats = NAMES.map((name, index) => ({ name, p2p: `127.0.0.1:${base + index}` }));
  const agreement = ["--epoch-blocks", `${EPOCH_BLOCKS}`, "--heartbeat-ms", "500", "--block-ms", `${BLOCK_MS}`];
  consortium = await Consortium.gather({ seats, args: [...agreement, ...ENGINE] });
  consortium.newcomer = await consortium.ask({ name: NEWCOMER, p2p: `127.0.0.1:${base + NAMES.length}` });
  load = await Load.on(consortium, { through: [consortium.named("bell"), consortium.named("clarke")] });
  consortium.firstLoaded = await consortium.named("bell").height();
  load.start();
});
after(() => consortium?.end());

/** Waits until these and no others validate both ledgers, as every one of them sees it. */
async function validate(...names) {
  for (const member of names.map((name) => consortium.named(name))) {
    await until(`${member.name} says that ${names} validate`, async () => {
      const { ledgers } = await member.status();
      const sets = ledgers.map(({ validators }) => validators.map(({ name }) => name).sort());
      return ledgers.length === 2 && sets.every((set) => set.join() === [...names].sort().join());
    });
  }
}

describe("members come and go by votes, under load", { ...options, timeout: 10 * MINUTES }, () => {
  test("a fifth joins: it is voted in, starts, and validates from the next epoch on", async () => {
    const { member, request } = consortium.newcomer;
    const voters = ["ada", "bell", "clarke"].map((name) => consortium.named(name));
    const proposal = await consortium.decide(["add-member", request, "--note", "joins while we work"], voters);
    assert.equal(proposal.status, "accepted", JSON.stringify(proposal));
    await consortium.welcome(member);
    await validate(...NAMES, NEWCOMER);
    await load.goesOn();
    await consortium.movesOn();
    await consortium.isReady();
  });

  test("the first leaves: it is voted out, validates to the end of its epoch, and is not missed", async () => {
    const [gone] = consortium.members;
    const voters = ["bell", "clarke", "driscoll", NEWCOMER].map((name) => consortium.named(name));
    const proposal = await consortium.decide(["remove-member", gone.name], voters);
    assert.equal(proposal.status, "accepted", JSON.stringify(proposal));
    // Its own node says nothing new any more; the others are asked.
    await validate(...NAMES.slice(1), NEWCOMER);
    await gone.stop();
    consortium.members.shift();
    await load.goesOn();
    await consortium.movesOn(2 * NAMES.length);
    await consortium.isReady();
    consortium.gone = gone;
  });
});

describe("at the end", { ...options, timeout: 10 * MINUTES }, () => {
  test(`no two blocks lie more than ${PAUSE_INTERVALS_MAX} intervals apart by their own times`, async (t) => {
    await load.stop();
    const [member] = consortium.members;
    const { number } = await consortium.commonBlock();
    let [longest, at, before] = [0, 0, undefined];
    for (let height = consortium.firstLoaded; height <= number; height += 1) {
      const { timeMs } = await member.request("bletchley_getDelegationRecord", [`0x${height.toString(16)}`]);
      if (before !== undefined && timeMs - before > longest) [longest, at] = [timeMs - before, height];
      before = timeMs;
    }
    t.diagnostic(`${load.transfers} transfers in ${number - consortium.firstLoaded} blocks; the longest pause was ${longest} ms, before block ${at}`);
    assert.ok(longest <= PAUSE_INTERVALS_MAX * BLOCK_MS, `${longest} ms before block ${at}`);
  });

  test("every member has the same blocks, receipts and balances, and every folder verifies", async () => {
    await consortium.caughtUp(...consortium.members);
    await load.isOn(consortium.members);
    assert.equal((await consortium.commonBlock()).hashes.length, 1);
    await Promise.all(consortium.members.map((member) => member.stop()));
    for (const member of [...consortium.members, consortium.gone]) {
      const verdict = await bletchley("verify", member.data);
      assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
    }
  });
});
