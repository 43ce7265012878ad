import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { shift } from "./recording_loops.ts";
import { createReplay, type ReplayOptions } from "./replayed_recording.ts";
import type { Channel, Frame } from "./source.ts";

const everything = () => true;
const texts = (frames: Frame[]) => frames.map(({ text }) => text);

function trade(type: string, id: number, price: string, second: string): string {
  return `{"type":"${type}","trade_id":${id},"maker_order_id":"m","taker_order_id":"t","side":"buy","size":"0.10","price":"${price}","product_id":"BTC-USD","sequence":${
    id * 10
  },"time":"2026-07-07T22:58:${second}Z"}`;
}

/** Three seconds of a market with every type of frame; the decimals have digits that a float would lose. */
const recording = [
  `{"type":"subscriptions","channels":[]}`,
  `{"type":"snapshot","product_id":"BTC-USD","asks":[["101.00","0.20000000"],["102.00","1.00000000"]],"bids":[["100.00","0.30000000"]],"time":"2026-07-07T22:58:17.050195Z"}`,
  trade("last_match", 100, "100.0", "02.156605"),
  trade("match", 101, "100.123456789012345678", "17.164892"),
  `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100.50","0.10000000"],["sell","101.00","0.00000000"]],"time":"2026-07-07T22:58:17.078028Z"}`,
  `{"type":"heartbeat","last_trade_id":101,"product_id":"BTC-USD","sequence":1011,"time":"2026-07-07T22:58:18.000000Z"}`,
  trade("match", 102, "100.5", "18.5"),
  `{"type":"ticker","sequence":1020,"product_id":"BTC-USD","price":"100.5","time":"2026-07-07T22:58:18.500000Z","trade_id":102}`,
  `{"type":"unheard of","time":"x"}`,
  `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100.00","0.00000000"]],"time":"2026-07-07T22:58:19.000000Z"}`,
];
const played = recording.filter((line) => !line.includes("subscriptions") && !line.includes("unheard"));

async function withFile<T>(lines: string[], use: (path: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/feed.ndjson`;
    await Deno.writeTextFile(path, lines.map((line) => line + "\n").join(""));
    return await use(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const replay = (options: ReplayOptions = {}, lines = recording) =>
  withFile(lines, (path) => createReplay(path, options));

Deno.test("replay: the first loop is the recording, byte for byte and in its order", async () => {
  const source = await replay({ speed: Infinity, once: true });
  deepEqual(source.pull(everything), [], "it plays before anyone listens");
  deepEqual(source.opening("level2_batch", "BTC-USD"), []);
  source.start();
  deepEqual(texts(source.pull(everything)), played);
  deepEqual(source.pull(everything), [], "it goes on although it should play once");
});

Deno.test("replay: later loops go on with the numbers and times, and touch nothing else", async () => {
  const source = await replay({ speed: Infinity });
  source.start();
  const frames = source.pull(everything);
  const ids = frames.map(({ tradeId }) => tradeId).filter((id) => id > 0);
  ok(ids.length > 50);
  deepEqual(ids, ids.map((_, i) => 101 + i));
  equal(frames.filter(({ type }) => type === "last_match").length, 1);
  // The recording lasts 1.95 s: a loop is 2 s long. It spans 2 trades and the sequences 1000 to 1020.
  deepEqual(texts(frames.slice(played.length, 2 * played.length - 1)), [
    `{"type":"snapshot","product_id":"BTC-USD","asks":[["101.00","0.20000000"],["102.00","1.00000000"]],"bids":[["100.00","0.30000000"]],"time":"2026-07-07T22:58:19.050195Z"}`,
    trade("match", 103, "100.123456789012345678", "19.164892").replace(`"sequence":1030`, `"sequence":1031`),
    `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100.50","0.10000000"],["sell","101.00","0.00000000"]],"time":"2026-07-07T22:58:19.078028Z"}`,
    `{"type":"heartbeat","last_trade_id":103,"product_id":"BTC-USD","sequence":1032,"time":"2026-07-07T22:58:20.000000Z"}`,
    trade("match", 104, "100.5", "20.500000").replace(`"sequence":1040`, `"sequence":1041`),
    `{"type":"ticker","sequence":1041,"product_id":"BTC-USD","price":"100.5","time":"2026-07-07T22:58:20.500000Z","trade_id":104}`,
    `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","100.00","0.00000000"]],"time":"2026-07-07T22:58:21.000000Z"}`,
  ]);
});

Deno.test("replay: REST's trades are the feed's, loop after loop", async () => {
  const source = await replay({ speed: Infinity });
  equal(source.lastTrade("BTC-USD"), 100);
  source.start();
  const matches = source.pull((channel) => channel === "matches").filter(({ type }) => type === "match");
  equal(source.firstTrade("BTC-USD"), 101);
  equal(source.lastTrade("BTC-USD"), matches.at(-1)?.tradeId);
  for (const { tradeId, text } of matches) {
    const { trade_id, side, size, price, time } = JSON.parse(text);
    // A time with fewer digits than six is written with six from the second loop on.
    deepEqual(source.trade("BTC-USD", tradeId), { trade_id, side, size, price, time });
  }
});

Deno.test("replay: time passes as fast as asked for", async () => {
  let now = 5000;
  const source = await replay({ speed: 10, clock: () => now });
  source.start();
  // Snapshot and last_match are due at once; 114 ms later the first trade, and with it the older update after it.
  deepEqual(source.pull(everything).map(({ type }) => type), ["snapshot", "last_match"]);
  now += 11;
  deepEqual(source.pull(everything), []);
  now += 1;
  deepEqual(source.pull(everything).map(({ type }) => type), ["match", "l2update"]);
  now += 83;
  deepEqual(source.pull(everything).map(({ type }) => type), ["heartbeat"]);
  now += 200;
  ok(source.pull(everything).some(({ text }) => text.includes(`"trade_id":103`)));
});

Deno.test("replay: a client that comes later gets the book and the last trade of that moment", async () => {
  let now = 0;
  const source = await replay({ clock: () => now });
  const opening = (channel: Channel) => texts(source.opening(channel, "BTC-USD"));
  source.start();
  now = 200;
  source.pull(() => false);
  deepEqual(opening("level2_batch"), [
    `{"type":"snapshot","product_id":"BTC-USD","asks":[["102.00","1.00000000"]],"bids":[["100.50","0.10000000"],["100.00","0.30000000"]],"time":"2026-07-07T22:58:17.164892Z"}`,
  ]);
  deepEqual(opening("matches"), [trade("last_match", 101, "100.123456789012345678", "17.164892")]);
  deepEqual(opening("ticker"), []);
  now = 2001;
  source.pull(everything);
  // In the second loop, before its first trade: the last trade is that of the first.
  deepEqual(opening("matches"), [trade("last_match", 102, "100.5", "18.5")]);
  equal(opening("ticker").length, 1);
  now = 2200;
  source.pull(everything);
  deepEqual(opening("matches").map((text) => JSON.parse(text).trade_id), [103]);
});

Deno.test("replay: a product that the exchange doesn't know is described by its digits", async () => {
  const lines = recording.map((line) => line.replaceAll("BTC-USD", "NEW-EUR"));
  const [row] = (await replay({}, lines)).products;
  deepEqual(
    [row?.id, row?.base_currency, row?.quote_currency, row?.base_increment],
    ["NEW-EUR", "NEW", "EUR", "0.01"],
  );
});

Deno.test("shift(): changes numbers and times only", () => {
  equal(
    shift(
      `{"trade_id":9,"price":"0.10","sequence":5,"size":"1e0","last_trade_id":9,"time":"2026-12-31T23:59:59.9Z"}`,
      {
        trades: 91,
        sequences: 6,
        micros: 100_001,
      },
    ),
    `{"trade_id":100,"price":"0.10","sequence":11,"size":"1e0","last_trade_id":100,"time":"2027-01-01T00:00:00.000001Z"}`,
  );
});

const heartbeat = recording[5] ?? "";
const broken: [name: string, lines: string[], message: RegExp][] = [
  ["without any frame", [], /feed\.ndjson is empty: expected a frame/],
  ["with a broken line", [heartbeat, `{"type":"mat`], /feed\.ndjson:2: not JSON: \{"type":"mat$/],
  [
    "with a gap in the trades",
    [trade("match", 7, "1", "17.0"), trade("match", 9, "1", "17.5")],
    /feed\.ndjson:2: BTC-USD trade 9 where 8 was expected/,
  ],
  ["with a match without a price", [
    `{"type":"match","trade_id":1,"product_id":"A-B","side":"buy","size":"1"}`,
  ], /feed\.ndjson:1: expected "price" to be a string: undefined/],
  ["with a wrong time", [heartbeat.replace("2026-07-07T", "today ")], /feed\.ndjson:1: Not a UTC time/],
  ["without any time", [`{"type":"subscriptions","channels":[]}`], /has no frame with a time/],
];
for (const [name, lines, message] of broken) {
  Deno.test(`replay: a recording ${name} is refused with file and line`, async () => {
    await rejects(replay({}, lines), { name: "RecordingError", message });
  });
}

Deno.test("replay: a speed of zero is refused", async () => {
  await rejects(replay({ speed: 0 }), /speed must be a positive number or Infinity: 0/);
});
