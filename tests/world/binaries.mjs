// Finds Foundry's native programs: inside their npm packages, or, on a system for which there are none, on PATH (foundryup).
// `node binaries.mjs anvil` prints a path.
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };

export function binary(name) {
  const file = process.platform === "win32" ? `${name}.exe` : name;
  const found = [packaged(name, file), ...onPath(file)].find((path) => path && isExecutable(path));
  if (!found) throw new Error(`there is no ${name} for this system in its npm package or on PATH; get it with foundryup`);
  return found;
}

function packaged(name, file) {
  const folder = `@foundry-rs/${name}-${process.platform}-${ARCHITECTURES[process.arch]}`;
  try {
    return join(dirname(require.resolve(`${folder}/package.json`)), "bin", file);
  } catch {
    return undefined;
  }
}

function onPath(file) {
  return (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, file));
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(binary(process.argv[2]));
