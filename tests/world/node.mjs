// Starts a node for a test and stops it by its process id. WORLD_NODE=anvil puts anvil in its place: a suite that fails there is
// wrong about the world.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { binary } from "./binaries.mjs";

export const CHAIN_ID = 31337;
export const MNEMONIC = "test test test test test test test test test test test junk";
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const LINES_KEPT = 200;

/** Which node the suites drive: "bletchley" or "anvil". */
export const KIND = process.env.WORLD_NODE ?? "bletchley";
export const isAnvil = KIND === "anvil";

/** Starts the node under test with the standard development accounts. */
export async function startNode({ args = [], data } = {}) {
  return isAnvil ? startAnvil(args) : startBletchley(args, data);
}

/** Starts anvil, as the peer to compare with. */
export async function startAnvil(args = []) {
  const child = spawnQuietly(binary("anvil"), ["--port", "0", "--chain-id", `${CHAIN_ID}`, "--accounts", "20", "--hardfork", "osaka", ...args]);
  const line = await lineMatching(child, /Listening on (\S+)/);
  const address = line[1];
  return handle(child, { kind: "anvil", rpc: `http://${address}`, ws: `ws://${address}`, chainId: CHAIN_ID });
}

async function startBletchley(args, data) {
  const bin = process.env.BLETCHLEY_BIN ?? join(ROOT, "target/debug/bletchley");
  if (!existsSync(bin)) throw new Error(`there is no node at ${bin}; build it, or set BLETCHLEY_BIN`);
  const folder = data ?? mkdtempSync(join(tmpdir(), "bletchley-world-"));
  const child = spawnQuietly(bin, ["up", "--dev", "--json", "--port-base", "0", "--data", folder, ...args]);
  const [line] = await lineMatching(child, /^\{.*"ready"\s*:\s*true.*\}$/);
  const ready = JSON.parse(line);
  const node = handle(child, { kind: "bletchley", ...ready, data: folder });
  return data ? node : removingItsData(node, folder);
}

function removingItsData(node, folder) {
  const { stop } = node;
  node.stop = async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return node;
}

// A suite that is cut short must not leave a node behind.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const [signal, number] of [["SIGTERM", 15], ["SIGINT", 2], ["SIGHUP", 1]]) process.once(signal, () => process.exit(128 + number));

function spawnQuietly(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  child.said = [];
  const keep = (line) => {
    child.said.push(line);
    if (child.said.length > LINES_KEPT) child.said.shift();
    child.emit("line", line);
  };
  createInterface({ input: child.stdout }).on("line", keep);
  createInterface({ input: child.stderr }).on("line", keep);
  child.ended = new Promise((done) => child.once("exit", (code, signal) => done({ code, signal })));
  return child;
}

function lineMatching(child, pattern) {
  return new Promise((found, failed) => {
    child.on("line", (line) => {
      const match = pattern.exec(line);
      if (match) found(match);
    });
    child.once("error", failed);
    child.ended.then(({ code, signal }) => {
      failed(new Error(`the node ended (${code ?? signal}) before it was ready:\n${child.said.join("\n")}`));
    });
  });
}

function handle(child, node) {
  const end = async (signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return child.ended;
  };
  return {
    ...node,
    pid: child.pid,
    request: (method, params) => request(node.rpc, method, params),
    tryRequest: (method, params) => tryRequest(node.rpc, method, params),
    said: () => child.said.join("\n"),
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}

let nextId = 1;

/** Posts a body as it is and gives status and parsed answer. */
export async function post(url, body, headers = { "content-type": "application/json" }) {
  const response = await fetch(url, { method: "POST", headers, body });
  const text = await response.text();
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, text, json };
}

/** One JSON-RPC call: its whole answer, `result` or `error`. */
export async function tryRequest(url, method, params = []) {
  const { json, text, status } = await post(url, JSON.stringify({ jsonrpc: "2.0", id: nextId++, method, params }));
  if (!json) throw new Error(`${method}: the answer (${status}) is not JSON: ${text.slice(0, 200)}`);
  return json;
}

/** One JSON-RPC call: its result; an error is thrown with its code and data. */
export async function request(url, method, params = []) {
  const answer = await tryRequest(url, method, params);
  if (answer.error) {
    throw Object.assign(new Error(`${method}: ${answer.error.message}`), {
      code: answer.error.code,
      data: answer.error.data,
    });
  }
  return answer.result;
}
