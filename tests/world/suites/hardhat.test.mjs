// Runs the Hardhat project beside this folder on the node, and reads how many of its tests passed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startNode } from "../node.mjs";

const PASSING = 9;
const project = join(dirname(fileURLToPath(import.meta.url)), "../hardhat");

let node;
let out;

before(async () => {
  node = await startNode();
  out = mkdtempSync(join(tmpdir(), "bletchley-hardhat-"));
});
after(async () => {
  await node?.stop();
  if (out) rmSync(out, { recursive: true, force: true });
});

test("a Hardhat project's own tests pass", async () => {
  const cli = createRequire(import.meta.url).resolve("hardhat/internal/cli/bootstrap");
  const env = {
    ...process.env,
    WORLD_RPC: node.rpc,
    WORLD_HARDHAT_OUT: out,
    HARDHAT_DISABLE_TELEMETRY_PROMPT: "true",
    NODE_TEST_CONTEXT: undefined,
  };
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, [cli, "test"], { cwd: project, env, maxBuffer: 1 << 24 }).catch((error) => {
    throw new Error(`${error.stdout}\n${error.stderr}`);
  });
  assert.match(stdout, new RegExp(`${PASSING} passing`), stdout);
  assert.doesNotMatch(stdout, /failing/);
});
