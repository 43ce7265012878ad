/** What a person must know before trusting the numbers. @module */

import type { State } from "./state.ts";

/** The parts whose problems are told, the gravest first. */
const told = ["product", "stream", "history", "trades", "tickers"];

/** A sentence or two; null when all is well. `now` in ms since the epoch. */
export function noticeText({ connection, status, problems }: State, now: number): string | null {
  const away = problems.get("status") ?? problems.get("products");
  if (connection.state === "waiting") {
    const wait = Math.max(0, Math.ceil((connection.until - now) / 1000));
    const next = wait === 0 ? "Trying again…" : `Next try in ${wait} s.`;
    const why = connection.reason === "" ? "" : `: ${connection.reason}`;
    return [`The live stream is lost${why}. Prices stand still.`, away, next].filter(Boolean).join(" ");
  }
  if (away !== undefined) return away;
  if (status?.clickhouse?.ok === false) {
    const reason = (status.clickhouse.reason ?? "ClickHouse is away").replace(/\.$/, "");
    return `${reason}. Live prices go on; history and completeness don't.`;
  }
  return told.map((part) => problems.get(part)).find((problem) => problem !== undefined) ?? null;
}
