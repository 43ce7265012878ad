/**
 * A database's content in a few characters: the same for the same trades, however they came in.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { rows } from "./rows.ts";

/**
 * Table or view → the columns that are hashed. Not those that tell how a row came in (received_at, source, batch …), nor
 * what REST doesn't know of a trade (sequence, order ids): a filled gap must not change the digest.
 */
const hashed = {
  trades: "product_id, trade_id, time, price, size, taker_side",
  candles_1s: "*",
  candles_1m: "*",
  candles_1h: "*",
  candles_1d: "*",
};

/** What one table or view holds. */
export interface Digest {
  name: string;
  rows: number;
  /** 16 hexadecimal digits. */
  hash: string;
}

/**
 * Digests the trades and each candle view: the sum, modulo 2^64, of a hash of each row. The order of rows doesn't matter,
 * and unlike a XOR it sees a row that is there twice.
 */
export async function readDigests(clickhouse: ClickHouseClient): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (const [name, columns] of Object.entries(hashed)) {
    const [row] = await rows<Omit<Digest, "name">>(
      clickhouse,
      `SELECT count() AS rows, lower(leftPad(hex(sum(cityHash64(${columns}))), 16, '0')) AS hash FROM ${name}`,
    );
    if (row !== undefined) digests.push({ name, ...row });
  }
  return digests;
}

/** One digest of all of them: 16 hexadecimal digits. */
export async function combineDigests(digests: readonly Digest[]): Promise<string> {
  const text = digests.map(({ name, rows, hash }) => `${name} ${rows} ${hash}\n`).join("");
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes, 0, 8).toHex();
}
