/** The order book as a ladder, with spread, mid, microprice and imbalance. @module */

/// <reference lib="dom" />

import type { Book } from "../model/api_types.ts";
import { cumulated, figuresOf } from "../model/book_figures.ts";
import { ratio } from "../model/decimal_math.ts";
import { cut, format } from "../model/decimal_text.ts";
import { boxOf, make, paintClass, write } from "./dom.ts";

interface Line {
  line: HTMLElement;
  cells: HTMLElement[];
}

const lineHeight = 19;

/** Draws into `host`, as many levels a side as there is room for. */
export function createLadder(host: HTMLElement, imbalance: HTMLElement) {
  const asks = make("div", "asks");
  const middle = make("div", "middle", make("b"), make("span"), make("span"));
  const bids = make("div", "bids");
  const cover = make("div", "cover");
  host.append(asks, middle, bids, cover);
  const lines: Record<"asks" | "bids", Line[]> = { asks: [], bids: [] };

  function room(count: number): void {
    for (const [side, box] of [["asks", asks], ["bids", bids]] as const) {
      while (lines[side].length < count) {
        const cells = [make("span"), make("span"), make("span")];
        const line = make("div", `row ${side === "bids" ? "up" : "down"}`, ...cells);
        lines[side].push({ line, cells });
        box.append(line);
      }
      while (lines[side].length > count) lines[side].pop()?.line.remove();
    }
  }

  return {
    paint(book: Book | null, digits: { price: number; size: number }): void {
      room(Math.max(3, Math.floor((boxOf(host).height - 48) / 2 / lineHeight)));
      const figures = book === null ? null : figuresOf(book);
      cover.hidden = book !== null && book.bids.length + book.asks.length > 0;
      write(
        cover,
        book === null ? "Loading the book…" : `The book isn't known${book.reason ? `: ${book.reason}` : "."}`,
      );
      const sides = { asks: cumulated(book?.asks ?? []), bids: cumulated(book?.bids ?? []) };
      const depth = lines.asks.length;
      const largest = [sides.asks, sides.bids].map((side) =>
        side.at(Math.min(depth, side.length) - 1)?.sum ?? "0"
      );
      const top = Math.max(...largest.map(Number));
      for (const side of ["asks", "bids"] as const) {
        lines[side].forEach(({ line, cells }, place) => {
          // The best ask stands at the bottom of its half.
          const level = sides[side][side === "asks" ? depth - 1 - place : place];
          write(cells[0] ?? line, level === undefined ? "" : format(level.price, digits.price));
          write(cells[1] ?? line, level === undefined ? "" : format(level.size, digits.size));
          write(cells[2] ?? line, level === undefined ? "" : cut(level.sum, Math.min(4, digits.size)));
          const width = level === undefined || top === 0 ? 0 : Number(level.sum) / top;
          line.style.setProperty("--share", width.toFixed(3));
        });
      }
      const [price, spread, micro] = [...middle.children];
      if (price !== undefined && spread !== undefined && micro !== undefined) {
        write(price, figures === null ? "–" : cut(figures.mid, digits.price + 1));
        const bps = figures?.spreadBps;
        const inBps = bps === null || bps === undefined ? "" : ` · ${bps.toFixed(bps < 10 ? 2 : 1)} bps`;
        write(spread, figures === null ? "" : `spread ${format(figures.spread, digits.price)}${inBps}`);
        write(micro, figures?.microprice ? `micro ${cut(figures.microprice, digits.price + 1)}` : "");
        middle.title = "Mid · spread · microprice (b A + a B) / (A + B)";
      }
      paintImbalance(book, figures?.imbalance ?? null);
    },
  };

  function paintImbalance(book: Book | null, value: number | null): void {
    const share = value === null ? 0.5 : (1 + value) / 2;
    const [bid, bar, ask] = [...imbalance.children];
    if (!(bar instanceof HTMLElement) || bid === undefined || ask === undefined) return;
    bar.style.setProperty("--share", share.toFixed(3));
    paintClass(bar, value === null ? "unknown" : "");
    write(bid, value === null ? "–" : `${(share * 100).toFixed(0)} %`);
    write(ask, value === null ? "–" : `${(100 - Number((share * 100).toFixed(0))).toFixed(0)} %`);
    const [bestBid, bestAsk] = [book?.bids[0]?.[1], book?.asks[0]?.[1]];
    imbalance.title = bestBid && bestAsk
      ? `Imbalance of the best level: bid ${bestBid}, ask ${bestAsk}, bid / ask ${
        ratio(bestBid, bestAsk)?.toFixed(2) ?? "–"
      }`
      : "Imbalance of the best level";
  }
}
