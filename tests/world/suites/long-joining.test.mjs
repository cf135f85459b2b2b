// Members whose data is gone, or old: each comes back by itself out of the others' ledgers, and does not vote twice.
import assert from "node:assert/strict";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium, freePorts, until } from "../consortium.mjs";
import { Load } from "../load.mjs";

const MINUTES = 60_000;
const options = { timeout: 20 * MINUTES };
const NAMES = ["bank-a", "bank-b", "manufacturer", "regulator"];
const EPOCH_BLOCKS = 60;
const TRANSFERS = 1_200;

const wipe = (member) => ["ledgers", "consensus"].forEach((folder) => rmSync(join(member.data, folder), { recursive: true }));

/** Blocks that a member took out of others' ledgers, by the way it took them in. */
async function taken(member, way) {
  const { body } = await member.get("/metrics");
  return Number(body.match(new RegExp(`^bletchley_sync_blocks_total\\{way="${way}"\\} (\\d+)$`, "m"))[1]);
}

const ledger = async (member, name = "evm") => (await member.status()).ledgers.find((found) => found.name === name);

for (const engine of ["simplex", "tendermint"]) {
  describe(`members that agree by ${engine} and lose their data`, options, () => {
    let consortium;
    let load;
    before(async () => {
      const base = await freePorts(NAMES.length);
      const seats = NAMES.map((name, index) => ({ name, p2p: `127.0.0.1:${base + index}` }));
      const args = ["--engine", engine, "--block-ms", "20", "--epoch-blocks", `${EPOCH_BLOCKS}`];
      consortium = await Consortium.gather({ seats, args });
      load = await Load.on(consortium);
      load.start();
      await load.goesOn(TRANSFERS);
    });
    after(() => consortium?.end());

    /** Whoever is back votes again when the epoch is over: without its vote nothing goes on. */
    async function votesAgain(member) {
      const epochs = Object.fromEntries((await member.status()).ledgers.map(({ name, epoch }) => [name, epoch]));
      for (const [name, epoch] of Object.entries(epochs)) {
        // It may have voted a little into the next epoch before its data was lost.
        await until(`${name} is two epochs further`, async () => (await ledger(member, name)).epoch >= epoch + 2, { ms: 10 * MINUTES });
      }
      const other = consortium.members.find((found) => found !== member);
      await other.kill();
      await consortium.movesOn(3);
      await load.goesOn(20);
      await other.restart();
      await consortium.caughtUp(other);
    }

    /** Nobody cuts it off while it follows. */
    async function staysConnected(member, during) {
      let over = false;
      const watching = (async () => {
        while (!over) {
          const { peers } = await member.status();
          assert.deepEqual(peers.map((peer) => peer.connected), [true, true, true], `${member.name} was cut off`);
          await new Promise((done) => setTimeout(done, 250));
        }
      })();
      try {
        await Promise.race([during(), watching.then(() => during)]);
      } finally {
        over = true;
        await watching;
      }
    }

    for (const [way, name, flags] of [
      ["snapshot", "regulator", []],
      ["replay", "bank-b", ["--replay"]],
    ]) {
      test(`a wiped one comes back by ${way}, follows, and votes again`, async () => {
        const member = consortium.named(name);
        const before = await member.height();
        await member.kill();
        wipe(member);
        await member.restart(flags);
        assert.ok((await taken(member, way)) >= before - EPOCH_BLOCKS, "it came out of the others' ledgers");
        assert.match(member.log(), /sync\.abstains/);
        await consortium.caughtUp(member);
        await until(`${member.name} is connected`, async () => (await member.status()).peers.every((peer) => peer.connected));
        await staysConnected(member, () => consortium.movesOn(EPOCH_BLOCKS / 2, [member]));
        await votesAgain(member);
      });
    }

    test("one restored from an old copy does not vote where it may have voted", async () => {
      const member = consortium.named("manufacturer");
      await member.stop();
      const copies = ["ledgers", "consensus"].map((folder) => [join(member.data, folder), join(consortium.data, `copy-${folder}`)]);
      copies.forEach(([folder, copy]) => cpSync(folder, copy, { recursive: true }));
      await member.restart();
      await consortium.caughtUp(member);
      await consortium.movesOn(EPOCH_BLOCKS);
      await member.kill();
      wipe(member);
      copies.forEach(([folder, copy]) => cpSync(copy, folder, { recursive: true }));
      await member.restart();
      assert.match(member.log(), /sync\.abstains/);
      await consortium.caughtUp(member);
      await votesAgain(member);
    });

    test("everything holds on every folder", async () => {
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
}
