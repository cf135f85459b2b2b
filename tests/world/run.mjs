// Runs every suite, or those whose names contain an argument: `node run.mjs proof trace`. Each file is a process and starts nodes of its own.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const suites = readdirSync(join(here, "suites"))
  .filter((name) => name.endsWith(".test.mjs"))
  .filter((name) => wanted.length === 0 || wanted.some((word) => name.includes(word)))
  .sort()
  .map((name) => join("suites", name));
if (suites.length === 0) throw new Error(`no suite is called ${wanted.join(" or ")}`);
const args = ["--test", "--test-reporter=spec", "--test-timeout=120000", ...suites];
process.exitCode = spawnSync(process.execPath, args, { cwd: here, stdio: "inherit" }).status ?? 1;
