// Runs the project's own binary as a person would.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./node.mjs";

export const BIN = process.env.BLETCHLEY_BIN ?? join(ROOT, "target/debug/bletchley");
const OUTPUT_BYTES_MAX = 1 << 26;

/** Runs `bletchley ...`; gives its exit code and everything it printed. */
export function bletchley(...args) {
  return new Promise((done) => {
    execFile(BIN, args, { maxBuffer: OUTPUT_BYTES_MAX }, (error, stdout, stderr) => {
      done({ code: error ? (error.code ?? 1) : 0, stdout, stderr });
    });
  });
}

/** The lines of JSON that a command printed. */
export function events({ stdout }) {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}
