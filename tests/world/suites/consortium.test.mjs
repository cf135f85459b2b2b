// Four members, each a process of its own, under load: what happens to some of them, the others do not notice; what happens to all
// of them loses nothing.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bletchley } from "../command.mjs";
import { Consortium, until } from "../consortium.mjs";
import { Load } from "../load.mjs";
import { isAnvil } from "../node.mjs";
import { hostileGreetings, sendBytes, silence, stranger } from "../strangers.mjs";

const options = { skip: isAnvil && "anvil agrees with nobody" };
const MINUTES = 60_000;
const SILENT_CONNECTIONS = 40;

let consortium;
let load;

before(async () => {
  if (isAnvil) return;
  consortium = await Consortium.found();
  load = await Load.on(consortium);
});
after(() => consortium?.end());

describe("four members", { ...options, timeout: 10 * MINUTES }, () => {
  test("have names, processes, folders and interfaces of their own", () => {
    assert.deepEqual(consortium.members.map(({ name }) => name), ["bank-a", "bank-b", "manufacturer", "regulator"]);
    for (const key of ["pid", "data", "rpc", "p2p"]) {
      assert.equal(new Set(consortium.members.map((member) => member[key])).size, 4, key);
    }
  });

  test("agree: what one member takes in, another puts into a block, and all have the same receipt", async () => {
    const [member] = consortium.members;
    const makers = new Set();
    await until("blocks of two makers hold what one member took in", async () => {
      const { blockNumber } = await load.transfer(0, member);
      makers.add((await member.request("eth_getBlockByNumber", [blockNumber, false])).miner);
      return makers.size > 1;
    });
    await load.isOn(consortium.members);
  });

  test("tell the story of a supply chain through any of them", async () => {
    const told = await bletchley("demo", "supply-chain", "--data", consortium.data, "--member", "regulator");
    assert.equal(told.code, 0, `${told.stdout}\n${told.stderr}`);
    assert.match(told.stdout, /refused/i);
  });

  test("are not disturbed by noise, silence and strangers on their network", async () => {
    const { p2p } = consortium.named("bank-b");
    const quiet = await silence(p2p, SILENT_CONNECTIONS);
    const other = await stranger(p2p);
    load.start();
    for (const greeting of hostileGreetings()) await sendBytes(p2p, greeting);
    await load.goesOn();
    await consortium.movesOn();
    const status = await other.member.status();
    assert.ok(status.peers.every(({ connected }) => !connected), "a stranger is connected with nobody");
    for (const member of consortium.members) {
      const { reasons, ready } = await member.readiness();
      assert.ok(ready, `${member.name}: ${reasons}`);
    }
    quiet.close();
    await other.end();
    await load.stop();
    await load.isOn(consortium.members);
  });
});

/** The samples of a scrape: by name and labels, as they stand. */
async function scrape(member) {
  const { status, body } = await member.get("/metrics");
  assert.equal(status, 200, member.name);
  const lines = body.split("\n").filter((line) => line && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

describe("what four members say of themselves", { ...options, timeout: 5 * MINUTES }, () => {
  test("their metrics agree with each other and with their status", async () => {
    await load.transfer(1);
    await consortium.movesOn();
    for (const member of consortium.members) {
      const samples = await until(`${member.name} has heard the others vote`, async () => {
        const found = await scrape(member);
        const heard = consortium.members
          .filter((other) => other !== member)
          .flatMap((other) => ["messages", "message_bytes"].map((what) => found.get(`bletchley_net_${what}_total{peer="${other.name}",protocol="checkpoints",direction="in"}`)));
        return heard.every((count) => count > 0) && found;
      });
      for (const other of consortium.members.filter((one) => one !== member)) {
        assert.equal(samples.get(`bletchley_net_peer_connected{peer="${other.name}"}`), 1);
      }
      const refused = [...samples.keys()].filter((name) => name.startsWith("bletchley_net_refused_total"));
      assert.deepEqual(refused, [], `${member.name} refuses nothing of honest members`);
      const { ledgers, peers } = await member.status();
      for (const { name, height, validators, round } of ledgers) {
        const of = (metric) => samples.get(`${metric}{ledger="${name}"}`);
        assert.ok(of("bletchley_ledger_height") > 0 && of("bletchley_ledger_height") <= height, `${member.name}: height of ${name}`);
        assert.equal(of("bletchley_engine_quorum"), 1);
        assert.equal(of("bletchley_engine_running"), 1);
        assert.ok(of("bletchley_engine_round") >= 0 && round >= 0, `${member.name}: round of ${name}`);
        const [count, sum] = ["count", "sum"].map((end) => of(`bletchley_ledger_finality_seconds_${end}`));
        assert.ok(count > 0 && sum / count < 60, `${member.name}: finality of ${name}: ${sum} s over ${count} blocks`);
        assert.equal(validators.filter(({ connected }) => connected).length, 4);
        assert.ok(validators.every((validator) => validator.this || validator.height > 0), `${member.name} heard all vote on ${name}`);
      }
      assert.equal(peers.length, 3);
    }
  });

  test("prove a receipt to whoever has the genesis document", async () => {
    const [member, another] = consortium.members;
    const [hash] = [...load.receipts.keys()].slice(-1);
    const file = join(consortium.data, "receipt.json");
    const proved = await bletchley("prove", "receipt", hash, "--data", consortium.data, "--member", another.name, "--save", file);
    assert.equal(proved.code, 0, `${proved.stdout}\n${proved.stderr}`);
    const genesis = join(member.data, "genesis.json");
    const checked = await bletchley("check", file, "--genesis", genesis);
    assert.equal(checked.code, 0, `${checked.stdout}\n${checked.stderr}`);
    assert.match(checked.stdout, /of 4 validators signed/);
    const text = readFileSync(file, "utf8");
    const { certificate } = JSON.parse(text).finality;
    const [signature] = certificate.signatures.map((one) => one.signature ?? one);
    const digit = signature.at(20) === "0" ? "1" : "0";
    writeFileSync(file, text.replaceAll(signature.slice(2), `${signature.slice(2, 20)}${digit}${signature.slice(21)}`));
    const refused = await bletchley("check", file, "--genesis", genesis);
    assert.equal(refused.code, 2, `${refused.stdout}\n${refused.stderr}`);
  });
});

describe("under load", { ...options, timeout: 15 * MINUTES }, () => {
  before(() => load.start());

  test("a member that is frozen catches up", async () => {
    const frozen = consortium.named("manufacturer");
    frozen.pause();
    await load.goesOn();
    await consortium.movesOn(3);
    frozen.resume();
    await consortium.caughtUp(frozen);
    await load.goesOn();
  });

  test("a member that is killed is not noticed, and comes back", async () => {
    const killed = consortium.named("bank-b");
    await killed.kill();
    await load.goesOn();
    await consortium.movesOn();
    await killed.restart();
    await consortium.caughtUp(killed);
    await load.goesOn();
  });

  test("without two members nothing becomes final, and the others say whom they wait for", async () => {
    const [gone, alsoGone] = [consortium.named("bank-a"), consortium.named("regulator")];
    await Promise.all([gone.kill(), alsoGone.kill()]);
    for (const member of consortium.living) {
      await until(`${member.name} says whom it waits for`, async () => {
        const { ready, reasons } = await member.readiness();
        return !ready && reasons.some((reason) => /bank-a/.test(reason) && /regulator/.test(reason));
      });
    }
    const [waiting] = consortium.living;
    await until("it says so to whoever sends a transaction", async () => {
      const body = JSON.stringify({ raw: [] });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${waiting.rpc}/v1/tokens/transactions`, { method: "POST", headers, body });
      const { warning } = await answer.json();
      const named = (text) => /bank-a/.test(text) && /regulator/.test(text);
      return named(warning) && named(answer.headers.get("x-bletchley-warning"));
    });
    const stood = await Promise.all(consortium.living.map((member) => member.height()));
    const { blocks } = await consortium.commonBlock(consortium.living);
    const [waits] = consortium.living;
    const shown = await bletchley("status", "--data", consortium.data);
    assert.match(`${shown.stdout}${shown.stderr}`, /no quorum|waiting for/i);
    assert.deepEqual(await Promise.all(consortium.living.map((member) => member.height())), stood, "no block without a quorum");
    assert.equal(await waits.request("eth_getBlockByNumber", [blocks[0].number, false]).then(({ hash }) => hash), blocks[0].hash);
    await gone.restart();
    await load.goesOn();
    await consortium.movesOn(2, [...consortium.living]);
    await alsoGone.restart();
    await consortium.caughtUp(gone, alsoGone);
    await consortium.isReady();
  });

  test("all members killed at once come back with everything that had a receipt", async () => {
    await load.goesOn();
    await Promise.all(consortium.members.map((member) => member.kill()));
    const acknowledged = new Map(load.receipts);
    await Promise.all(consortium.members.map((member) => member.restart()));
    for (const [hash, receipt] of acknowledged) {
      for (const member of consortium.members) {
        const theirs = await until(`${member.name} has ${hash}`, () => member.request("eth_getTransactionReceipt", [hash]));
        assert.deepEqual(theirs, receipt);
      }
    }
    await load.goesOn();
    await consortium.movesOn();
  });
});

describe("at the end", { ...options, timeout: 10 * MINUTES }, () => {
  test("every member has the same blocks, receipts and balances", async () => {
    await load.stop();
    await consortium.caughtUp(...consortium.members);
    await load.isOn(consortium.members);
    const { hashes } = await consortium.commonBlock();
    assert.equal(hashes.length, 1);
  });

  test("every folder verifies, offline", async () => {
    await Promise.all(consortium.members.map((member) => member.stop()));
    for (const member of consortium.members) {
      const verdict = await bletchley("verify", member.data);
      assert.equal(verdict.code, 0, `${member.name}\n${verdict.stdout}\n${verdict.stderr}`);
    }
  });

  test("a folder whose configuration or genesis document is another's is refused with a plain error", async () => {
    const [first, second] = consortium.members;
    const differing = {
      "member.toml": (text) => text.replace(`member = "${first.name}"`, `member = "${second.name}"`),
      "genesis.json": (text) => text.replace(/"timeMs": ?\d+/g, (time) => `${time.slice(0, -1)}${(Number(time.at(-1)) + 1) % 10}`),
    };
    for (const [name, change] of Object.entries(differing)) {
      const file = join(first.data, name);
      const text = readFileSync(file, "utf8");
      assert.notEqual(change(text), text);
      writeFileSync(file, change(text));
      await assert.rejects(first.restart(), (error) => {
        assert.match(error.message, /error/);
        assert.doesNotMatch(error.message, /panicked|unreachable|backtrace/i);
        return true;
      });
      writeFileSync(file, text);
    }
  });
});
