// Finds the native programs inside their npm packages, so that no script stands between a test and the program.
// `node binaries.mjs anvil` prints a path.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };

export function binary(name) {
  const folder = `@foundry-rs/${name}-${process.platform}-${ARCHITECTURES[process.arch]}`;
  const file = process.platform === "win32" ? `${name}.exe` : name;
  const path = join(dirname(require.resolve(`${folder}/package.json`)), "bin", file);
  if (!existsSync(path)) throw new Error(`there is no ${name} at ${path}`);
  return path;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(binary(process.argv[2]));
