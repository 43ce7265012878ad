import { deepEqual, equal } from "node:assert/strict";
import { acknowledgement, applyMessage, type Subscriptions } from "./coinbase_protocol.ts";

const listing = { products: new Set(["BTC-USD", "ETH-USD"]), delisted: new Set(["REP-USD"]) };

function apply(...messages: unknown[]) {
  const subscriptions: Subscriptions = new Map();
  const outcomes = messages.map((message) =>
    applyMessage(subscriptions, typeof message === "string" ? message : JSON.stringify(message), listing)
  );
  return { subscriptions, outcomes, last: outcomes.at(-1) ?? fail() };
}

function fail(): never {
  throw new Error("no message");
}

const subscribe = (channels: unknown, product_ids?: unknown) => ({
  type: "subscribe",
  product_ids,
  channels,
});
const error = (reason: string, message = "Failed to subscribe") =>
  `{"type":"error","message":"${message}","reason":"${reason}"}`;

Deno.test("protocol: the acknowledgement is Coinbase's, where level2_batch is called level2_50 and account_ids is null", () => {
  const { subscriptions } = apply(subscribe(["level2_batch", "matches"], ["BTC-USD", "ETH-USD"]));
  equal(
    acknowledgement(subscriptions),
    `{"type":"subscriptions","channels":[{"name":"level2_50","product_ids":["BTC-USD","ETH-USD"],"account_ids":null},` +
      `{"name":"matches","product_ids":["BTC-USD","ETH-USD"],"account_ids":null}]}`,
  );
});

Deno.test("protocol: the acknowledgement lists all subscriptions, those of earlier messages too", () => {
  const { subscriptions, last } = apply(
    subscribe(["matches"], ["BTC-USD"]),
    subscribe([
      { name: "matches", product_ids: ["ETH-USD"] },
      { name: "ticker", product_ids: ["BTC-USD"] },
      "status",
    ]),
  );
  equal(
    acknowledgement(subscriptions),
    `{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD","ETH-USD"],"account_ids":null},` +
      `{"name":"ticker","product_ids":["BTC-USD"],"account_ids":null},{"name":"status","product_ids":[],"account_ids":null}]}`,
  );
  deepEqual(last.added, [["matches", "ETH-USD"], ["ticker", "BTC-USD"], ["status", ""]]);
});

Deno.test("protocol: subscribing twice is acknowledged twice and adds nothing", () => {
  const { last } = apply(subscribe(["ticker"], ["BTC-USD"]), subscribe(["ticker"], ["BTC-USD"]));
  deepEqual(last, { errors: [], acknowledged: true, added: [], removed: [] });
});

Deno.test("protocol: an object's own products go before the message's", () => {
  const { last } = apply(subscribe(["matches", { name: "ticker", product_ids: ["ETH-USD"] }], ["BTC-USD"]));
  deepEqual(last.added, [["matches", "BTC-USD"], ["ticker", "ETH-USD"]]);
});

const refusals: [name: string, message: unknown, errors: string[], acknowledged: boolean][] = [
  ["an unknown product alone", subscribe(["matches", "ticker"], ["XXX-USD", "BTC-USD"]), [
    error("XXX-USD is not a valid product"),
  ], true],
  [
    "a delisted product alone",
    subscribe(["matches"], ["BTC-USD", "REP-USD"]),
    [error("REP-USD is delisted")],
    true,
  ],
  ["a message of which nothing is left", subscribe(["matches"], ["XXX-USD"]), [
    error("XXX-USD is not a valid product"),
  ], false],
  ["a channel that needs a key", subscribe(["full", "matches"], ["BTC-USD"]), [
    error(
      "level2, level3, and full channels now require authentication. See https://docs.cdp.coinbase.com/exchange/docs/websocket-auth",
    ),
  ], true],
  [
    "an unknown channel",
    subscribe(["candles"], ["BTC-USD"]),
    [error("candles is not a valid channel")],
    false,
  ],
  ["a channel that is no name", subscribe([7, null], ["BTC-USD"]), [
    error("7 is not a valid channel"),
    error("null is not a valid channel"),
  ], false],
  ["no channels", { type: "subscribe", product_ids: ["BTC-USD"] }, [error("No channels provided")], false],
  ["no products", subscribe(["heartbeat"]), [
    error("You need to specify at least one product ID for channel heartbeat"),
  ], false],
  ["a product that is no name", subscribe(["matches"], [5]), [error("5 is not a valid product")], false],
  ["an unknown type", { type: "hello" }, [error("Type has to be either subscribe or unsubscribe")], false],
  ["JSON that is no object", "[]", [error("Type has to be either subscribe or unsubscribe")], false],
  ["null", "null", [error("Type has to be either subscribe or unsubscribe")], false],
  ["broken JSON", `{"type":"subscr`, [`{"type":"error","message":"Malformed JSON"}`], false],
];

for (const [name, message, errors, acknowledged] of refusals) {
  Deno.test(`protocol: ${name} is refused with the exchange's reason`, () => {
    const { last } = apply(message);
    deepEqual([last.errors, last.acknowledged], [errors, acknowledged]);
  });
}

Deno.test("protocol: unsubscribing takes away what it names; without products the whole channel", () => {
  const all = subscribe(["matches", "ticker", "status"], ["BTC-USD", "ETH-USD"]);
  const cases: [unknown, [string, string][]][] = [
    [{ type: "unsubscribe", channels: ["matches"], product_ids: ["BTC-USD"] }, [["matches", "BTC-USD"]]],
    [{ type: "unsubscribe", channels: ["matches", "status"] }, [
      ["matches", "BTC-USD"],
      ["matches", "ETH-USD"],
      ["status", ""],
    ]],
    [{ type: "unsubscribe", channels: ["heartbeat"], product_ids: ["BTC-USD"] }, []],
  ];
  for (const [message, removed] of cases) {
    const { last } = apply(all, message);
    deepEqual([last.removed, last.acknowledged], [removed, true]);
  }
  const { subscriptions, last } = apply(all, {
    type: "unsubscribe",
    channels: ["matches", "ticker", "status"],
    product_ids: ["BTC-USD", "ETH-USD"],
  });
  equal(last.errors.length, 0);
  equal(acknowledgement(subscriptions), `{"type":"subscriptions","channels":[]}`);
});

Deno.test("protocol: a failed unsubscription says so", () => {
  const { last } = apply({ type: "unsubscribe", channels: ["candles"] });
  deepEqual(last.errors, [error("candles is not a valid channel", "Failed to unsubscribe")]);
});
