/**
 * One-line JSON logs on stderr: `{"level":"info","time":"2026-07-07T22:58:17.000Z","message":"…", …fields}`.
 *
 * @module
 */

/** How loud a line is; a service started with LOG_LEVEL=warn writes only `warn` and `error`. */
export type Level = "debug" | "info" | "warn" | "error";

/** Values that say where and with what; they stand beside the message, never inside it. */
export type Fields = Record<string, unknown>;

/** Writes lines that all carry the same fields. */
export interface Logger {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  /** A logger whose lines also carry `fields`. */
  with(fields: Fields): Logger;
}

const order: Record<Level, number> = { debug: 10, info: 20, warn: 30, error: 40 };
const encoder = new TextEncoder();

/**
 * Makes a logger.
 *
 * @param fields carried by every line, for example `{ service: "producer" }`
 * @param options.level the quietest level that is written, `info` by default
 * @param options.write receives each line with its newline; stderr by default
 */
export function createLogger(
  fields: Fields = {},
  options: { level?: Level; write?: (line: string) => void } = {},
): Logger {
  const least = order[options.level ?? "info"];
  const write = options.write ?? ((line) => Deno.stderr.writeSync(encoder.encode(line)));
  const log = (level: Level) => (message: string, more?: Fields) => {
    if (order[level] < least) return;
    const line = { level, time: new Date().toISOString(), message, ...fields, ...more };
    write(JSON.stringify(line, plain) + "\n");
  };
  return {
    debug: log("debug"),
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
    with: (more) => createLogger({ ...fields, ...more }, options),
  };
}

/** JSON knows neither bigints nor errors: the first become digits, the second their message. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return value.message;
  return value;
}
