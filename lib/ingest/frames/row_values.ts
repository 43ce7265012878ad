/**
 * Rows as values ↔ RowBinary, by the types of their columns. What scan_frame.ts writes of a frame is what this writes of the
 * rows that zod lets through (scan_frame_test.ts holds them against each other).
 *
 * @module
 */

import { formatMicros } from "../../core/time.ts";
import { columns, type Row, rowMicros, type Table } from "../rows.ts";
import { fractionDigits, RowBytes } from "./row_bytes.ts";

type Value = Row[number];

/** How a column's values stand in a row. */
interface Type {
  write(bytes: RowBytes, value: Value): void;
  read(from: ByteReader): Value;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Reads what RowBytes has written. */
class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#view.getUint8(this.#at++);
  }

  uint32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  uint64(): number {
    const low = this.uint32();
    return this.uint32() * 2 ** 32 + low;
  }

  text(): string {
    let length = 0;
    for (let shift = 0;; shift += 7) {
      const byte = this.byte();
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    this.#at += length;
    return decoder.decode(this.#bytes.subarray(this.#at - length, this.#at));
  }

  /** In lower case. */
  uuid(): string {
    let digits = "";
    for (let half = 0; half < 2; half++) {
      const low = this.uint32();
      const high = this.uint32();
      for (const part of [high, low]) digits += part.toString(16).padStart(8, "0");
    }
    return digits.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  /** As ClickHouse writes it: without zeros at the end. */
  decimal(): string {
    let value = 0n;
    for (let shift = 0n; shift < 128n; shift += 32n) value |= BigInt(this.uint32()) << shift;
    const digits = String(value).padStart(fractionDigits + 1, "0");
    const fraction = digits.slice(-fractionDigits).replace(/0+$/, "");
    return `${digits.slice(0, -fractionDigits)}${fraction === "" ? "" : `.${fraction}`}`;
  }
}

const text: Type = { write: (to, value) => to.string(String(value)), read: (from) => from.text() };
const uuid: Type = {
  write(to, value) {
    const digits = encoder.encode(String(value));
    if (!to.uuid(digits, 0, digits.length)) throw new RangeError(`Not a UUID: ${JSON.stringify(value)}`);
  },
  read: (from) => from.uuid(),
};
const uint32: Type = { write: (to, value) => to.uint32(Number(value)), read: (from) => from.uint32() };
const uint64: Type = { write: (to, value) => to.uint64(Number(value)), read: (from) => from.uint64() };
const bool: Type = { write: (to, value) => to.byte(value ? 1 : 0), read: (from) => from.byte() === 1 };
const time: Type = {
  write: (to, value) => to.uint64(rowMicros(String(value))),
  read: (from) => formatMicros(from.uint64()),
};
const decimal: Type = {
  write(to, value) {
    const digits = encoder.encode(String(value));
    if (to.decimal(digits, 0, digits.length) === "invalid") {
      throw new RangeError(`Not a decimal such as 0.01: ${JSON.stringify(value)}`);
    }
  },
  read: (from) => from.decimal(),
};
const nullable = ({ write, read }: Type): Type => ({
  write(to, value) {
    to.byte(value === null ? 1 : 0);
    if (value !== null) write(to, value);
  },
  read: (from) => from.byte() === 1 ? null : read(from),
});
/** Enum8 whose first name is 1. */
const oneOf = (...names: string[]): Type => ({
  write(to, value) {
    const at = names.indexOf(String(value));
    if (at < 0) throw new RangeError(`Expected one of ${names.join(", ")}, got ${JSON.stringify(value)}`);
    to.byte(at + 1);
  },
  read: (from) => names[from.byte() - 1]!,
});
const takerSide = oneOf("buy", "sell");

const stamp = {
  received_at: time,
  source: text,
  connection: text,
  kafka_partition: uint32,
  kafka_offset: uint64,
};

/** As the columns of sql/tables are typed. */
const types: { [T in Table]: Record<typeof columns[T][number], Type> } = {
  trades: {
    product_id: text,
    trade_id: uint64,
    time,
    price: decimal,
    size: decimal,
    taker_side: takerSide,
    sequence: uint64,
    maker_order_id: nullable(uuid),
    taker_order_id: nullable(uuid),
    ...stamp,
    batch: text,
  },
  tickers: {
    product_id: text,
    sequence: uint64,
    time,
    price: decimal,
    best_bid: nullable(decimal),
    best_bid_size: nullable(decimal),
    best_ask: nullable(decimal),
    best_ask_size: nullable(decimal),
    taker_side: nullable(takerSide),
    trade_id: nullable(uint64),
    last_size: nullable(decimal),
    open_24h: nullable(decimal),
    high_24h: nullable(decimal),
    low_24h: nullable(decimal),
    volume_24h: nullable(decimal),
    volume_30d: nullable(decimal),
    ...stamp,
  },
  book_changes: {
    product_id: text,
    time,
    side: oneOf("bid", "ask"),
    price: decimal,
    size: decimal,
    is_snapshot: bool,
    position: uint32,
    ...stamp,
  },
  heartbeats: { product_id: text, time, sequence: uint64, last_trade_id: uint64, ...stamp },
  products_state: {
    product_id: text,
    base_currency: text,
    quote_currency: text,
    base_increment: decimal,
    quote_increment: decimal,
    min_market_funds: nullable(decimal),
    status: text,
    status_message: text,
    display_name: text,
    trading_disabled: bool,
    post_only: bool,
    limit_only: bool,
    cancel_only: bool,
    ...stamp,
  },
  feed_events: {
    time,
    event: text,
    product_id: text,
    channel: text,
    reason: text,
    details: text,
    ...stamp,
  },
  rejected: { reason: text, raw_base64: text, kafka_topic: text, ...stamp },
};

const typesOf = Object.fromEntries(
  Object.entries(types).map(([table, of]) => {
    const byName: Record<string, Type> = of;
    return [table, columns[table as Table].map((column) => byName[column]!)];
  }),
) as Record<Table, Type[]>;

/**
 * Adds a row.
 *
 * @param row in the order of `columns`; one that is shorter leaves the last columns to whoever calls
 * @throws {RangeError} naming the column, when a value isn't of its type
 */
export function encodeRow(bytes: RowBytes, table: Table, row: Row): void {
  const { length, rows } = bytes;
  for (const [at, value] of row.entries()) {
    try {
      typesOf[table][at]!.write(bytes, value);
    } catch (error) {
      bytes.rewind(length, rows);
      throw new RangeError(`${table}.${columns[table][at]}: ${(error as Error).message}`, { cause: error });
    }
  }
  bytes.rows++;
}

/** Whole rows of a table, as a block. @throws {RangeError} when a row isn't one of the table's */
export function encodeRows(table: Table, rows: readonly Row[]): RowBytes {
  const bytes = new RowBytes(rows.length * 256);
  for (const row of rows) {
    if (row.length !== columns[table].length) {
      throw new RangeError(`A row of ${table} has ${columns[table].length} values, not ${row.length}.`);
    }
    encodeRow(bytes, table, row);
  }
  return bytes;
}

/**
 * The rows of a block.
 *
 * @param bytes as `encodeRows` or a scanner made them
 * @param width how many columns a row has; a trade's that doesn't know its batch lacks the last
 */
export function decodeRows(table: Table, bytes: Uint8Array, width: number = columns[table].length): Row[] {
  const from = new ByteReader(bytes);
  const own = typesOf[table].slice(0, width);
  const rows: Row[] = [];
  while (!from.isAtEnd) rows.push(own.map(({ read }) => read(from)));
  return rows;
}
