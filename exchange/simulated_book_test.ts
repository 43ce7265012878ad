import { deepEqual, equal, ok } from "node:assert/strict";
import { type Change, createBooks, type Levels } from "./simulated_book.ts";
import { levelsText } from "./simulated_frames.ts";
import { createMarket } from "./simulated_market.ts";
import { products } from "./products.ts";
import { genesis } from "./trade_times.ts";

const someTime = genesis + 150 * 86400 * 1e6;

/** A reader's book: what it has after a snapshot and some updates. */
function createReader({ bids, asks }: { bids: Levels; asks: Levels }) {
  const sides = { buy: new Map(bids), sell: new Map(asks) };
  return {
    apply({ side, price, size }: Change) {
      if (size === 0) sides[side].delete(price);
      else sides[side].set(price, size);
    },
    book: () => ({
      bids: [...sides.buy].sort(([a], [b]) => b - a),
      asks: [...sides.sell].sort(([a], [b]) => a - b),
    }),
  };
}

for (const product of products.filter(({ id }) => ["BTC-USD", "DOGE-USD", "PEPE-USD"].includes(id))) {
  Deno.test(`book: the snapshot of ${product.id} and the updates after it always make the book of the moment`, () => {
    const market = createMarket(product, "book");
    const books = createBooks(market, "book");
    let tick = market.tick(someTime);
    let near = books.near(tick);
    const reader = createReader(books.full(near));
    // Small steps, then leaps after which most of the book is another.
    for (const [i, step] of [...Array(300).fill(1), 1000, 100_000, 1, 2_000_000, 1].entries()) {
      tick += step;
      const after = books.near(tick);
      const changes = books.changes(near, after);
      const keys = changes.map(({ side, price }) => `${side} ${price}`);
      equal(new Set(keys).size, keys.length, "a level changes twice in one update");
      changes.forEach(reader.apply);
      near = after;
      if (i % 20 === 0 || i >= 300) deepEqual(reader.book(), books.full(near));
    }
  });

  Deno.test(`book: the levels of ${product.id} are sorted and not crossed, and the best ones are the touch`, () => {
    const market = createMarket(product, "order");
    const books = createBooks(market, "order");
    for (let i = 0; i < 50; i++) {
      const tick = market.tick(someTime) + i * 777;
      const { bids, asks } = books.full(books.near(tick));
      const { bid, ask } = market.touch(tick);
      deepEqual([bids[0], asks[0]], books.best(tick));
      deepEqual([bids[0]?.[0], asks[0]?.[0]], [bid, ask]);
      ok(bid < ask);
      for (const [levels, sign] of [[bids, -1], [asks, 1]] as const) {
        levels.forEach(([price, size], at) => {
          ok(price > 0 && size > 0);
          if (at > 0) ok(sign * (price - (levels[at - 1]?.[0] ?? 0)) > 0, "levels aren't sorted");
        });
      }
    }
  });
}

Deno.test("book: an update of the book is small, a snapshot of BTC-USD most of a megabyte", () => {
  const [btc] = products;
  ok(btc);
  const market = createMarket(btc, "size");
  const books = createBooks(market, "size");
  const tick = market.tick(someTime);
  let changes = 0;
  for (let i = 0; i < 200; i++) {
    changes += books.changes(books.near(tick + i), books.near(tick + i + 1)).length;
  }
  // The real feed: 8.8 changes an update.
  ok(changes / 200 > 4 && changes / 200 < 16, `${changes / 200} changes an update`);
  const { bids, asks } = books.full(books.near(tick));
  const bytes = levelsText([...bids, ...asks], 2, 8).length;
  ok(bytes > 570_000 && bytes < 1_120_000, `${bytes} bytes`);
});
