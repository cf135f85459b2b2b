// Deploys contracts over plain JSON-RPC, for suites that want nothing between them and the node.
import { AbiCoder, Interface, concat } from "ethers";

/** Sends a transaction from an account that the node has the key of, and waits for its receipt. */
export async function send(node, tx) {
  const hash = await node.request("eth_sendTransaction", [tx]);
  return receiptOf(node, hash);
}

/** The receipt of a transaction, once it is in a block. */
export async function receiptOf(node, hash) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const receipt = await node.request("eth_getTransactionReceipt", [hash]);
    if (receipt) return receipt;
    if (Date.now() > deadline) throw new Error(`no receipt for ${hash}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Deploys a contract and gives its address, its interface, and short ways to call it. */
export async function deploy(node, contract, { from, args = [], value, gas = 5_000_000 }) {
  const abi = new Interface(contract.abi);
  const encoded = AbiCoder.defaultAbiCoder().encode(abi.deploy.inputs, args);
  const tx = { from, data: concat([contract.bytecode, encoded]), gas: hex(gas) };
  if (value !== undefined) tx.value = hex(value);
  const receipt = await send(node, tx);
  if (receipt.status !== "0x1") throw new Error("deploying failed");
  const address = receipt.contractAddress;
  return {
    address,
    abi,
    receipt,
    encode: (method, ...params) => abi.encodeFunctionData(method, params),
    send: (method, params, extra = {}) =>
      send(node, { from, to: address, data: abi.encodeFunctionData(method, params), gas: hex(3_000_000), ...extra }),
    call: async (method, params, block = "latest") => {
      const data = abi.encodeFunctionData(method, params);
      const output = await node.request("eth_call", [{ from, to: address, data }, block]);
      return abi.decodeFunctionResult(method, output);
    },
  };
}

/** A quantity as JSON-RPC writes it. */
export function hex(number) {
  return `0x${BigInt(number).toString(16)}`;
}
