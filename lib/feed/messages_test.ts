import assert from "node:assert/strict";
import { parseMessage } from "./messages.ts";

const parse = (frame: unknown) =>
  parseMessage(new TextEncoder().encode(typeof frame === "string" ? frame : JSON.stringify(frame)));

const match = {
  type: "match",
  trade_id: 1052119289,
  maker_order_id: "15bc13f2-e38c-4693-8c0b-e8c6152b9c1d",
  taker_order_id: "13d7d08f-7396-421b-9dba-94eac92f3d78",
  side: "sell",
  size: "0.2",
  price: "63514.6",
  product_id: "BTC-USD",
  sequence: 132235026010,
  time: "2026-07-07T22:58:17.164892Z",
};

Deno.test("messages: a match keeps its decimals as strings and its unknown fields out", () => {
  const { message } = parse({ ...match, new_field: { nested: true } });
  assert.deepEqual(message, match);
});

Deno.test("messages: what can't be a trade is refused with the field, what was expected and what came", () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ size: "0.-10000" }, 'size: expected a decimal such as "0.01", got "0.-10000"'],
    [{ size: "1e-8" }, 'size: expected a decimal such as "0.01", got "1e-8"'],
    [{ size: "-1" }, 'size: expected a decimal such as "0.01", got "-1"'],
    [{ size: "0.00" }, 'size: expected a decimal above 0, got "0.00"'],
    [{ price: 63514.6 }, "price: invalid input: expected string, received number, got 63514.6"],
    [
      { price: "123456789012345678901" },
      'price: expected a decimal such as "0.01", got "123456789012345678901"',
    ],
    [
      { price: "0.1234567890123456789" },
      'price: expected a decimal such as "0.01", got "0.1234567890123456789"',
    ],
    [
      { time: "0001-01-01T00:00:00.000000Z" },
      'time: expected a time from 1970 to 2105, got "0001-01-01T00:00:00.000000Z"',
    ],
    [
      { time: "2026-02-30T00:00:00Z" },
      'time: expected a UTC time such as 2026-07-07T22:58:17.123456Z, got "2026-02-30T00:00:00Z"',
    ],
    [{ trade_id: 1.5 }, "trade_id: invalid input: expected int, received number, got 1.5"],
    [{ trade_id: "7" }, 'trade_id: invalid input: expected number, received string, got "7"'],
    [{ product_id: "" }, 'product_id: expected a product id such as BTC-USD, got ""'],
    [
      { product_id: undefined },
      "product_id: invalid input: expected string, received undefined, got nothing",
    ],
    [{ side: "up" }, 'side: invalid option: expected one of "buy"|"sell", got "up"'],
  ];
  for (const [change, reason] of cases) assert.equal(parse({ ...match, ...change }).reason, reason);
});

Deno.test("messages: times with no, three, six or nine fraction digits are times", () => {
  for (const fraction of ["", ".123", ".123456", ".123456789"]) {
    assert.ok(parse({ ...match, time: `2026-07-07T22:58:17${fraction}Z` }).message, fraction);
  }
});

Deno.test("messages: the first ticker of a dead product has no time, or year 1, and is a ticker", () => {
  const ticker = { type: "ticker", product_id: "XYZ-USD", sequence: 1, price: "0.1" };
  for (const time of [undefined, "0001-01-01T00:00:00.000000Z"]) {
    const { message } = parse({ ...ticker, time });
    assert.equal(message?.type, "ticker");
    assert.equal(message.time, undefined);
  }
});

Deno.test("messages: half of a surrogate pair is refused, a whole one and an escaped backslash are text", () => {
  const withId = (id: string) => parse(JSON.stringify(match).replace(match.maker_order_id, id));
  for (const half of ["\\ud800", "\\uDC00", "x\\udc00\\ud800"]) {
    assert.equal(withId(half).reason, "not Unicode: half of a surrogate pair", half);
  }
  for (const whole of ["\\ud83d\\ude00", "😀", "\\\\ud800"]) assert.ok(withId(whole).message, whole);
});

Deno.test("messages: what isn't a message is refused with a reason, never thrown", () => {
  assert.match(parse('{"type":"match","trade_id":1').reason ?? "", /^not JSON: /);
  assert.match(parse("").reason ?? "", /^not JSON: /);
  assert.match(parse("\0\0").reason ?? "", /^not JSON: /);
  assert.equal(parseMessage(new Uint8Array([0xff, 0xfe])).reason, "not UTF-8");
  assert.equal(parse({ type: "tick" }).reason, 'type: unknown message type "tick"');
  assert.equal(parse({ type: 5 }).reason, "type: unknown message type 5");
  assert.equal(parse({}).reason, "type: unknown message type nothing");
  for (const json of ["null", "[]", "7", '"match"']) assert.ok(parse(json).reason, json);
  assert.equal(parse('{"__proto__":{"type":"match"}}').reason, "type: unknown message type nothing");
});

Deno.test("messages: acknowledgements and those of the full channel are known, though they have no table", () => {
  for (const type of ["subscriptions", "error", "received", "open", "done", "change", "activate"]) {
    assert.equal(parse({ type, any: 1 }).message?.type, type);
  }
});
