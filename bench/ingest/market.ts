/**
 * The market in Kafka, as producer.ts would have sent it, and the rows that it makes.
 *
 * @module
 */

import { addRows, emptyRows, type Table, tables } from "../../lib/ingest/rows.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { prepareTopics } from "../../lib/kafka/topics.ts";
import { topicSettings } from "../../lib/kafka/topic_plan.ts";
import type { Config, Variable } from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";
import { frameSteps, type MarketOptions, source, toRecord } from "../market.ts";

/** What is in the topics. */
export interface Filled {
  messages: number;
  /** Rows that they make. */
  rows: Record<Table, number>;
}

/** Makes the topics and fills them; the newest message is of now. */
export async function fillTopics(config: Config<Variable>, options: MarketOptions): Promise<Filled> {
  const log = createLogger({}, { level: "error" });
  const kafka = openBroker(config, "bench", log);
  await prepareTopics(kafka, topicSettings(config), AbortSignal.timeout(60_000), log);
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const filled: Filled = { messages: 0, rows: countOf(emptyRows()) };
  for (const frames of frameSteps(options)) {
    const records = frames.map((frame) => toRecord(frame, config));
    const rows = emptyRows();
    for (const { topic, item, receivedAt, message: { value } } of records) {
      addRows(rows, {
        topic,
        partition: 0,
        offset: 0,
        value: new TextEncoder().encode(String(value)),
        receivedAt,
        source,
        connection: item.connection,
      });
    }
    await producer.sendBatch({
      topicMessages: [...Map.groupBy(records, ({ topic }) => topic)].map(([topic, own]) => ({
        topic,
        messages: own.map(({ message }) => message),
      })),
    });
    filled.messages += frames.length;
    const counts = countOf(rows);
    for (const table of tables) filled.rows[table] += counts[table];
  }
  await producer.disconnect();
  return filled;
}

const countOf = (rows: ReturnType<typeof emptyRows>) =>
  Object.fromEntries(tables.map((table) => [table, rows[table].length])) as Record<Table, number>;
