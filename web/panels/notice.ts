/** The line on the top that says what is wrong. @module */

/// <reference lib="dom" />

import { noticeText } from "../model/notice.ts";
import type { State } from "../model/state.ts";
import { byId, write } from "./dom.ts";

/** Shows what is wrong, with a button to try again where that can help. */
export function paintNotice(state: State): void {
  const box = byId("notice");
  const text = noticeText(state, Date.now());
  box.hidden = text === null;
  const [line, again] = box.children;
  if (line !== undefined) write(line, text ?? "");
  again?.toggleAttribute("hidden", text === state.problems.get("product"));
}
