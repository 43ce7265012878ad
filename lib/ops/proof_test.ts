import assert from "node:assert/strict";
import { canonical, createCandles, proveTape, type TextRow } from "./proof.ts";

Deno.test("proof: a candle is made of its trades in exact decimals, by the order of their ids", () => {
  const candles = createCandles("BTC-USD", 60);
  const add = (time: string, price: string, size: string, takerSide: "buy" | "sell") =>
    candles.add({ time, price, size, takerSide });
  add("2026-10-31T23:59:59.999999Z", "0.1", "3", "buy");
  add("2026-11-01T00:00:00.000000Z", "63500.10", "0.00000001", "buy");
  add("2026-11-01 00:00:59.5", "63500.2", "2", "sell");
  add("2026-11-01 00:00:59.5", "63499", "1", "buy");
  assert.deepEqual(candles.rows(), [
    {
      product_id: "BTC-USD",
      time: "2026-10-31 23:59:00.000000",
      open: "0.1",
      high: "0.1",
      low: "0.1",
      close: "0.1",
      volume: "3",
      quote_volume: "0.3",
      buy_volume: "3",
      sell_volume: "0",
      trades: "1",
      vwap: "0.1",
    },
    {
      product_id: "BTC-USD",
      time: "2026-11-01 00:00:00.000000",
      open: "63500.1",
      high: "63500.2",
      low: "63499",
      close: "63499",
      volume: "3.00000001",
      quote_volume: "190499.400635001",
      buy_volume: "1.00000001",
      sell_volume: "2",
      trades: "3",
      vwap: "63499.800000000999999996",
    },
  ]);
});

Deno.test("proof: rows in any order and with keys in any order are the same set", () => {
  assert.deepEqual(canonical([{ a: "2", b: "1" }, { b: "0", a: "1" }]), [
    '{"a":"1","b":"0"}',
    '{"a":"2","b":"1"}',
  ]);
});

Deno.test("proof: each way in which a tape can be wrong is a problem of its own", async () => {
  const trade = { time: "2026-11-01T00:00:00.000000Z", price: "2", size: "1", side: "sell" };
  const exchange = { lastTrade: () => 3, trade: () => trade };
  const prove = (trades: TextRow[], others: TextRow[] = [], known?: Map<string, number>) =>
    proveTape(
      (statement) =>
        Promise.resolve(
          statement.includes("FROM trades")
            ? trades
            : statement.includes("trade_gaps") || statement.includes("completeness")
            ? others
            : [...candlesOf(3)],
        ),
      exchange,
      ["A-USD"],
      known,
    ).then(({ problems }) => problems.filter((problem) => !problem.startsWith("candles_")));
  function candlesOf(trades: number): TextRow[] {
    const candles = createCandles("A-USD", 86400);
    for (let n = 0; n < trades; n++) candles.add({ ...trade, takerSide: "buy" });
    return candles.rows();
  }
  const row = { product_id: "A-USD", trades: "3", unique: "3", first: "1", last: "3" };
  assert.deepEqual(await prove([row]), []);
  assert.deepEqual(await prove([]), ["A-USD: no trade is stored"]);
  assert.deepEqual(await prove([{ ...row, trades: "4" }]), ["A-USD: 4 rows for 3 trades: some are double"]);
  assert.deepEqual(await prove([{ ...row, unique: "2", trades: "2" }]), [
    "A-USD: 2 trades for the ids 1 to 3: 1 lost",
  ]);
  assert.deepEqual(await prove([{ ...row, last: "2", unique: "2", trades: "2" }]), [
    "A-USD: stored to trade 2, the exchange has made 3",
  ]);
  assert.deepEqual(await prove([row, { ...row, product_id: "B-USD" }]), [
    "B-USD: stored, but not one of the products",
  ]);
  assert.equal((await prove([row], [{ product_id: "A-USD" }])).length, 2);
  const cut = { ...row, first: "2", unique: "2", trades: "2" };
  assert.deepEqual(await prove([cut]), []);
  assert.deepEqual(await prove([cut], [], new Map([["A-USD", 1]])), [
    "A-USD: stored from trade 2 on, and 1 was stored: 1 lost",
  ]);
  assert.deepEqual(await prove([row], [], new Map([["A-USD", 2], ["B-USD", 1]])), []);
});
