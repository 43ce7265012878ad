/**
 * What a `GET` may do here: read tables, and nothing else. A browser sends a GET for an image or a link, so it mustn't be
 * a way to files, addresses or settings, whoever asks.
 *
 * The engine refuses most by `readonly=1`: what writes, table functions, `SET`. What that leaves open is refused here, by
 * the bytes of the statement alone: whatever a quote or a comment hides, a forbidden word is found.
 *
 * @module
 */

import { ClickHouseError } from "./clickhouse_error.ts";

/** Under `readonly=1` the engine still kills queries and says whether a file exists. */
const verbs = new Set(["SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC"]);

/**
 * Functions that the engine runs under `readonly=1` though they read files (`file` is a function too, not only a table
 * function), ask services, load libraries or run text as SQL; clauses that name files; `{x:Identifier}`, by which a
 * parameter could name any of these.
 */
const forbidden =
  /(?<!\w)(file|eval|catboostEvaluate|ai(?:Classify|Embed|Extract|Generate|Translate)|outfile|infile|Identifier)(?!\w)/i;

/**
 * Refuses a statement that could do more than read tables.
 *
 * @param text the whole statement
 * @param verb its first word in upper case
 * @throws {ClickHouseError}
 */
export function assertReadOnly(text: Uint8Array, verb: string): void {
  // One character a byte: what isn't ASCII ends a word, as some of it does for the engine.
  const characters = Array.from(text, (byte) => String.fromCharCode(byte)).join("");
  const word = forbidden.exec(characters)?.[1];
  if (!verbs.has(verb)) throw refusal(`${verb || "This statement"} is not allowed`);
  if (word !== undefined) throw refusal(`The word ${word} is not allowed`);
  if (verb.startsWith("DESC") && characters.includes("(")) {
    throw refusal("DESCRIBE of anything but a table is not allowed");
  }
  // A name in quotes may be spelled with escapes.
  if (characters.includes("\\") && /[`"]|\xe2\x80[\x98-\x9f]/.test(characters)) {
    throw refusal("A backslash beside quoted names is not allowed");
  }
}

/** Settings that a GET may bring: limits, and how the answer is written. Others name files, addresses or rights. */
const settings = new RegExp(
  `^(${
    [
      "max_(threads|execution_time|memory_usage|block_size|(result|columns)_(rows|bytes))",
      "max_(rows|bytes)_(to_read|to_sort|to_group_by|in_distinct|in_join|in_set)",
      "(result|read|timeout|sort|group_by|distinct|join|set)_overflow_mode",
      "limit|offset|extremes|final|join_use_nulls|session_timezone|log_comment|priority",
      "date_time_output_format|output_format_(json|pretty|csv|tsv|xml|markdown|parquet|arrow|decimal|float|write)_\\w+",
      "send_progress_in_http_headers|http_headers_progress_interval_ms|cancel_http_readonly_queries_on_client_close",
      "http_write_exception_in_output_format|enable_analyzer|allow_experimental_analyzer",
    ].join("|")
  })$`,
);

/** @throws {ClickHouseError} for a setting that a GET mayn't bring */
export function assertReadOnlySetting(name: string): void {
  if (!settings.test(name)) throw refusal(`Cannot modify '${name}' setting`);
}

function refusal(what: string): ClickHouseError {
  return new ClickHouseError(164, "READONLY", `${what} in readonly mode`);
}
