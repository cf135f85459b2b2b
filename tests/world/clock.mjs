// Wall clocks that a test sets: each member has its own, and the others do not see it.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const source = join(dirname(fileURLToPath(import.meta.url)), "clock/shift.c");

/** Clocks for processes; they need a C compiler and Linux's LD_PRELOAD. */
export class Clocks {
  constructor(count) {
    this.folder = mkdtempSync(join(tmpdir(), "bletchley-clock-"));
    this.library = join(this.folder, "shift.so");
    execFileSync("cc", ["-shared", "-fPIC", "-O2", "-o", this.library, source, "-ldl"], { stdio: ["ignore", "ignore", "pipe"] });
    this.files = Array.from({ length: count }, (_, index) => join(this.folder, `${index}`));
    this.files.forEach((file) => writeFileSync(file, Buffer.alloc(8)));
  }

  /** Why there can be no such clocks here; undefined when there can. */
  static missing() {
    if (process.platform !== "linux") return "LD_PRELOAD is Linux's";
    try {
      execFileSync("cc", ["--version"], { stdio: "ignore" });
      return undefined;
    } catch {
      return "shifting clocks takes a C compiler";
    }
  }

  /** The words that a command starts with whose clock this is. */
  within(index) {
    return ["env", `LD_PRELOAD=${this.library}`, `CLOCK_SHIFT_FILE=${this.files[index]}`];
  }

  /** From now on this clock is so many seconds off. */
  shift(index, seconds) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    // Written over, never cut: processes have it mapped.
    const file = openSync(this.files[index], "r+");
    writeSync(file, bytes, 0, 8, 0);
    closeSync(file);
  }

  clear() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
