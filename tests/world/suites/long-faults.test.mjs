// Four members with short epochs, founded by the ceremony, under load for minutes: killed at random, wiped, set back, run twice, out of
// disk. WORLD_ROUNDS says how many rounds of killing, WORLD_SEED which; the seed of a run is printed.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium, freePorts, until } from "../consortium.mjs";
import { Load } from "../load.mjs";

const MINUTES = 60_000;
const NAMES = ["ada", "bell", "clarke", "driscoll"];
const AGREEMENT = ["--epoch-blocks", "20", "--heartbeat-ms", "500", "--block-ms", "100"];
const ENGINE = process.env.WORLD_ENGINE ? ["--engine", process.env.WORLD_ENGINE] : [];
const ROUNDS = Number(process.env.WORLD_ROUNDS ?? 10);
const SEED = Number(process.env.WORLD_SEED ?? Date.now() % 1_000_000);
const DISK_SIZE_BYTES = 48 << 20;
const isRoot = process.getuid?.() === 0;

let consortium;
let load;

/** The same numbers for the same seed. */
function draws(seed) {
  let state = BigInt(seed) + 1n;
  return (below) => {
    state = (state * 6_364_136_223_846_793_005n + 1_442_695_040_888_963_407n) & 0xffff_ffff_ffff_ffffn;
    return Number((state >> 33n) % BigInt(below));
  };
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

before(async () => {
  const base = await freePorts(NAMES.length);
  const seats = NAMES.map((name, index) => ({ name, p2p: `127.0.0.1:${base + index}` }));
  consortium = await Consortium.gather({ seats, args: [...AGREEMENT, ...ENGINE] });
  load = await Load.on(consortium);
  load.start();
});
after(() => consortium?.end());

async function wellAgain(...members) {
  await consortium.caughtUp(...members);
  await consortium.isReady();
  await load.goesOn();
}

describe("members that come back", { timeout: 60 * MINUTES }, () => {
  test(`${ROUNDS} rounds of killing, seed ${SEED}`, async (t) => {
    const draw = draws(SEED);
    for (let round = 0; round < ROUNDS; round += 1) {
      const count = [1, 1, 2, 4][draw(4)];
      const first = draw(4);
      const killed = Array.from({ length: count }, (_, index) => consortium.members[(first + index) % 4]);
      const [before, between] = [draw(1_500), draw(1_500)];
      t.diagnostic(`round ${round}: ${before} ms, then without ${killed.map(({ name }) => name).join(", ")} for ${between} ms`);
      await pause(before);
      await Promise.all(killed.map((member) => member.kill()));
      await pause(between);
      await Promise.all(killed.map((member) => member.restart()));
      await load.goesOn(4);
    }
    await wellAgain(...consortium.members);
    await load.isOn(consortium.members);
  });

  test("one without its ledgers, with its keys", async () => {
    const [wiped] = consortium.members;
    await wiped.kill();
    for (const folder of ["ledgers", "consensus"]) rmSync(join(wiped.data, folder), { recursive: true });
    await load.goesOn(20);
    await wiped.restart();
    await wellAgain(wiped);
  });

  test("one restored from an old copy", async () => {
    const old = consortium.named("bell");
    const copy = mkdtempSync(join(tmpdir(), "bletchley-copy-"));
    await old.stop();
    cpSync(old.data, copy, { recursive: true });
    await old.restart();
    await wellAgain(old);
    await load.goesOn(100);
    await old.kill();
    rmSync(old.data, { recursive: true });
    cpSync(copy, old.data, { recursive: true });
    rmSync(copy, { recursive: true });
    await old.restart();
    await wellAgain(old);
  });

  test("one whose folder was copied while it ran, and which runs twice", async () => {
    const twice = consortium.named("clarke");
    const copy = mkdtempSync(join(tmpdir(), "bletchley-twin-"));
    await twice.stop();
    cpSync(twice.data, copy, { recursive: true });
    await twice.restart();
    const base = await freePorts(1);
    const config = execFileSync("sed", ["-e", `s/^p2p = .*/p2p = "127.0.0.1:${base}"/`, join(copy, "member.toml")]);
    writeFileSync(join(copy, "member.toml"), config);
    const Twin = twice.constructor;
    const twin = new Twin({ name: "clarke's twin", data: copy, p2p: `127.0.0.1:${base}` });
    await twin.restart();
    await load.goesOn(40);
    await twin.kill();
    rmSync(copy, { recursive: true });
    await twice.kill();
    await twice.restart();
    await wellAgain(twice);
  });

  test("one whose disk is full", { skip: !isRoot && "mounting a small disk takes root" }, async () => {
    const full = consortium.named("driscoll");
    await full.stop();
    const disk = mkdtempSync(join(tmpdir(), "bletchley-disk-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_SIZE_BYTES}`, "tmpfs", disk]);
    const kept = full.data;
    try {
      cpSync(kept, join(disk, "node"), { recursive: true });
      full.data = join(disk, "node");
      await full.restart();
      await wellAgain(full);
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(join(disk, "filler"), Buffer.alloc(Math.max(0, bavail * bsize - (64 << 10))));
      await until("it ends or says that it is not ready", async () => !full.isUp || !(await full.readiness()).ready);
      await load.goesOn(20);
      assert.match(full.log(), /no space|disk|full|os error 28/i);
      if (full.isUp) await full.kill();
      rmSync(join(disk, "filler"));
      await full.restart();
      await wellAgain(full);
      await full.stop();
      rmSync(kept, { recursive: true });
      mkdirSync(kept);
      cpSync(full.data, kept, { recursive: true });
    } finally {
      if (full.isUp) await full.kill();
      full.data = kept;
      execFileSync("umount", [disk]);
    }
    await full.restart();
    await wellAgain(full);
  });
});

describe("at the end", { timeout: 20 * MINUTES }, () => {
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
