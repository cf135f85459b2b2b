// A Hardhat project like any other, on the node that WORLD_RPC names. The compiler is the one that npm installed: Hardhat would
// otherwise fetch one.
const { subtask } = require("hardhat/config");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");
const { join } = require("node:path");
require("@nomicfoundation/hardhat-ethers");

const VERSION = "0.8.37";
const output = process.env.WORLD_HARDHAT_OUT ?? __dirname;

subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async () => ({
  compilerPath: require.resolve("solc/soljson.js"),
  isSolcJs: true,
  version: VERSION,
  longVersion: require("solc").version(),
}));

module.exports = {
  solidity: { version: VERSION, settings: { evmVersion: "prague", optimizer: { enabled: true, runs: 200 } } },
  defaultNetwork: "world",
  networks: { world: { url: process.env.WORLD_RPC ?? "http://127.0.0.1:8545" } },
  paths: { sources: "./contracts", tests: "./test", cache: join(output, "cache"), artifacts: join(output, "artifacts") },
  mocha: { timeout: 60_000 },
};
