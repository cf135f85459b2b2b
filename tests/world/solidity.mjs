// Contracts for tests: the project's committed artefacts, and the test contracts, compiled once with the pinned compiler.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** A contract of the project: abi and bytecode. */
export function artefact(name) {
  return JSON.parse(readFileSync(join(here, "../../contracts/artifacts", `${name}.json`), "utf8"));
}

/** A contract that exists for tests only. */
export function testContract(name) {
  const content = readFileSync(join(here, "solidity", `${name}.sol`), "utf8");
  const folder = join(here, "node_modules/.cache");
  const cached = join(folder, `${name}-${createHash("sha256").update(content).digest("hex")}.json`);
  try {
    return JSON.parse(readFileSync(cached, "utf8"));
  } catch {
    // not compiled yet
  }
  const contract = compile(name, content);
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${cached}.${process.pid}`, JSON.stringify(contract));
  renameSync(`${cached}.${process.pid}`, cached);
  return contract;
}

function compile(name, content) {
  const solc = createRequire(import.meta.url)("solc");
  const settings = {
    evmVersion: "prague",
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  };
  const input = { language: "Solidity", sources: { [`${name}.sol`]: { content } }, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const errors = (output.errors ?? []).filter((error) => error.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  const { abi, evm } = output.contracts[`${name}.sol`][name];
  return { abi, bytecode: `0x${evm.bytecode.object}`, deployedBytecode: `0x${evm.deployedBytecode.object}` };
}
