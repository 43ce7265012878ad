/**
 * The few things that the page does with the DOM. Texts are set as texts, never as HTML.
 *
 * @module
 */

/// <reference lib="dom" />

/** The element with this id. @throws {Error} when index.html has none of that kind */
export function byId<Kind extends HTMLElement = HTMLElement>(
  id: string,
  kind: { new (): Kind } = HTMLElement as unknown as { new (): Kind },
): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} with the id ${id}`);
  return found;
}

/** Makes an element: class, then its children. */
export function make(tag: string, className = "", ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.append(...children);
  return made;
}

/** Sets a text; an equal one costs nothing. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets the class; an equal one costs nothing. */
export function paintClass(element: Element, className: string): void {
  if (element.className !== className) element.className = className;
}

/** The class of a change: `up`, `down` or `flat`. */
export function tone(direction: number): "up" | "down" | "flat" {
  return direction > 0 ? "up" : direction < 0 ? "down" : "flat";
}

const probe = document.createElement("i");
probe.hidden = true;
const colours = new Map<string, string>();

/** The colour that a variable of the style sheet has in the theme of this moment, such as `rgb(47, 184, 136)`. */
export function colour(name: string): string {
  const known = colours.get(name);
  if (known !== undefined) return known;
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  colours.set(name, found);
  return found;
}

/** The theme changed: colours are asked for anew. */
export function resetColours(): void {
  colours.clear();
}

/** The same colour with an opacity from 0 to 1. */
export function faded(rgb: string, opacity: number): string {
  return rgb.replace(/^rgb\(([^)]+)\)$/, `rgba($1, ${opacity})`);
}

const boxes = new WeakMap<Element, { width: number; height: number }>();
const observer = new ResizeObserver((entries) => {
  for (const { target, contentRect: { width, height } } of entries) boxes.set(target, { width, height });
});

/** The size of an element in CSS pixels, without making the browser lay the page out in the middle of a frame. */
export function boxOf(element: Element): { width: number; height: number } {
  const known = boxes.get(element);
  if (known !== undefined) return known;
  const box = { width: element.clientWidth, height: element.clientHeight };
  boxes.set(element, box);
  observer.observe(element);
  return box;
}

/** Fits a canvas to its box and the screen's density; everything is drawn in CSS pixels. Null without a box. */
export function canvasOf(
  canvas: HTMLCanvasElement,
): { context: CanvasRenderingContext2D; width: number; height: number } | null {
  const { width, height } = boxOf(canvas);
  const context = canvas.getContext("2d");
  if (context === null || width === 0 || height === 0) return null;
  const density = devicePixelRatio;
  if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
  }
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
