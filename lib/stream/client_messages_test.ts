import assert from "node:assert/strict";
import { describeTopics, matches, parseRequest, type Topic, topicKey } from "./client_messages.ts";

function topicsOf(message: object): string[] {
  const parsed = parseRequest(JSON.stringify(message));
  assert.ok("request" in parsed && parsed.request.type === "subscribe", JSON.stringify(parsed));
  return parsed.request.topics.map(topicKey);
}

Deno.test("stream protocol: a subscribe names channels for all its products, or for products of their own", () => {
  assert.deepEqual(
    topicsOf({
      type: "subscribe",
      product_ids: ["BTC-USD", "ETH-USD"],
      channels: [
        "ticker",
        { name: "candles", product_ids: ["BTC-USD"] },
        { name: "book", product_ids: ["ETH-USD"], depth: 5 },
        "feed_events",
        "anomalies",
      ],
    }),
    [
      "ticker BTC-USD",
      "ticker ETH-USD",
      "candles BTC-USD 1m",
      "book ETH-USD 5",
      "feed_events ",
      "anomalies BTC-USD",
      "anomalies ETH-USD",
    ],
  );
  assert.deepEqual(topicsOf({ type: "subscribe", channels: ["anomalies"] }), ["anomalies "]);
  assert.deepEqual(
    topicsOf({ type: "subscribe", product_ids: ["A-B", "A-B"], channels: ["matches"] }),
    ["matches A-B"],
  );
});

const wrong: [what: string, text: string, message: string, reason: string | RegExp][] = [
  ["no JSON", "{", "Malformed JSON", /JSON/],
  ["no object", "null", "Unknown message type", "type: expected subscribe, unsubscribe or ping, got nothing"],
  [
    "an unknown type",
    '{"type":"buy"}',
    "Unknown message type",
    'type: expected subscribe, unsubscribe or ping, got "buy"',
  ],
  ["no channels", '{"type":"subscribe","product_ids":["A-B"]}', "Failed to subscribe", /^channels: /],
  [
    "no channel in the list",
    '{"type":"subscribe","channels":[]}',
    "Failed to subscribe",
    "channels: expected at least one channel",
  ],
  [
    "an unknown channel",
    '{"type":"subscribe","product_ids":["A-B"],"channels":["level2"]}',
    "Failed to subscribe",
    '"level2" is not a valid channel: expected one of matches, ticker, heartbeat, candles, book, anomalies, feed_events',
  ],
  [
    "no product",
    '{"type":"subscribe","channels":["ticker"]}',
    "Failed to subscribe",
    "product_ids: the channel ticker needs at least one product",
  ],
  [
    "a product that can't be one",
    '{"type":"subscribe","product_ids":["A B"],"channels":["ticker"]}',
    "Failed to subscribe",
    "product_ids.0: expected a product id such as BTC-USD",
  ],
  [
    "a wrong interval",
    '{"type":"subscribe","product_ids":["A-B"],"channels":[{"name":"candles","interval":"1y"}]}',
    "Failed to subscribe",
    'interval: expected a whole number and s, m, h, d or w, at most 1w, such as 1m; got "1y"',
  ],
  [
    "too deep a book",
    '{"type":"subscribe","product_ids":["A-B"],"channels":[{"name":"book","depth":201}]}',
    "Failed to subscribe",
    "depth: expected a whole number from 1 to 200, got 201",
  ],
  [
    "a wrong resume",
    '{"type":"subscribe","product_ids":["A-B"],"channels":["ticker"],"resume":{"stream":"x","seq":-1}}',
    "Failed to subscribe",
    /^resume\.seq: /,
  ],
  [
    "an unsubscribe from nothing",
    '{"type":"unsubscribe"}',
    "Failed to unsubscribe",
    "channels: expected at least one channel or product",
  ],
  ["a message that is too long", " ".repeat(65_537), "Message too long", /65536 characters, got 65537/],
];

for (const [what, text, message, reason] of wrong) {
  Deno.test(`stream protocol: ${what} is answered with one line that says what was expected`, () => {
    const parsed = parseRequest(text);
    assert.ok("error" in parsed);
    assert.equal(parsed.error.message, message);
    if (typeof reason === "string") assert.equal(parsed.error.reason, reason);
    else assert.match(parsed.error.reason, reason);
    assert.ok(!parsed.error.reason.includes("\n"));
  });
}

Deno.test("stream protocol: an unsubscribe means all topics that agree with what it names", () => {
  const topics: Topic[] = [
    { channel: "ticker", productId: "A-B" },
    { channel: "candles", productId: "A-B", interval: "1m" },
    { channel: "candles", productId: "A-B", interval: "5m" },
    { channel: "candles", productId: "C-D", interval: "1m" },
    { channel: "feed_events", productId: "" },
  ];
  const left = (message: object) => {
    const parsed = parseRequest(JSON.stringify({ type: "unsubscribe", ...message }));
    assert.ok("request" in parsed && parsed.request.type === "unsubscribe");
    const { filters } = parsed.request;
    return topics.filter((topic) => !filters.some((filter) => matches(filter, topic))).map(topicKey);
  };
  assert.deepEqual(left({ channels: ["candles"] }), ["ticker A-B", "feed_events "]);
  assert.deepEqual(left({ product_ids: ["A-B"] }), ["candles C-D 1m", "feed_events "]);
  assert.deepEqual(left({ channels: [{ name: "candles", product_ids: ["A-B"], interval: "5m" }] }), [
    "ticker A-B",
    "candles A-B 1m",
    "candles C-D 1m",
    "feed_events ",
  ]);
});

Deno.test("stream protocol: the acknowledgement groups what is followed by channel, interval and depth", () => {
  assert.deepEqual(
    describeTopics([
      { channel: "book", productId: "A-B", depth: 5 },
      { channel: "candles", productId: "C-D", interval: "1m" },
      { channel: "candles", productId: "A-B", interval: "1m" },
      { channel: "matches", productId: "A-B" },
      { channel: "feed_events", productId: "" },
    ]),
    [
      { name: "matches", product_ids: ["A-B"] },
      { name: "candles", interval: "1m", product_ids: ["A-B", "C-D"] },
      { name: "book", depth: 5, product_ids: ["A-B"] },
      { name: "feed_events", product_ids: [] },
    ],
  );
});
