import assert from "node:assert/strict";
import { clientAddress, clientNetwork, parseTrustedProxies } from "./client_address.ts";

const trust = (text: string) => {
  const trusted = parseTrustedProxies(text);
  assert(trusted, text);
  return trusted;
};

Deno.test("client address: a proxy's word counts only as far as it is trusted", () => {
  const cases: [trusted: string, peer: string, forwarded: string | null, client: string][] = [
    ["0", "10.0.0.1", "1.1.1.1, 2.2.2.2", "10.0.0.1"],
    ["1", "10.0.0.1", "1.1.1.1, 2.2.2.2", "2.2.2.2"],
    ["2", "10.0.0.1", "1.1.1.1, 2.2.2.2", "1.1.1.1"],
    // Fewer entries than proxies: one of them was passed by.
    ["3", "10.0.0.1", "1.1.1.1, 2.2.2.2", "1.1.1.1"],
    ["1", "10.0.0.1", null, "10.0.0.1"],
    ["1", "10.0.0.1", "", "10.0.0.1"],
    ["2", "10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"],
    ["10.0.0.0/8", "10.0.0.1", "9.9.9.9, 1.1.1.1, 10.2.3.4", "1.1.1.1"],
    // Somebody who reaches the API directly can say what he likes.
    ["10.0.0.0/8", "3.3.3.3", "1.1.1.1", "3.3.3.3"],
    ["10.0.0.0/8,fd00::/8", "fd12::1", "1.1.1.1, 10.0.0.9", "1.1.1.1"],
    ["10.0.0.1", "10.0.0.1", "1.1.1.1, 10.0.0.2", "10.0.0.2"],
    ["10.0.0.0/8", "::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"],
    ["1", "10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"],
    ["1", "10.0.0.1", "1.1.1.1:4711", "1.1.1.1"],
  ];
  for (const [trusted, peer, forwarded, client] of cases) {
    assert.equal(clientAddress(peer, forwarded, trust(trusted)), client, `${trusted} ${peer} ${forwarded}`);
  }
});

Deno.test("client address: what can't name proxies is refused", () => {
  for (
    const text of [
      "true",
      "-1",
      "10",
      "10.0.0.0/33",
      "10.0.0",
      "fd00::/129",
      "10.0.0.0/8/8",
      "a.example",
      ",",
    ]
  ) {
    assert.equal(parseTrustedProxies(text), undefined, text);
  }
});

Deno.test("client network: of IPv6 it is the /64, however it is written", () => {
  const cases: [string, string][] = [
    ["192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:0db8:0001:0002::", "2001:db8:1:2::/64"],
    ["2001:db8::7", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["64:ff9b::1.2.3.4", "64:ff9b:0:0::/64"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4::/64"],
    ["local", "local"],
  ];
  for (const [address, network] of cases) assert.equal(clientNetwork(address), network, address);
});
