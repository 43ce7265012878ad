/** The token of an API that asks for one: kept in this tab only. @module */

/// <reference lib="dom" />

import { byId, write } from "./dom.ts";

const key = "tapehouse token";

/** `get` the token; `ask` for another one, once for all who wait. */
export function createTokens() {
  let asking: Promise<void> | null = null;

  function ask(problem: string): Promise<void> {
    asking ??= new Promise<void>((resolve) => {
      const dialog = byId("token", HTMLDialogElement);
      const input = byId("token-input", HTMLInputElement);
      write(byId("token-problem"), problem);
      input.value = "";
      // Without a token there is nothing to show.
      dialog.oncancel = (event) => event.preventDefault();
      dialog.onclose = () => {
        sessionStorage.setItem(key, input.value);
        asking = null;
        resolve();
      };
      dialog.showModal();
      input.focus();
    });
    return asking;
  }

  return { get: () => sessionStorage.getItem(key), ask };
}
