// Runs every suite, or those whose names contain an argument: `node run.mjs proof trace`. Each file is a process and starts nodes of its own.
// Suites whose names start with "long-" take many minutes: they run only when they are named, `node run.mjs long`.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const suites = readdirSync(join(here, "suites"))
  .filter((name) => name.endsWith(".test.mjs"))
  .filter((name) => (wanted.length === 0 ? !isLong(name) : wanted.some((word) => name.includes(word))))
  .sort();
if (suites.length === 0) throw new Error(`no suite is called ${wanted.join(" or ")}`);

// The timeout is that of a whole suite. Those of several processes run after the others, one at a time: the computer is theirs.
const run = (names, timeoutMs, more = []) => {
  if (names.length === 0) return 0;
  const args = ["--test", "--test-reporter=spec", `--test-timeout=${timeoutMs}`, ...more, ...names.map((name) => join("suites", name))];
  return spawnSync(process.execPath, args, { cwd: here, stdio: "inherit" }).status ?? 1;
};
const [one, several] = [suites.filter((name) => !isConsortium(name)), suites.filter(isConsortium)];
process.exitCode = run(one, 120_000) || run(several, 3_600_000, ["--test-concurrency=1"]);

function isLong(name) {
  return name.startsWith("long-");
}

function isConsortium(name) {
  return isLong(name) || name.startsWith("consortium") || name.startsWith("ledgers");
}
