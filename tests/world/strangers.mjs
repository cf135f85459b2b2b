// What comes to a port that the whole network can reach: noise, silence, and members of other consortia.
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Consortium } from "./consortium.mjs";

/** Longest wait until the other side closes a connection, or does not. */
const CLOSE_MS = 2_000;

function address(endpoint) {
  const [host, port] = endpoint.split(":");
  return { host, port: Number(port) };
}

/** Opens a connection; resolves when it is open or refused, never rejects. */
function open(endpoint) {
  return new Promise((done) => {
    const socket = connect(address(endpoint));
    socket.on("error", () => done(socket));
    socket.once("connect", () => done(socket));
  });
}

/** Sends bytes, and waits until the other side closes or a while has passed. */
export async function sendBytes(endpoint, bytes) {
  const socket = await open(endpoint);
  const closed = new Promise((done) => socket.once("close", done));
  socket.resume();
  socket.write(bytes);
  await Promise.race([closed, new Promise((done) => setTimeout(done, CLOSE_MS))]);
  socket.destroy();
}

/** Messages that no handshake starts with: noise, lengths without bodies, an HTTP request. */
export function hostileGreetings() {
  const lengths = [0, 1, 0x7fff_ffff, 0xffff_ffff].map((length) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    return bytes;
  });
  const noise = [1, 31, 32, 33, 200, 5_000, 300_000].map((length) => randomBytes(length));
  return [...noise, ...lengths, Buffer.from("GET / HTTP/1.1\r\nhost: node\r\n\r\n"), Buffer.alloc(100_000, 0xff)];
}

/** Connections that say nothing; `close` ends them. */
export async function silence(endpoint, connections) {
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(endpoint)));
  return { close: () => sockets.forEach((socket) => socket.destroy()) };
}

/** A member of another consortium whose configuration says that its fellow members listen where ours do. */
export async function stranger(endpoint) {
  const other = await Consortium.found({ members: 2 });
  await Promise.all(other.members.map((member) => member.kill()));
  const [first, second] = other.members;
  const file = join(first.data, "member.toml");
  const config = readFileSync(file, "utf8").replace(/^\[endpoints\].*$/m, `[endpoints]\n${second.name} = "${endpoint}"`);
  writeFileSync(file, config);
  await first.restart();
  return { member: first, end: () => other.end() };
}
