/** The depth chart: sizes summed up from the best price outwards. @module */

/// <reference lib="dom" />

import type { Book } from "../model/api_types.ts";
import { cumulated, figuresOf } from "../model/book_figures.ts";
import { cut, format, short } from "../model/decimal_text.ts";
import { canvasOf, colour, faded, write } from "./dom.ts";

interface Step {
  price: number;
  sum: number;
  text: { price: string; sum: string };
}

/** A book on the canvas, in CSS pixels: the mid is in the middle, the sums stand on the floor. */
interface Plot {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  floor: number;
  steps: { bids: Step[]; asks: Step[] };
  mid: number;
  /** How far from the mid the prices go. */
  reach: number;
  /** The largest sum. */
  top: number;
  x: (price: number) => number;
  y: (sum: number) => number;
}

/** Draws into a canvas; `sub` says what is under the pointer. */
export function createDepth(canvas: HTMLCanvasElement, cover: HTMLElement, sub: HTMLElement) {
  let pointer: number | null = null;
  let again = () => {};
  canvas.addEventListener("pointermove", (event) => {
    pointer = event.offsetX;
    again();
  });
  canvas.addEventListener("pointerleave", () => {
    pointer = null;
    again();
  });

  function paint(book: Book | null, digits: number): void {
    again = () => paint(book, digits);
    const figures = book === null ? null : figuresOf(book);
    cover.hidden = figures !== null;
    write(cover, coverText(book));
    const plot = plotOf(canvas, book, figures === null ? null : Number(figures.mid));
    if (plot === null || figures === null) return write(sub, "");
    const { context, steps, width, floor } = plot;
    context.font = "10px system-ui, sans-serif";
    drawGrid(plot);
    drawSide(plot, steps.bids, 0, colour("up"));
    drawSide(plot, steps.asks, width, colour("down"));
    drawPrices(plot, figures.mid, digits);
    context.strokeStyle = colour("line");
    line(context, Math.round(width / 2) + 0.5, 0, Math.round(width / 2) + 0.5, floor);
    write(sub, pointer === null ? "" : drawPointer(plot, pointer, digits));
  }

  return { paint };
}

/** What stands in place of a book that isn't known. */
function coverText(book: Book | null): string {
  if (book === null) return "Loading the book…";
  return book.reason ? `Not known: ${book.reason}` : "The book isn't known.";
}

/** Null without a box to draw into, or when a side of the book is empty. */
function plotOf(canvas: HTMLCanvasElement, book: Book | null, mid: number | null): Plot | null {
  const steps = { bids: stepsOf(book?.bids ?? []), asks: stepsOf(book?.asks ?? []) };
  const drawn = canvasOf(canvas);
  const [farBid, farAsk] = [steps.bids.at(-1), steps.asks.at(-1)];
  if (drawn === null || mid === null || farBid === undefined || farAsk === undefined) return null;
  const { width, height } = drawn;
  const reach = Math.min(mid - farBid.price, farAsk.price - mid) || 1;
  const floor = height - 18;
  const shown = [...steps.bids, ...steps.asks].filter(({ price }) => Math.abs(price - mid) <= reach);
  const top = Math.max(...shown.map(({ sum }) => sum)) || 1;
  return {
    ...drawn,
    floor,
    steps,
    mid,
    reach,
    top,
    x: (price) => (price - mid + reach) / (2 * reach) * width,
    y: (sum) => floor - sum / top * (floor - 14),
  };
}

const priceLabels = [[0.02, "left"], [0.25, "center"], [0.5, "center"], [0.75, "center"], [
  0.98,
  "right",
]] as const;

/** The prices below the floor, as many as there is room for. */
function drawPrices({ context, width, height, mid, reach }: Plot, exactMid: string, digits: number): void {
  context.fillStyle = colour("dim");
  const wide = context.measureText(format(exactMid, digits)).width * 7 < width;
  for (const [share, align] of priceLabels) {
    if (!wide && align === "center" && share !== 0.5) continue;
    context.textAlign = align;
    const price = (mid + (share * 2 - 1) * reach).toFixed(digits);
    context.fillText(format(price, digits), share * width, height - 5);
  }
}

/** Marks the step under the pointer. @returns what is said of it */
function drawPointer(plot: Plot, pointer: number, digits: number): string {
  const { context, steps, mid, reach, width, floor, x, y } = plot;
  const price = mid + (pointer / width * 2 - 1) * reach;
  const side = price < mid ? steps.bids : steps.asks;
  const step = side.findLast((each) => price < mid ? each.price >= price : each.price <= price) ?? side[0];
  if (step === undefined) return "";
  context.strokeStyle = colour("dim");
  context.setLineDash([3, 3]);
  line(context, pointer, 0, pointer, floor);
  context.setLineDash([]);
  context.fillStyle = colour(price < mid ? "up" : "down");
  context.beginPath();
  context.arc(x(step.price), y(step.sum), 3, 0, 7);
  context.fill();
  const where = price < mid ? "bids down to" : "asks up to";
  return `${where} ${format(step.text.price, digits)}: ${cut(step.text.sum, 4)}`;
}

function stepsOf(levels: Book["bids"]): Step[] {
  return cumulated(levels).map(({ price, sum }) => ({
    price: Number(price),
    sum: Number(sum),
    text: { price, sum },
  }));
}

function drawGrid({ context, width, floor, top, y }: Plot): void {
  context.strokeStyle = colour("grid");
  context.fillStyle = colour("dim");
  context.textAlign = "right";
  for (const share of [1 / 3, 2 / 3, 1]) {
    const height = Math.round(y(top * share)) + 0.5;
    line(context, 0, height, width, height);
    context.fillText(short((top * share).toFixed(4)), width - 4, height - 3);
  }
  line(context, 0, floor + 0.5, width, floor + 0.5);
}

function drawSide({ context, floor, x, y }: Plot, steps: readonly Step[], edge: number, rgb: string): void {
  const [first] = steps;
  if (first === undefined) return;
  const path = new Path2D();
  path.moveTo(x(first.price), floor);
  let height = floor;
  for (const { price, sum } of steps) {
    path.lineTo(x(price), height);
    height = y(sum);
    path.lineTo(x(price), height);
  }
  path.lineTo(edge, height);
  context.strokeStyle = rgb;
  context.lineWidth = 1.5;
  context.stroke(path);
  context.lineWidth = 1;
  path.lineTo(edge, floor);
  context.fillStyle = faded(rgb, 0.16);
  context.fill(path);
}

function line(context: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  context.stroke();
}
