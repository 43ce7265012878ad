/**
 * A frame's bytes → a row's bytes: what the exchange sends most is read once, byte by byte, and written as ClickHouse takes
 * it. No text, no object and no number of JSON comes to be in between.
 *
 * It takes only what it is sure of. Whatever else there is (an escape, a character beyond ASCII, a field twice, a number
 * with an exponent, another type, anything that isn't as expected) it leaves alone, and zod decides (messages.ts). What it
 * takes zod would take too, and the row is the same: scan_frame_test.ts holds one against the other.
 *
 * @module
 */

import type { TradeKey } from "../rows.ts";
import { absent, array, field, FrameFields, string } from "./frame_fields.ts";
import { microsAt } from "./frame_time.ts";
import { closeBracket, comma, openBracket, quote } from "./json_cursor.ts";
import { RowBytes } from "./row_bytes.ts";
import { TextCache } from "./text_cache.ts";

/** The tables whose rows are written here. */
export type ScannedTable = "trades" | "tickers" | "book_changes" | "heartbeats";

/** What the producer and Kafka know of a frame. */
export interface FrameStamp {
  /** µs since the epoch. */
  receivedAt: number;
  source: string;
  connection: string;
  partition: number;
  offset: number;
}

/** The type of a frame whose rows were written. */
export type ScannedType = "match" | "last_match" | "ticker" | "heartbeat" | "snapshot" | "l2update";

const encoder = new TextEncoder();
const types: readonly [ScannedType, Uint8Array][] =
  (["match", "ticker", "l2update", "heartbeat", "snapshot", "last_match"] as const)
    .map((type) => [type, encoder.encode(type)]);

/** Reads frames; keeps nothing of one but its buffers. */
export class FrameScanner {
  readonly #fields = new FrameFields();
  readonly #trade: TradeKey = { productId: "", tradeId: 0, micros: 0 };
  readonly #products = new TextCache();
  /** The last source and connection, as RowBinary. */
  readonly #origin = new RowBytes(64);
  #source: string | undefined;
  #connection: string | undefined;

  /** The trade that was written last; overwritten by the next. */
  get trade(): Readonly<TradeKey> {
    return this.#trade;
  }

  /**
   * Writes a frame's rows.
   *
   * @param rows where each table's rows go; a trade's row is written without its last column, the batch
   * @returns the frame's type; undefined, and nothing written, when the frame is left to zod
   */
  scan(
    frame: Uint8Array,
    stamp: FrameStamp,
    rows: Readonly<Record<ScannedTable, RowBytes>>,
  ): ScannedType | undefined {
    if (!this.#fields.read(frame)) return undefined;
    const type = this.#readType();
    if (type === undefined) return undefined;
    if (!this.#areArraysOf(type)) return undefined;
    const table = tableOf(type);
    const target = rows[table];
    const { length, rows: before } = target;
    const isWritten = type === "match" || type === "last_match"
      ? this.#writeTrade(target, stamp)
      : type === "ticker"
      ? this.#writeTicker(target, stamp)
      : type === "heartbeat"
      ? this.#writeHeartbeat(target, stamp)
      : type === "l2update"
      ? this.#writeUpdate(target, stamp)
      : this.#writeSnapshot(target, stamp);
    if (isWritten) return type;
    target.rewind(length, before);
    return undefined;
  }

  #readType(): ScannedType | undefined {
    if (this.#fields.kind[field.type] !== string) return undefined;
    for (const [type, name] of types) if (this.#fields.is(field.type, name)) return type;
    return undefined;
  }

  /** No array stands where nobody would look into it. */
  #areArraysOf(type: ScannedType): boolean {
    for (let of = field.changes; of <= field.asks; of++) {
      const isRead = of === field.changes ? type === "l2update" : type === "snapshot";
      if (!isRead && this.#fields.kind[of] === array) return false;
    }
    return true;
  }

  #writeTrade(rows: RowBytes, stamp: FrameStamp): boolean {
    const micros = this.#micros();
    const tradeId = this.#fields.integer(field.trade_id);
    const sequence = this.#fields.kind[field.sequence] === absent ? 0 : this.#fields.integer(field.sequence);
    const side = this.#side(field.side);
    if (micros < 0 || tradeId < 0 || sequence < 0 || side < 0) return false;
    if (!this.#writeProduct(rows)) return false;
    rows.uint64(tradeId);
    rows.uint64(micros);
    if (this.#writeDecimal(rows, field.price) !== "positive") return false;
    if (this.#writeDecimal(rows, field.size) !== "positive") return false;
    // The exchange tells the maker's side; the taker was on the other.
    rows.byte(side === buy ? sell : buy);
    rows.uint64(sequence);
    if (!this.#writeUuid(rows, field.maker_order_id) || !this.#writeUuid(rows, field.taker_order_id)) {
      return false;
    }
    this.#writeStamp(rows, stamp);
    const { bytes, from, to } = this.#fields;
    this.#trade.productId = this.#products.textAt(bytes, from[field.product_id]!, to[field.product_id]!);
    this.#trade.tradeId = tradeId;
    this.#trade.micros = micros;
    return true;
  }

  #writeTicker(rows: RowBytes, stamp: FrameStamp): boolean {
    const micros = this.#microsOr(stamp.receivedAt);
    const sequence = this.#fields.integer(field.sequence);
    if (micros < 0 || sequence < 0 || !this.#writeProduct(rows)) return false;
    rows.uint64(sequence);
    rows.uint64(micros);
    if (this.#writeDecimal(rows, field.price) === "invalid") return false;
    for (let of = field.best_bid; of <= field.best_ask_size; of++) {
      if (!this.#writeOptionalDecimal(rows, of)) return false;
    }
    if (!this.#writeOptionalSide(rows) || !this.#writeOptionalInteger(rows, field.trade_id)) return false;
    for (let of = field.last_size; of <= field.volume_30d; of++) {
      if (!this.#writeOptionalDecimal(rows, of)) return false;
    }
    this.#writeStamp(rows, stamp);
    return true;
  }

  #writeHeartbeat(rows: RowBytes, stamp: FrameStamp): boolean {
    const micros = this.#micros();
    const sequence = this.#fields.integer(field.sequence);
    const lastTradeId = this.#fields.integer(field.last_trade_id);
    if (micros < 0 || sequence < 0 || lastTradeId < 0 || !this.#writeProduct(rows)) return false;
    rows.uint64(micros);
    rows.uint64(sequence);
    rows.uint64(lastTradeId);
    this.#writeStamp(rows, stamp);
    return true;
  }

  /** `[["buy","1.01","5"],…]` */
  #writeUpdate(rows: RowBytes, stamp: FrameStamp): boolean {
    const level = { side: 0, position: 0, isSnapshot: 0, micros: this.#microsOr(stamp.receivedAt) };
    if (level.micros < 0 || this.#fields.kind[field.changes] !== array || !this.#isProduct()) return false;
    this.#fields.at = this.#fields.from[field.changes]! + 1;
    const end = this.#fields.to[field.changes]! - 1;
    for (let isFirst = true; !this.#isEnd(end); isFirst = false) {
      if (!this.#beginItem(isFirst) || !this.#fields.take(quote)) return false;
      const from = this.#fields.at;
      if (!this.#fields.skipString()) return false;
      level.side = this.#sideAt(from, this.#fields.at - 1);
      if (level.side < 0 || !this.#fields.takeBetween(comma)) return false;
      if (!this.#writeLevel(rows, level, stamp)) return false;
      level.position++;
    }
    return true;
  }

  /** Bids, then asks, `[["1.01","5"],…]` each. */
  #writeSnapshot(rows: RowBytes, stamp: FrameStamp): boolean {
    const level = { side: buy, position: 0, isSnapshot: 1, micros: this.#microsOr(stamp.receivedAt) };
    if (level.micros < 0 || !this.#isProduct()) return false;
    for (; level.side <= sell; level.side++) {
      const of = level.side === buy ? field.bids : field.asks;
      if (this.#fields.kind[of] !== array) return false;
      this.#fields.at = this.#fields.from[of]! + 1;
      const end = this.#fields.to[of]! - 1;
      for (let isFirst = true; !this.#isEnd(end); isFirst = false) {
        if (!this.#beginItem(isFirst) || !this.#writeLevel(rows, level, stamp)) return false;
        level.position++;
      }
    }
    return true;
  }

  #isEnd(end: number): boolean {
    this.#fields.skipSpace();
    return this.#fields.at === end;
  }

  /** From an item's end to behind the bracket that opens the next. */
  #beginItem(isFirst: boolean): boolean {
    if (!isFirst && !this.#fields.takeBetween(comma)) return false;
    if (!this.#fields.take(openBracket)) return false;
    this.#fields.skipSpace();
    return true;
  }

  /** `"price","size"]`, and the row of it. */
  #writeLevel(
    rows: RowBytes,
    level: { side: number; position: number; isSnapshot: number; micros: number },
    stamp: FrameStamp,
  ): boolean {
    rows.text(this.#fields.bytes, this.#fields.from[field.product_id]!, this.#fields.to[field.product_id]!);
    rows.uint64(level.micros);
    rows.byte(level.side);
    if (!this.#writeItem(rows) || !this.#fields.takeBetween(comma) || !this.#writeItem(rows)) return false;
    this.#fields.skipSpace();
    if (!this.#fields.take(closeBracket)) return false;
    rows.byte(level.isSnapshot);
    rows.uint32(level.position);
    this.#writeStamp(rows, stamp);
    return true;
  }

  #writeItem(rows: RowBytes): boolean {
    if (!this.#fields.take(quote)) return false;
    const from = this.#fields.at;
    return this.#fields.skipString() &&
      rows.decimal(this.#fields.bytes, from, this.#fields.at - 1) !== "invalid";
  }

  /** 1 to 64 characters, none of them white space. */
  #isProduct(): boolean {
    if (this.#fields.kind[field.product_id] !== string) return false;
    const from = this.#fields.from[field.product_id]!;
    const to = this.#fields.to[field.product_id]!;
    if (to === from || to - from > 64) return false;
    for (let at = from; at < to; at++) if (this.#fields.bytes[at] === 0x20) return false;
    return true;
  }

  #writeProduct(rows: RowBytes): boolean {
    if (!this.#isProduct()) return false;
    rows.text(this.#fields.bytes, this.#fields.from[field.product_id]!, this.#fields.to[field.product_id]!);
    return true;
  }

  #writeDecimal(rows: RowBytes, of: number): "invalid" | "zero" | "positive" {
    if (this.#fields.kind[of] !== string) return "invalid";
    return rows.decimal(this.#fields.bytes, this.#fields.from[of]!, this.#fields.to[of]!);
  }

  #writeOptionalDecimal(rows: RowBytes, of: number): boolean {
    if (this.#fields.kind[of] === absent) {
      rows.byte(1);
      return true;
    }
    rows.byte(0);
    return this.#writeDecimal(rows, of) !== "invalid";
  }

  #writeOptionalInteger(rows: RowBytes, of: number): boolean {
    if (this.#fields.kind[of] === absent) {
      rows.byte(1);
      return true;
    }
    const value = this.#fields.integer(of);
    if (value < 0) return false;
    rows.byte(0);
    rows.uint64(value);
    return true;
  }

  #writeOptionalSide(rows: RowBytes): boolean {
    if (this.#fields.kind[field.side] === absent) {
      rows.byte(1);
      return true;
    }
    const side = this.#side(field.side);
    if (side < 0) return false;
    rows.byte(0);
    rows.byte(side);
    return true;
  }

  /** NULL where there is none, and for a text that isn't one. */
  #writeUuid(rows: RowBytes, of: number): boolean {
    const { kind, bytes, from, to } = this.#fields;
    if (kind[of] !== absent && kind[of] !== string) return false;
    rows.byte(0);
    if (kind[of] === string && rows.uuid(bytes, from[of]!, to[of]!)) return true;
    rows.rewind(rows.length - 1, rows.rows);
    rows.byte(1);
    return true;
  }

  #writeStamp(rows: RowBytes, { receivedAt, source, connection, partition, offset }: FrameStamp): void {
    if (source !== this.#source || connection !== this.#connection) {
      this.#origin.clear();
      this.#origin.string(source);
      this.#origin.string(connection);
      this.#source = source;
      this.#connection = connection;
    }
    rows.uint64(receivedAt);
    rows.append(this.#origin.bytes);
    rows.uint32(partition);
    rows.uint64(offset);
    rows.rows++;
  }

  #side(of: number): number {
    return this.#fields.kind[of] === string ? this.#sideAt(this.#fields.from[of]!, this.#fields.to[of]!) : -1;
  }

  #sideAt(from: number, to: number): number {
    const bytes = this.#fields.bytes;
    if (to - from === 3) {
      return bytes[from] === 0x62 && bytes[from + 1] === 0x75 && bytes[from + 2] === 0x79 ? buy : -1;
    }
    const isSell = to - from === 4 && bytes[from] === 0x73 && bytes[from + 1] === 0x65 &&
      bytes[from + 2] === 0x6c && bytes[from + 3] === 0x6c;
    return isSell ? sell : -1;
  }

  #microsOr(receivedAt: number): number {
    return this.#fields.kind[field.time] === absent ? receivedAt : this.#micros();
  }

  /** -1 where there is none. */
  #micros(): number {
    const { kind, bytes, from, to } = this.#fields;
    return kind[field.time] === string ? microsAt(bytes, from[field.time]!, to[field.time]!) : -1;
  }
}

/** Enum8 of a taker's side; bid and ask of the book have the same numbers. */
const buy = 1;
const sell = 2;

function tableOf(type: ScannedType): ScannedTable {
  if (type === "match" || type === "last_match") return "trades";
  if (type === "ticker") return "tickers";
  return type === "heartbeat" ? "heartbeats" : "book_changes";
}
