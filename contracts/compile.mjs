// Compiles every contract under src/ with the pinned solc and writes one artefact each to artifacts/, which are committed so that
// nothing else needs node. `node compile.mjs --check` writes nothing and fails where an artefact differs from a fresh compile.
// `cargo xtask contracts` runs this.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const root = dirname(fileURLToPath(import.meta.url));
const artifactsDir = join(root, "artifacts");

const SETTINGS = {
  evmVersion: "prague",
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: {
    "*": {
      "*": [
        "abi",
        "devdoc",
        "userdoc",
        "storageLayout",
        "evm.bytecode.object",
        "evm.deployedBytecode.object",
        "evm.methodIdentifiers",
      ],
    },
  },
};

function sourcesUnder(dir) {
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) return sourcesUnder(path);
      return entry.name.endsWith(".sol") ? [path] : [];
    })
    .sort();
}

function compile() {
  const sources = {};
  for (const path of sourcesUnder(join(root, "src"))) {
    sources[relative(root, path).replaceAll("\\", "/")] = { content: readFileSync(path, "utf8") };
  }
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings: SETTINGS })));
  const messages = (output.errors ?? []).map((message) => message.formattedMessage);
  if (messages.length > 0) throw new Error(`solc is not content:\n${messages.join("\n")}`);
  return output;
}

// Slots by name, without the compiler's internal numbering of types, which changes with unrelated edits.
function slotsOf(layout) {
  return (layout?.storage ?? []).map((entry) => ({
    name: entry.label,
    slot: entry.slot,
    offsetBytes: entry.offset,
    type: layout.types[entry.type].label,
  }));
}

function artefacts(output) {
  const files = new Map();
  for (const [sourceName, contracts] of Object.entries(output.contracts)) {
    for (const [contractName, contract] of Object.entries(contracts)) {
      const file = `${contractName}.json`;
      if (files.has(file)) throw new Error(`two contracts are called ${contractName}`);
      const artefact = {
        contractName,
        sourceName,
        compiler: `solc ${solc.version()}`,
        abi: contract.abi,
        bytecode: `0x${contract.evm.bytecode.object}`,
        deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
        methodIdentifiers: contract.evm.methodIdentifiers,
        storage: slotsOf(contract.storageLayout),
        userdoc: contract.userdoc,
        devdoc: contract.devdoc,
      };
      files.set(file, JSON.stringify(artefact, null, 2) + "\n");
    }
  }
  return files;
}

function present() {
  try {
    return readdirSync(artifactsDir).filter((name) => name.endsWith(".json"));
  } catch {
    return [];
  }
}

function check(files) {
  const wrong = present().filter((name) => !files.has(name)).map((name) => `${name}: no contract has this name`);
  for (const [name, text] of files) {
    let committed = "";
    try {
      committed = readFileSync(join(artifactsDir, name), "utf8");
    } catch {
      // missing counts as different
    }
    if (committed !== text) wrong.push(`${name}: differs from a fresh compile`);
  }
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) console.error("Run `cargo xtask contracts` and commit artifacts/.");
  console.log(`${files.size} contracts checked, ${wrong.length} differ`);
  process.exitCode = wrong.length > 0 ? 1 : 0;
}

function write(files) {
  mkdirSync(artifactsDir, { recursive: true });
  for (const name of present()) if (!files.has(name)) rmSync(join(artifactsDir, name));
  for (const [name, text] of files) writeFileSync(join(artifactsDir, name), text);
  console.log(`${files.size} contracts compiled with ${solc.version()}`);
}

const files = artefacts(compile());
if (process.argv.includes("--check")) check(files);
else write(files);
