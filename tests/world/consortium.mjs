// A consortium under test: its members' processes, signals to them, and what each of them says.
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BIN, bletchley, events } from "./command.mjs";

/** Below the ports that systems give to outgoing connections, so that none of those takes the port of a member that is down. */
const PORT_FIRST = 12_000;
const PORT_LAST = 31_000;
/** From a member's port for clients to its port for other members, as `up` has it. */
const P2P_OFFSET = 100;
const LINES_KEPT = 200;
/** Longest wait for anything: computers that run tests are busy. */
const WAIT_MS = 120_000;
const POLL_MS = 50;
/** Longest wait for one answer; a member that is stopped with SIGSTOP gives none. */
const ANSWER_MS = 10_000;

/** Waits until `condition` gives something, and gives that; what it throws counts as nothing yet. */
export async function until(what, condition, { ms = WAIT_MS } = {}) {
  const deadline = Date.now() + ms;
  let last;
  for (;;) {
    try {
      const found = await condition();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms until ${what}; last seen: ${last?.stack ?? JSON.stringify(last)}`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

/** A port base of which all ports are free: for `members` clients' interfaces and as many networks. */
export async function freePorts(members) {
  for (let tries = 0; tries < 100; tries += 1) {
    const base = PORT_FIRST + Math.floor(Math.random() * (PORT_LAST - PORT_FIRST));
    const ports = Array.from({ length: members }, (_, index) => [base + index, base + P2P_OFFSET + index]).flat();
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error("found no free ports");
}

function isFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

// Whatever happens to a suite, it leaves no process behind.
const processes = new Set();
process.on("exit", () => {
  for (const pid of processes) signal(pid, "SIGKILL");
});

function signal(pid, name) {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // A process whose first thread has ended still holds its ports until the others have.
    return !/\) [ZX] /.test(stat) || readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return signal(pid, 0);
  }
}

/** Starts the binary, keeps the end of what it says, and gives its ready line. `within` are words that a command starts with. */
export async function start(args, { within = [] } = {}) {
  const [program, ...all] = [...within, BIN, ...args];
  const child = spawn(program, all, { stdio: ["ignore", "pipe", "pipe"] });
  processes.add(child.pid);
  const said = [];
  child.ended = new Promise((done) => child.once("exit", (code, name) => done(code ?? name)));
  child.ended.then(() => processes.delete(child.pid));
  const ready = new Promise((found, failed) => {
    const hear = (line) => {
      said.push(line);
      if (said.length > LINES_KEPT) said.shift();
      if (!line.startsWith("{")) return;
      const event = JSON.parse(line);
      if (event.ready === true) found(event);
    };
    createInterface({ input: child.stdout }).on("line", hear);
    createInterface({ input: child.stderr }).on("line", (line) => said.push(line));
    child.once("error", failed);
    child.ended.then((how) => failed(new Error(`${args.join(" ")} ended (${how}):\n${said.join("\n")}`)));
  });
  ready.catch(() => {});
  return { child, said: () => said.join("\n"), ready };
}

/** Runs a command that must go well. */
async function done(...args) {
  const { code, stdout, stderr } = await bletchley(...args);
  if (code !== 0) throw new Error(`${args.join(" ")} failed (${code}):\n${stdout}\n${stderr}`);
}

/** One member: its process, its folder, its interface. */
export class Member {
  constructor({ name, pid, rpc, data, p2p, within }) {
    Object.assign(this, { name, pid, rpc, data, p2p, within });
    if (pid) processes.add(pid);
  }

  get isUp() {
    return this.pid !== undefined && isAlive(this.pid);
  }

  /** One JSON-RPC call: its whole answer, or an error when there is none in time. */
  async tryRequest(method, params = []) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const response = await fetch(this.rpc, { method: "POST", headers, body, signal: AbortSignal.timeout(ANSWER_MS) });
    return response.json();
  }

  /** One JSON-RPC call: its result. */
  async request(method, params = []) {
    const { result, error } = await this.tryRequest(method, params);
    if (error) throw new Error(`${this.name}: ${method}: ${error.message}`);
    return result;
  }

  async get(path) {
    const response = await fetch(`${this.rpc}${path}`, { signal: AbortSignal.timeout(ANSWER_MS) });
    return { status: response.status, body: await response.text() };
  }

  async status() {
    return JSON.parse((await this.get("/status")).body);
  }

  /** Height of a ledger. */
  async height(ledger = "evm") {
    return (await this.status()).ledgers.find(({ name }) => name === ledger).height;
  }

  /** Whether it would take requests, and if not, why. */
  async readiness() {
    return JSON.parse((await this.get("/readyz")).body);
  }

  pause() {
    signal(this.pid, "SIGSTOP");
    this.isPaused = true;
  }

  resume() {
    signal(this.pid, "SIGCONT");
    this.isPaused = false;
  }

  /** Ends it at once, as a power failure of its process. */
  async kill() {
    await this.end("SIGKILL");
  }

  /** Asks it to stop. */
  async stop() {
    await this.end("SIGTERM");
  }

  async end(name) {
    signal(this.pid, name);
    await until(`${this.name} has ended`, () => !this.isUp);
    processes.delete(this.pid);
  }

  /** Starts it again, as the person would who runs it: `node start`. */
  async restart(flags = []) {
    const words = ["node", "start", "--json", "--config", join(this.data, "member.toml"), ...flags];
    const { child, ready, said } = await start(words, { within: this.within });
    Object.assign(this, { said, ended: child.ended });
    const { pid, rpc } = await ready;
    Object.assign(this, { pid, rpc: rpc.replace("0.0.0.0", this.p2p.split(":")[0]) });
    processes.add(pid);
  }

  /** The log's lines. */
  log() {
    const file = readFileSync(join(this.data, "node.log"), { encoding: "utf8", flag: "a+" });
    return `${file}\n${this.said?.() ?? ""}`;
  }
}

/** Members that agree, started by `up` in a new folder. */
export class Consortium {
  static async found({ members = 4, args = [] } = {}) {
    const data = mkdtempSync(join(tmpdir(), "bletchley-consortium-"));
    const base = await freePorts(members);
    const up = ["up", "--members", `${members}`, "--port-base", `${base}`, "--data", data, "--json", ...args];
    const { child, ready } = await start(up);
    const consortium = new Consortium();
    Object.assign(consortium, { data, supervisor: child, ready: await ready });
    consortium.members = consortium.ready.members.map((member) => new Member(member));
    return consortium;
  }

  /**
   * Members that found a consortium by the ceremony, with nothing but files passed between them, and are started. Each seat has a
   * name, and where others reach it; and, where that is not here, where its folder and interface are and the words that start it.
   */
  static async gather({ seats, args = [] }) {
    const data = mkdtempSync(join(tmpdir(), "bletchley-consortium-"));
    await done("consortium", "new", "trial", "--dir", data, ...args);
    const draft = join(data, "consortium.json");
    const consortium = Object.assign(new Consortium(), { data, members: [] });
    for (const seat of seats) {
      const { member, request } = await consortium.ask(seat);
      await done("member", "admit", request, "--draft", draft);
      consortium.members.push(member);
    }
    const genesis = consortium.genesis;
    await done("genesis", "build", "--draft", draft, "--out", genesis);
    consortium.members.forEach((member) => copyFileSync(genesis, join(member.data, "genesis.json")));
    await Promise.all(consortium.members.map((member) => member.restart()));
    await consortium.isReady();
    return consortium;
  }

  /** The genesis document that was passed around. */
  get genesis() {
    return join(this.data, "genesis.json");
  }

  /** What somebody does who wants to be a member: makes keys, a request and a configuration; no vote, no node yet. */
  async ask({ name, p2p, api = "127.0.0.1:0", folder = join(this.data, name), within }) {
    const request = join(this.data, `${name}.request.json`);
    await done("member", "request", "--name", name, "--endpoint", p2p, "--data", folder, "--out", request);
    const config = join(folder, "member.toml");
    const text = readFileSync(config, "utf8").replace(/^api = .*$/m, `api = "${api}"`).replace(/^p2p = .*$/m, `p2p = "${p2p}"`);
    writeFileSync(config, text);
    return { member: new Member({ name, data: folder, p2p, within }), request };
  }

  /** Takes in a member that the others have voted in: gives it the genesis document and starts its node. */
  async welcome(member) {
    copyFileSync(this.genesis, join(member.data, "genesis.json"));
    await member.restart();
    this.members.push(member);
  }

  /** One member proposes, others vote yes until it is decided: the proposal as the last of them tells it. */
  async decide(proposal, [proposer, ...voters]) {
    const say = async (member, ...words) => {
      const { code, stdout, stderr } = await bletchley("consortium", ...words, "--data", member.data, "--json");
      if (code !== 0) throw new Error(`${member.name}: consortium ${words.join(" ")} failed (${code}):\n${stdout}\n${stderr}`);
      return events({ stdout }).at(-1);
    };
    let said = await say(proposer, "propose", ...proposal);
    for (const voter of voters) {
      if (said.status !== "open") break;
      said = await say(voter, "vote", "yes", `${said.number}`);
    }
    return said;
  }

  /** Waits until every member says that it can work. */
  async isReady() {
    for (const member of this.members) await until(`${member.name} is ready`, async () => (await member.readiness()).ready);
  }

  /** Members that run and are not stopped. */
  get living() {
    return this.members.filter((member) => member.isUp && !member.isPaused);
  }

  named(name) {
    return this.members.find((member) => member.name === name);
  }

  /** Stops every process, and removes the folder. */
  async end({ keep = false } = {}) {
    this.members.forEach((member) => member.resume());
    await Promise.all(this.living.map((member) => member.stop()));
    this.supervisor?.kill("SIGTERM");
    await this.supervisor?.ended;
    if (!keep) rmSync(this.data, { recursive: true, force: true });
  }

  /** Waits until a member stands where the others stood when this was asked. */
  async caughtUp(...members) {
    const heights = {};
    for (const ledger of ["tokens", "evm"]) {
      heights[ledger] = Math.max(...(await Promise.all(this.living.filter((m) => !members.includes(m)).map((m) => m.height(ledger)))));
    }
    for (const member of members) {
      for (const [ledger, height] of Object.entries(heights)) {
        await until(`${member.name} has block ${height} of ${ledger}`, async () => (await member.height(ledger)) >= height);
      }
    }
  }

  /** Waits until every living member has made so many more blocks of both ledgers. */
  async movesOn(blocks = 2, members = this.living) {
    await Promise.all(
      members.flatMap((member) =>
        ["tokens", "evm"].map(async (ledger) => {
          const from = await member.height(ledger);
          await until(`${member.name} has ${blocks} more blocks of ${ledger} than ${from}`, async () => (await member.height(ledger)) >= from + blocks);
        }),
      ),
    );
  }

  /** The hash that every given member has for the newest block that all of them have. */
  async commonBlock(members = this.living) {
    const heights = await Promise.all(members.map((member) => member.request("eth_blockNumber").then(Number)));
    const number = `0x${Math.min(...heights).toString(16)}`;
    const blocks = await Promise.all(members.map((member) => member.request("eth_getBlockByNumber", [number, false])));
    return { number: Number(number), hashes: [...new Set(blocks.map((block) => block.hash))], blocks };
  }
}
