/**
 * What somebody writes who wants the feed in ClickHouse by tonight: kafkajs, JSON.parse, one insert a table and batch, and
 * nothing that keeps a row from being lost or stored twice. A process of its own; `row` inserts each row by itself.
 *
 * @module
 */

import type { KafkaMessage } from "kafkajs";
import { clickhouseVariables, openClickHouse } from "../../lib/clickhouse/client.ts";
import { brokerVariables, openBroker } from "../../lib/kafka/client.ts";
import { topicVariables } from "../../lib/kafka/topic_plan.ts";
import { readConfig } from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";

type Rows = Record<string, unknown>[];

const config = readConfig(["KAFKA_GROUP", ...brokerVariables, ...topicVariables, ...clickhouseVariables]);
const isRowByRow = Deno.args[0] === "row";
const clickhouse = openClickHouse(config);
const consumer = openBroker(config, "loop", createLogger({}, { level: "error" }))
  .consumer({ groupId: config.KAFKA_GROUP });

await consumer.connect();
await consumer.subscribe({ topics: [config.KAFKA_TOPIC, config.KAFKA_LEVEL2_TOPIC], fromBeginning: true });
await consumer.run({
  partitionsConsumedConcurrently: 4,
  eachBatch: async ({ batch: { messages, partition } }) => {
    const rows = rowsOf(messages, partition);
    if (isRowByRow) {
      for (const [table, values] of rows) for (const value of values) await insert(table, [value]);
    } else {
      await Promise.all([...rows].map(([table, values]) => insert(table, values)));
    }
  },
});

async function insert(table: string, values: Rows): Promise<void> {
  await clickhouse.insert({
    table,
    values,
    format: "JSONEachRow",
    clickhouse_settings: { input_format_skip_unknown_fields: 1, date_time_input_format: "best_effort" },
  });
}

function rowsOf(messages: readonly KafkaMessage[], kafka_partition: number): Map<string, Rows> {
  const rows = new Map<string, Rows>();
  const add = (table: string, row: Record<string, unknown>) => {
    const found = rows.get(table);
    if (found === undefined) rows.set(table, [row]);
    else found.push(row);
  };
  for (const { value, headers, offset } of messages) {
    const message = JSON.parse(value!.toString());
    const [micros, source, connection] = String(headers!.stamp).split(" ");
    const received = new Date(Number(micros) / 1000).toISOString();
    const stamp = {
      received_at: received,
      source,
      connection,
      kafka_partition,
      kafka_offset: offset,
    };
    switch (message.type) {
      case "match":
      case "last_match":
        add("trades", { ...message, ...stamp, taker_side: message.side === "sell" ? "buy" : "sell" });
        break;
      case "ticker":
        add("tickers", { ...message, ...stamp, taker_side: message.side });
        break;
      case "heartbeat":
        add("heartbeats", { ...message, ...stamp });
        break;
      case "l2update":
        for (const [side, price, size] of message.changes) {
          const level = { side: side === "buy" ? "bid" : "ask", price, size };
          add("book_changes", { product_id: message.product_id, time: message.time, ...level, ...stamp });
        }
        break;
      case "snapshot":
        for (const side of ["bids", "asks"]) {
          for (const [price, size] of message[side]) {
            const level = { side: side.slice(0, 3), price, size, is_snapshot: true };
            add("book_changes", { product_id: message.product_id, time: received, ...level, ...stamp });
          }
        }
    }
  }
  return rows;
}
