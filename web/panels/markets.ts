/** All products: sparkline, last price, change, volume; and the search among them. @module */

/// <reference lib="dom" />

import { change, digitsOf, direction, format, short } from "../model/decimal_text.ts";
import { canvasOf, colour, faded, make, paintClass, tone, write } from "./dom.ts";
import { inOrder, search } from "../model/product_list.ts";
import type { State } from "../model/state.ts";

interface Row {
  button: HTMLElement;
  volume: HTMLElement;
  spark: HTMLCanvasElement;
  price: HTMLElement;
  change: HTMLElement;
}

/** The list at the side. `choose` is called with the product that was clicked. */
export function createMarkets(host: HTMLElement, choose: (product: string) => void) {
  const rows = new Map<string, Row>();
  let order = "";

  function rowOf(product: string): Row {
    const known = rows.get(product);
    if (known !== undefined) return known;
    const spark = document.createElement("canvas");
    const row: Row = {
      button: make("button", "market-row"),
      volume: make("small"),
      spark,
      price: make("span"),
      change: make("span"),
    };
    row.button.setAttribute("type", "button");
    row.button.append(make("span", "who", make("b", "", product), row.volume), spark, row.price, row.change);
    row.button.addEventListener("click", () => choose(product));
    rows.set(product, row);
    return row;
  }

  return {
    /** The order: by turnover of 24 hours; only when products come or go, so that no row jumps away from the pointer. */
    paintOrder(state: State): void {
      const ordered = inOrder(state);
      // Putting the rows in anew would scroll back to the top.
      if (ordered.length > 0 && ordered.join() === order) return;
      order = ordered.join();
      if (ordered.length === 0) {
        host.replaceChildren(make("p", "empty", state.problems.get("products") ?? "Loading the products…"));
        return;
      }
      host.replaceChildren(...ordered.map((product) => rowOf(product).button));
    },
    paint(state: State): void {
      for (const [product, row] of rows) {
        const ticker = state.tickers.get(product);
        const last = state.lasts.get(product);
        const info = state.products.get(product);
        write(row.price, format(last?.price, digitsOf(info?.quote_increment)));
        paintClass(row.price, `price ${tone(last?.direction ?? 0)}`);
        write(row.change, change(last?.price, ticker?.open_24h));
        paintClass(row.change, `percent ${tone(direction(last?.price, ticker?.open_24h))}`);
        write(
          row.volume,
          ticker?.volume_24h ? `${short(ticker.volume_24h)} ${info?.base_currency ?? ""}` : "–",
        );
        const current = product === state.view.product;
        paintClass(row.button, current ? "market-row current" : "market-row");
        if (current) row.button.setAttribute("aria-current", "true");
        else row.button.removeAttribute("aria-current");
      }
    },
    paintSparklines(state: State): void {
      for (const [product, row] of rows) drawSparkline(row.spark, state.sparklines.get(product) ?? []);
    },
  };
}

function drawSparkline(canvas: HTMLCanvasElement, closes: readonly number[]): void {
  const drawn = canvasOf(canvas);
  const [first, last] = [closes[0], closes.at(-1)];
  if (drawn === null || first === undefined || last === undefined || closes.length < 2) return;
  const { context, width, height } = drawn;
  const [low, high] = [Math.min(...closes), Math.max(...closes)];
  const x = (place: number) => place / (closes.length - 1) * (width - 2) + 1;
  const y = (close: number) =>
    height - 3 - (high === low ? 0.5 : (close - low) / (high - low)) * (height - 6);
  const path = new Path2D();
  closes.forEach((close, place) => path.lineTo(x(place), y(close)));
  const rgb = colour(last >= first ? "up" : "down");
  context.strokeStyle = rgb;
  context.lineWidth = 1.2;
  context.lineJoin = "round";
  context.stroke(path);
  path.lineTo(x(closes.length - 1), height);
  path.lineTo(x(0), height);
  context.fillStyle = faded(rgb, 0.1);
  context.fill(path);
}

/** The dialog that finds a product by a few letters: arrows, Enter, Escape. */
export function createSwitcher(
  dialog: HTMLDialogElement,
  input: HTMLInputElement,
  list: HTMLElement,
  state: State,
  choose: (product: string) => void,
) {
  let found: string[] = [];
  let at = 0;

  function paint(): void {
    found = search(inOrder(state), state.products, input.value);
    at = Math.max(0, Math.min(at, found.length - 1));
    list.replaceChildren(...found.map((product, place) => {
      const ticker = state.tickers.get(product);
      const last = state.lasts.get(product)?.price;
      const price = format(last, digitsOf(state.products.get(product)?.quote_increment));
      const percent = change(last, ticker?.open_24h);
      const option = make("div", "option", make("b", "", product), make("span", "", price));
      option.append(make("span", tone(direction(last, ticker?.open_24h)), percent));
      option.id = `found-${place}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", String(place === at));
      option.addEventListener("click", () => closeAndChoose(product));
      return option;
    }));
    if (found.length === 0) list.append(make("p", "empty", `No product is called “${input.value}”.`));
    input.setAttribute("aria-activedescendant", found.length === 0 ? "" : `found-${at}`);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function closeAndChoose(product: string | undefined): void {
    if (product === undefined) return;
    dialog.close();
    choose(product);
  }

  input.addEventListener("input", () => {
    at = 0;
    paint();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") at++;
    else if (event.key === "ArrowUp") at--;
    else if (event.key !== "Enter") return;
    // The dialog gives the focus back: this Enter must not press what gets it.
    event.preventDefault();
    if (event.key === "Enter") closeAndChoose(found[at]);
    else paint();
  });

  return {
    open(): void {
      input.value = "";
      at = 0;
      paint();
      dialog.showModal();
      input.focus();
    },
  };
}
