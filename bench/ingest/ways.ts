/**
 * The ways from a topic into ClickHouse that are measured: ours, and those that a user would take instead.
 *
 * @module
 */

import { turnOff, turnOn } from "../../lib/clickhouse/kafka_engine.ts";
import { quoteText } from "../../lib/clickhouse/quote.ts";
import { tuples } from "../../lib/clickhouse/rows.ts";
import { columns, type Table, tables } from "../../lib/ingest/rows.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { createLogger } from "../../lib/process/log.ts";
import type { Tape } from "../../tests/support/tape.ts";
import { root } from "../../tests/support/tape.ts";

/** A way that has begun to store. */
export interface Running {
  /** Its own process; undefined where ClickHouse does it all. */
  pid?: number;
  stop(): Promise<void>;
}

/** A way to store what is in a tape's topics. */
export interface Way {
  name: string;
  /** Begins; its caller sees by the rows when it is done. */
  begin(tape: Tape): Promise<Running>;
  /** It is so slow that this share of the rows must do. @default 1 */
  share?: number;
}

/** consumer.ts, as it is. */
export const ours: Way = {
  name: "consumer.ts",
  async begin(tape) {
    const { pid, stop } = await tape.start("consumer");
    return { pid, stop };
  },
};

/** `deno task migrate --kafka-engine`: ClickHouse reads, validates and stores. */
export const engine: Way = {
  name: "Kafka engine, validating",
  async begin({ clickhouse, config }) {
    const admin = openBroker(config, "bench", createLogger({}, { level: "error" })).admin();
    await admin.connect();
    await turnOn(clickhouse, admin, config);
    return {
      async stop() {
        await turnOff(clickhouse, admin, config);
        await admin.disconnect();
      },
    };
  },
};

/** The Kafka table of ClickHouse's documentation, with one view into `trades`: nothing is looked at. Trades only. */
export const plainEngine: Way = {
  name: "Kafka engine, plain",
  async begin({ clickhouse, config }) {
    const settings = [
      `kafka_broker_list = ${quoteText(config.KAFKA_BROKERS.join())}`,
      `kafka_topic_list = ${quoteText(config.KAFKA_TOPIC)}`,
      `kafka_group_name = ${quoteText(`${config.KAFKA_GROUP}_plain`)}`,
      "kafka_format = 'JSONEachRow'",
      // As the validating one: by itself it would make one block of a million messages, seconds later.
      "kafka_max_block_size = 65000",
      "kafka_flush_interval_ms = 1000",
      "input_format_skip_unknown_fields = 1",
      "date_time_input_format = 'best_effort'",
    ];
    const statements = [
      `CREATE TABLE plain_messages (product_id String, trade_id UInt64, time DateTime64(6, 'UTC'),
         price Decimal(38, 18), size Decimal(38, 18), side String, sequence UInt64,
         maker_order_id Nullable(UUID), taker_order_id Nullable(UUID))
       ENGINE = Kafka SETTINGS ${settings.join(", ")}`,
      `CREATE MATERIALIZED VIEW plain_messages_mv TO trades AS
       SELECT product_id, trade_id, time, price, size, CAST(if(side = 'sell', 'buy', 'sell'),
         'Enum8(\\'buy\\' = 1, \\'sell\\' = 2)') AS taker_side, sequence, maker_order_id, taker_order_id,
         toDateTime64(_timestamp_ms, 6, 'UTC') AS received_at, 'simulator' AS source, '' AS connection,
         _partition AS kafka_partition, _offset AS kafka_offset, 'plain' AS batch
       FROM plain_messages`,
    ];
    for (const query of statements) await clickhouse.command({ query });
    return {
      async stop() {
        for (const name of ["plain_messages_mv", "plain_messages"]) {
          await clickhouse.command({ query: `DROP TABLE ${name} SYNC` });
        }
      },
    };
  },
};

/** kafkajs_loop.ts. */
export const loop: Way = {
  name: "kafkajs, an insert a batch",
  begin: (tape) => Promise.resolve(beginLoop(tape, [])),
};

/** kafkajs_loop.ts, an insert a row. */
export const rowByRow: Way = {
  name: "kafkajs, an insert a row",
  share: 0.001,
  begin: (tape) => Promise.resolve(beginLoop(tape, ["row"])),
};

function beginLoop(tape: Tape, args: string[]): Running {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `${root}bench/ingest/kafkajs_loop.ts`, ...args],
    env: tape.env,
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  return {
    pid: child.pid,
    async stop() {
      // In order it would first end its batch, which row by row takes minutes.
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** A block that is ready to be sent. */
interface Block {
  table: Table;
  bytes: Uint8Array<ArrayBuffer>;
}

/** Rows of a block: about what a full batch of consumer.ts holds. */
const blockRows = 20_000;

/** Everything that is stored in a tape, as blocks in ClickHouse's own format. */
export async function readBlocks({ clickhouse, env }: Tape): Promise<Block[]> {
  const blocks: Block[] = [];
  for (const table of tables) {
    const [[rows = 0] = []] = await tuples<[rows: number]>(clickhouse, `SELECT count() FROM ${table}`);
    for (let from = 0; from < rows; from += blockRows) {
      const query = `SELECT ${columns[table].join()} FROM ${table} ORDER BY kafka_partition, kafka_offset
                     LIMIT ${blockRows} OFFSET ${from} FORMAT Native`;
      const answer = await send(env, query);
      blocks.push({ table, bytes: new Uint8Array(await answer.arrayBuffer()) });
    }
  }
  return blocks;
}

/** The limit: what is to be stored is there already, in the format that costs ClickHouse least; two inserts at a time. */
export function limit(blocks: readonly Block[]): Way {
  return {
    name: "limit: prepared blocks",
    begin({ env }) {
      const left = blocks.entries();
      const work = async () => {
        for (const [at, { table, bytes }] of left) {
          const query = `INSERT INTO ${table} (${columns[table].join()}) FORMAT Native`;
          const settings = {
            insert_deduplication_token: `limit-${at}`,
            max_partitions_per_insert_block: "0",
          };
          await (await send(env, query, settings, bytes)).text();
        }
      };
      const all = Promise.all([work(), work()]);
      // Told to whoever stops it: until then its rows are waited for.
      all.catch(() => {});
      return Promise.resolve({ stop: () => all.then(() => {}) });
    },
  };
}

async function send(
  { CLICKHOUSE_URL, CLICKHOUSE_PASSWORD = "", CLICKHOUSE_DATABASE = "" }: Record<string, string>,
  query: string,
  settings: Record<string, string> = {},
  body: Uint8Array<ArrayBuffer> | null = null,
): Promise<Response> {
  const parameters = new URLSearchParams({ database: CLICKHOUSE_DATABASE, query, ...settings });
  const answer = await fetch(`${CLICKHOUSE_URL}/?${parameters}`, {
    method: "POST",
    headers: { "x-clickhouse-user": "default", "x-clickhouse-key": CLICKHOUSE_PASSWORD },
    body,
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
