/**
 * Which client a request comes from, by its address: behind proxies that are trusted the one that they saw, and of IPv6
 * the network, for a single customer has all addresses of it.
 *
 * @module
 */

import { BlockList, isIP } from "node:net";

/** Whose X-Forwarded-For is believed: so many proxies in front, or those of these networks. */
export type TrustedProxies = { hops: number } | { networks: BlockList };

/** What `API_TRUST_PROXY` may say. */
export const trustedProxiesExpected =
  "expected the number of proxies in front (0 to 9), or their addresses or networks separated by commas, such as 10.0.0.0/8";

/** `2` or `10.0.0.0/8,fd00::1`; undefined for anything else. */
export function parseTrustedProxies(text: string): TrustedProxies | undefined {
  if (/^\d$/.test(text)) return { hops: Number(text) };
  const networks = new BlockList();
  for (const part of text.split(",").map((word) => word.trim())) {
    const [address = "", prefix, ...rest] = part.split("/");
    const bits = { 4: 32, 6: 128 }[isIP(address)];
    if (bits === undefined || rest.length > 0) return undefined;
    if (prefix !== undefined && (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)) return undefined;
    networks.addSubnet(address, Number(prefix ?? bits), bits === 32 ? "ipv4" : "ipv6");
  }
  return { networks };
}

/**
 * The client's address. Each proxy appends the address that it saw to X-Forwarded-For, so the list is read from its end:
 * past so many proxies, or past those of the trusted networks. What stands before is the client's own word.
 *
 * @param peer the address at the other end of the socket
 */
export function clientAddress(peer: string, forwarded: string | null, trusted: TrustedProxies): string {
  const seen = [...(forwarded ?? "").split(",").map(plainAddress), plainAddress(peer)];
  let at = seen.length - 1;
  for (let hop = 0; at > 0; hop++) {
    const isTrusted = "hops" in trusted ? hop < trusted.hops : isIn(trusted.networks, seen[at] ?? "");
    // A proxy that hides an address ("unknown") is itself the last that is known.
    if (!isTrusted || isIP(seen[at - 1] ?? "") === 0) break;
    at--;
  }
  return seen[at] ?? peer;
}

function isIn(networks: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && networks.check(address, family === 4 ? "ipv4" : "ipv6");
}

/** Without port, brackets, zone, and the IPv6 form of an IPv4 address. */
function plainAddress(text: string): string {
  const address = text.trim().replace(/^\[(.*)\](:\d+)?$/, "$1").replace(/^([\d.]+):\d+$/, "$1").replace(
    /%.*$/,
    "",
  );
  return address.replace(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/i, "$1");
}

/** What limits are counted by: an IPv4 address, or the /64 of an IPv6 address. */
export function clientNetwork(address: string): string {
  if (isIP(address) !== 6) return address;
  const [left = "", right = ""] = address.toLowerCase().split("::");
  const head = left.split(":").filter(Boolean);
  const tail = right.split(":").filter(Boolean);
  // An IPv4 address at the end stands for two groups.
  const length = head.length + tail.length + (address.includes(".") ? 1 : 0);
  const groups = address.includes("::")
    ? [...head, ...Array(Math.max(0, 8 - length)).fill("0"), ...tail]
    : head;
  return `${groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(":")}::/64`;
}
