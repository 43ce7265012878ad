/**
 * What is seen while it runs: rows, and on a terminal a bar below them.
 *
 * @module
 */

/** Where rows are shown. */
export interface Display {
  /** Takes the bar away. */
  clear(): void;
  /** @param progress the bar below the row */
  row(text: string, progress?: string): void;
}

/** Shows rows on stdout. */
export function openDisplay(): Display {
  const terminal = Deno.stdout.isTerminal();
  const write = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(text));
  const clear = () => {
    if (terminal) write("\r\x1b[K");
  };
  return {
    clear,
    row(text, progress = "") {
      clear();
      write(`${text}\n`);
      if (terminal) write(progress);
    },
  };
}
