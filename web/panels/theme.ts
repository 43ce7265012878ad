/** Dark or light: as the address says, or as the system does. @module */

/// <reference lib="dom" />

import type { View } from "../model/url_state.ts";
import { resetColours } from "./dom.ts";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** Sets the colours of the page; what is drawn on a canvas must be drawn anew. */
export function applyTheme(theme: View["theme"]): void {
  const system = systemIsDark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = theme === "auto" ? system : theme;
  resetColours();
}

/** The theme that isn't shown. */
export function otherTheme(): "dark" | "light" {
  return document.documentElement.dataset.theme === "dark" ? "light" : "dark";
}

/** Calls back when the system's theme changes. */
export function onSystemTheme(changed: () => void): void {
  systemIsDark.addEventListener("change", changed);
}
