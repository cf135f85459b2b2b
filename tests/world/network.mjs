// Members on hosts of their own, as far as the network goes: each in a network namespace with an address, on switches that can be
// pulled apart. It takes root, Linux and `ip`.
import { execFileSync } from "node:child_process";

const PREFIX = "blw";
const SUBNET = "10.177.0";

function ip(...words) {
  execFileSync("ip", words, { stdio: ["ignore", "ignore", "pipe"] });
}

/** Why there can be no such network here; undefined when there can. */
export function missing() {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "making network namespaces takes root";
  try {
    ip("netns", "add", `${PREFIX}-try`);
    ip("netns", "del", `${PREFIX}-try`);
    return undefined;
  } catch (error) {
    return `no network namespaces here: ${error.message.trim()}`;
  }
}

/** Hosts on one switch, and a second switch to move some of them to. */
export class Network {
  constructor(hosts) {
    this.hosts = Array.from({ length: hosts }, (_, index) => ({
      space: `${PREFIX}-${index}`,
      address: `${SUBNET}.${index + 1}`,
      within: ["ip", "netns", "exec", `${PREFIX}-${index}`],
      wire: `${PREFIX}w${index}`,
      desk: `${PREFIX}d${index}`,
      api: `10.178.${index}.2`,
    }));
    this.clear();
    for (const name of ["a", "b"]) {
      ip("link", "add", PREFIX + name, "type", "bridge");
      ip("link", "set", PREFIX + name, "up");
    }
    this.hosts.forEach((host, index) => this.connect(host, index));
  }

  /** A host: one wire to the switch, for members, and one to the test, for clients. */
  connect({ space, address, wire, desk, api }, index) {
    ip("netns", "add", space);
    ip("-n", space, "link", "set", "lo", "up");
    for (const [near, far] of [[wire, "members"], [desk, "clients"]]) {
      ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space);
      ip("link", "set", near, "up");
    }
    ip("-n", space, "address", "add", `${address}/24`, "dev", "members");
    ip("-n", space, "link", "set", "members", "up");
    ip("link", "set", wire, "master", `${PREFIX}a`);
    ip("address", "add", `10.178.${index}.1/24`, "dev", desk);
    ip("-n", space, "address", "add", `${api}/24`, "dev", "clients");
    ip("-n", space, "link", "set", "clients", "up");
  }

  /** Everything that the hosts at these indices say to the others is lost, and the other way round. Nobody is told. */
  separate(...indices) {
    for (const index of indices) ip("link", "set", this.hosts[index].wire, "master", `${PREFIX}b`);
  }

  /** All on one switch again. */
  heal() {
    for (const { wire } of this.hosts) ip("link", "set", wire, "master", `${PREFIX}a`);
  }

  /** Takes everything down; what is not there is passed over. */
  clear() {
    const quietly = (...words) => {
      try {
        ip(...words);
      } catch {
        // it was not there
      }
    };
    for (const { space, wire, desk } of this.hosts) {
      quietly("link", "del", wire);
      quietly("link", "del", desk);
      quietly("netns", "del", space);
    }
    for (const name of ["a", "b"]) quietly("link", "del", PREFIX + name);
  }
}
