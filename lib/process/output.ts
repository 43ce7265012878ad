/**
 * What is printed may be lost, and the program goes on.
 *
 * @module
 */

/**
 * A terminal that was closed, a pipe whose reader has gone and a full disk make an error of every line. From now on such
 * lines are dropped: a process that stops in order still has some to print.
 */
export function tolerateLostOutput(): void {
  for (const name of ["log", "info", "warn", "error"] as const) {
    const print = console[name].bind(console);
    console[name] = (...values) => {
      try {
        print(...values);
      } catch {
        // Nobody is there to read it.
      }
    };
  }
  for (const stream of [Deno.stdout, Deno.stderr]) {
    const write = stream.writeSync.bind(stream);
    stream.writeSync = (bytes) => {
      try {
        return write(bytes);
      } catch {
        return bytes.length;
      }
    };
  }
}
