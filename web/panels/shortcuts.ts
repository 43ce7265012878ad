/** Keys of the whole page. @module */

/// <reference lib="dom" />

import { make } from "./dom.ts";
import { matches } from "../model/shortcuts_match.ts";

/** What a key does; `keys` as KeyboardEvent.key says them, `Ctrl+k` with the control or command key. */
interface Shortcut {
  keys: string[];
  text: string;
  run(event: KeyboardEvent): void;
}

/** Listens for the keys, and writes them into the help. */
export function listen(shortcuts: readonly Shortcut[], help: HTMLElement): void {
  help.append(...shortcuts.map(({ keys, text }) => {
    const shown = keys.map((key) => make("kbd", "", key.replace("Ctrl+", "Ctrl-").replace("Arrow", "")));
    return make("div", "", make("dt", "", ...shown), make("dd", "", text));
  }));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") !== null) return;
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    const found = shortcuts.find((shortcut) => matches(shortcut, event, typing));
    if (found === undefined) return;
    event.preventDefault();
    found.run(event);
  });
}
