/**
 * What a fetch brings, decoded without waste. kafkajs makes a decoder for each record, a Buffer for each of its varints, an
 * object for each header and two BigInts for its place. Here a record is an object that knows where its parts stand, and
 * makes those that are asked for.
 *
 * Imported for its effect: it stands in for kafkajs' own decoder of the newest fetch answer, and hands over to it whatever
 * isn't plain, such as compressed batches, transactions and the formats of old brokers.
 *
 * Source: https://kafka.apache.org/documentation/#recordbatch and
 * https://kafka.apache.org/protocol#The_Messages_Fetch (version 11)
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { IHeaders } from "kafkajs";
import newest from "kafkajs/src/protocol/requests/fetch/v11/response.js";

/** An answer as kafkajs' consumer takes it, as far as anybody reads it. */
export interface FetchAnswer {
  throttleTime: number;
  clientSideThrottleTime: number;
  errorCode: number;
  sessionId: number;
  responses: { topicName: string; partitions: FetchedPartition[] }[];
}

interface FetchedPartition {
  partition: number;
  errorCode: number;
  highWatermark: string;
  lastStableOffset: string;
  lastStartOffset: string;
  abortedTransactions: never[];
  preferredReadReplica: number;
  messages: FetchedMessage[];
}

/** kafkajs' own. */
export const decodeByKafkajs: (raw: Buffer) => Promise<FetchAnswer> = newest.decode;

/** Of a batch's header, in bytes: up to its length, and all of it. */
const lengthEnd = 12;
const headerBytes = 61;
/** Where a batch's fields stand, from its first byte. */
const magicAt = 16;
const attributesAt = 21;
const firstTimestampAt = 27;
const maxTimestampAt = 35;
const recordCountAt = 57;
const codecMask = 0x7;
const appendTimeFlag = 0x8;
const transactionalFlag = 0x10;
const controlFlag = 0x20;

/** Thrown where kafkajs has to do it. */
class NotPlain extends Error {}

newest.decode = async (raw: Buffer) => {
  try {
    return decodeFetch(raw);
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error;
    return await decodeByKafkajs(raw);
  }
};

/**
 * Decodes an answer to a fetch of version 11.
 *
 * @throws {NotPlain} where there is a batch that kafkajs has to decode
 */
export function decodeFetch(raw: Buffer): FetchAnswer {
  const reader = new Reader(raw);
  const clientSideThrottleTime = reader.int32();
  const errorCode = reader.int16();
  const sessionId = reader.int32();
  const responses = reader.list(() => ({
    topicName: reader.string(),
    partitions: reader.list(() => readPartition(reader)),
  }));
  // The broker expects the client to wait, and hasn't waited itself: kafkajs calls that no throttling.
  return { throttleTime: 0, clientSideThrottleTime, errorCode, sessionId, responses };
}

function readPartition(reader: Reader): FetchedPartition {
  const partition = reader.int32();
  const errorCode = reader.int16();
  const [highWatermark, lastStableOffset, lastStartOffset] = [reader.int64(), reader.int64(), reader.int64()];
  if (reader.int32() > 0) throw new NotPlain("transactions were aborted");
  const preferredReadReplica = reader.int32();
  const length = reader.int32();
  const messages = length > 0 ? readBatches(reader, length) : [];
  return {
    partition,
    errorCode,
    highWatermark: String(highWatermark),
    lastStableOffset: String(lastStableOffset),
    lastStartOffset: String(lastStartOffset),
    abortedTransactions: [],
    preferredReadReplica,
    messages,
  };
}

/** The broker cuts the last batch off where the answer is full. */
function readBatches(reader: Reader, length: number): FetchedMessage[] {
  const end = Math.min(reader.at + length, reader.raw.length);
  const messages: FetchedMessage[] = [];
  while (reader.at + headerBytes <= end) {
    const begin = reader.at;
    const next = begin + lengthEnd + reader.int32At(begin + 8);
    if (next > end) break;
    readBatch(reader, begin, messages);
    reader.at = next;
  }
  reader.at = end;
  return messages;
}

function readBatch(reader: Reader, begin: number, messages: FetchedMessage[]): void {
  const attributes = reader.int16At(begin + attributesAt);
  const isPlain = reader.raw[begin + magicAt] === 2 &&
    (attributes & (codecMask | transactionalFlag | controlFlag)) === 0;
  if (!isPlain) throw new NotPlain("a batch is compressed, of a transaction or of an old format");
  const firstOffset = reader.int64At(begin);
  const isAppendTime = (attributes & appendTimeFlag) !== 0;
  const batchTime = reader.int64At(begin + (isAppendTime ? maxTimestampAt : firstTimestampAt));
  const count = reader.int32At(begin + recordCountAt);
  reader.at = begin + headerBytes;
  for (let record = 0; record < count; record++) {
    const length = reader.varint();
    const end = reader.at + length;
    // Attributes of a record: none are in use.
    reader.at++;
    const delta = reader.varint();
    const offset = firstOffset + reader.varint();
    messages.push(new FetchedMessage(reader, offset, isAppendTime ? batchTime : batchTime + delta));
    reader.at = end;
  }
}

/** A record, as kafkajs gives it to whoever consumes. */
class FetchedMessage {
  readonly offset: string;
  readonly value: Buffer | null;
  readonly attributes = 0;
  readonly isControlRecord = false;
  readonly #raw: Buffer;
  readonly #timestamp: number;
  readonly #keyAt: number;
  readonly #keyLength: number;
  readonly #headersAt: number;
  #headers: IHeaders | undefined;

  /** @param reader stands at the key */
  constructor(reader: Reader, offset: number, timestamp: number) {
    this.offset = String(offset);
    this.#raw = reader.raw;
    this.#timestamp = timestamp;
    this.#keyLength = reader.varint();
    this.#keyAt = reader.at;
    reader.at += Math.max(0, this.#keyLength);
    this.value = reader.bytes(reader.varint());
    this.#headersAt = reader.at;
  }

  get key(): Buffer | null {
    return bytesAt(this.#raw, this.#keyAt, this.#keyLength);
  }

  /** ms since the epoch. */
  get timestamp(): string {
    return String(this.#timestamp);
  }

  get headers(): IHeaders {
    return this.#headers ??= readHeaders(this.#raw, this.#headersAt);
  }
}

function readHeaders(raw: Buffer, at: number): IHeaders {
  const reader = new Reader(raw, at);
  const headers: Record<string, Buffer | Buffer[]> = {};
  for (let left = reader.varint(); left > 0; left--) {
    const name = reader.bytes(reader.varint())?.toString() ?? "";
    const value = reader.bytes(reader.varint()) ?? Buffer.alloc(0);
    const before = headers[name];
    headers[name] = before === undefined
      ? value
      : Array.isArray(before)
      ? [...before, value]
      : [before, value];
  }
  return headers;
}

/** Reads big-endian numbers, and Kafka's varints. */
class Reader {
  readonly raw: Buffer;
  at: number;
  readonly #view: DataView;

  constructor(raw: Buffer, at = 0) {
    this.raw = raw;
    this.at = at;
    this.#view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  }

  int16(): number {
    this.at += 2;
    return this.int16At(this.at - 2);
  }

  int32(): number {
    this.at += 4;
    return this.int32At(this.at - 4);
  }

  /** Offsets and times are safe integers. */
  int64(): number {
    this.at += 8;
    return this.int64At(this.at - 8);
  }

  int16At(at: number): number {
    return this.#view.getInt16(at);
  }

  int32At(at: number): number {
    return this.#view.getInt32(at);
  }

  int64At(at: number): number {
    return this.#view.getInt32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
  }

  string(): string {
    return this.bytes(this.int16())?.toString() ?? "";
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read);
  }

  /** Zigzag; beyond 32 bits too, for differences of times. */
  varint(): number {
    let value = 0;
    for (let unit = 1;; unit *= 128) {
      const byte = this.raw[this.at++]!;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) break;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** null for a negative length. */
  bytes(length: number): Buffer | null {
    this.at += Math.max(0, length);
    return bytesAt(this.raw, this.at - Math.max(0, length), length);
  }
}

function bytesAt(raw: Buffer, at: number, length: number): Buffer | null {
  return length < 0 ? null : Buffer.from(raw.buffer, raw.byteOffset + at, length);
}
