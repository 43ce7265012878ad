/** The depth chart: sizes summed up from the best price outwards. @module */

/// <reference lib="dom" />

import type { Book } from "./api_types.ts";
import { cumulated, figuresOf } from "./book_figures.ts";
import { cut, format, short } from "./decimal.ts";
import { canvasOf, colour, faded, write } from "./dom.ts";

interface Step {
  price: number;
  sum: number;
  text: { price: string; sum: string };
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
    const steps = { bids: stepsOf(book?.bids ?? []), asks: stepsOf(book?.asks ?? []) };
    const figures = book === null ? null : figuresOf(book);
    cover.hidden = figures !== null;
    write(
      cover,
      book === null
        ? "Loading the book…"
        : book.reason
        ? `Not known: ${book.reason}`
        : "The book isn't known.",
    );
    const drawn = canvasOf(canvas);
    const [farBid, farAsk] = [steps.bids.at(-1), steps.asks.at(-1)];
    if (drawn === null || figures === null || farBid === undefined || farAsk === undefined) {
      return write(sub, "");
    }
    const { context, width, height } = drawn;
    const mid = Number(figures.mid);
    const reach = Math.min(mid - farBid.price, farAsk.price - mid) || 1;
    const floor = height - 18;
    const within = (side: Step[]) => side.filter(({ price }) => Math.abs(price - mid) <= reach);
    const top = Math.max(...[...within(steps.bids), ...within(steps.asks)].map(({ sum }) => sum)) || 1;
    const x = (price: number) => (price - mid + reach) / (2 * reach) * width;
    const y = (sum: number) => floor - sum / top * (floor - 14);
    context.font = "10px system-ui, sans-serif";
    drawGrid(context, width, floor, top, y);
    drawSide(context, steps.bids, 0, colour("up"), x, y, floor);
    drawSide(context, steps.asks, width, colour("down"), x, y, floor);
    context.fillStyle = colour("dim");
    const wide = context.measureText(format(figures.mid, digits)).width * 7 < width;
    const labels = [[0.02, "left"], [0.25, "center"], [0.5, "center"], [0.75, "center"], [
      0.98,
      "right",
    ]] as const;
    for (const [share, align] of labels) {
      if (!wide && align === "center" && share !== 0.5) continue;
      context.textAlign = align;
      context.fillText(
        format((mid + (share * 2 - 1) * reach).toFixed(digits), digits),
        share * width,
        height - 5,
      );
    }
    context.strokeStyle = colour("line");
    line(context, Math.round(width / 2) + 0.5, 0, Math.round(width / 2) + 0.5, floor);
    write(sub, drawPointer(context, steps, mid, reach, width, floor, digits, x, y));
  }

  function drawPointer(
    context: CanvasRenderingContext2D,
    steps: { bids: Step[]; asks: Step[] },
    mid: number,
    reach: number,
    width: number,
    floor: number,
    digits: number,
    x: (price: number) => number,
    y: (sum: number) => number,
  ): string {
    if (pointer === null) return "";
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
    return `${price < mid ? "bids down to" : "asks up to"} ${format(step.text.price, digits)}: ${
      cut(step.text.sum, 4)
    }`;
  }

  return { paint };
}

function stepsOf(levels: Book["bids"]): Step[] {
  return cumulated(levels).map(({ price, sum }) => ({
    price: Number(price),
    sum: Number(sum),
    text: { price, sum },
  }));
}

function drawGrid(
  context: CanvasRenderingContext2D,
  width: number,
  floor: number,
  top: number,
  y: (sum: number) => number,
): void {
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

function drawSide(
  context: CanvasRenderingContext2D,
  steps: readonly Step[],
  edge: number,
  rgb: string,
  x: (price: number) => number,
  y: (sum: number) => number,
  floor: number,
): void {
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
