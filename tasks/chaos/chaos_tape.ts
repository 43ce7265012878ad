/**
 * A tape under chaos: the market that is never touched, the processes that are, and what a test needs to look into them.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { ClickHouseClient } from "@clickhouse/client";
import type { Kafka } from "kafkajs";
import { freePort } from "../../embedded/process/ports.ts";
import { startExchange } from "../../exchange/server.ts";
import { createSimulation } from "../../exchange/simulation.ts";
import type { Source } from "../../exchange/source.ts";
import { openClickHouse } from "../../lib/clickhouse/client.ts";
import { rows } from "../../lib/clickhouse/rows.ts";
import { retry } from "../../lib/core/retry.ts";
import { nowMicros } from "../../lib/core/time.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { type TopicSettings, topicSettings } from "../../lib/kafka/topic_plan.ts";
import {
  type Config,
  readConfig,
  type Variable,
  variables as allVariables,
} from "../../lib/process/config.ts";
import { createLogger } from "../../lib/process/log.ts";
import { setClock } from "./clock.ts";
import { members, withOwnClock } from "./members.ts";
import { createRig, type Rig } from "./rig.ts";
import { createWitness, type WithAdmin, type Witness } from "./witness.ts";

/** What the exchange lists. */
export const products: readonly string[] = ["BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"];
/** Nothing takes so long to recover unless it never will. */
export const completeWithinMs = 180_000;

/** What a tape is made from. */
export interface TapeOptions {
  /** Another seed, another market. */
  seed: string;
  /** Matches and tickers a second. */
  rate: number;
  /** The folder of all its data, logs and clocks. */
  home: string;
  /** The library that gives a process a clock of its own; undefined where there is none. */
  clockLibrary: string | undefined;
  signal: AbortSignal;
}

/** A tape, and what may be done with it. */
export interface Tape {
  home: string;
  signal: AbortSignal;
  config: Config<Variable>;
  /** The market: it knows what is true. */
  market: Source;
  /** The market's clock stands still from now on. */
  freezeMarket(): void;
  rig: Rig;
  witness: Witness;
  group: string;
  topics: TopicSettings[];
  withAdmin: WithAdmin;
  clickhouse: ClickHouseClient;
  /** Rows by column, 64-bit numbers as text. */
  query(statement: string): Promise<Record<string, string>[]>;
  /** Stops every process, the servers last, and the exchange. */
  close(): Promise<void>;
}

/** Opens a tape of which only the exchange runs yet. */
export async function openTape(options: TapeOptions): Promise<Tape> {
  const { seed, rate, home, clockLibrary, signal } = options;
  let frozenAt: number | undefined;
  const market = createSimulation({ seed, rate, products, clock: () => frozenAt ?? nowMicros() });
  const exchange = await startExchange({ source: market });
  const [kafkaPort, clickhousePort] = [freePort(), freePort()];
  const password = crypto.randomUUID();
  const variables = serviceVariables(exchange, kafkaPort, clickhousePort, password);
  const config = readConfig(Object.keys(allVariables) as Variable[], (name) => variables[name]);
  for (const member of withOwnClock) await setClock(home, member, 0);

  const topics = topicSettings(config);
  const group = config.KAFKA_GROUP;
  const kafka = openBroker(config, "chaos", createLogger({}, { write: () => {} }));
  const withAdmin = createWithAdmin(kafka, signal);
  const clickhouse = openClickHouse(config);
  const rig = createRig({
    ...{ home, kafkaPort, clickhousePort, password, variables, clockLibrary, signal },
    onGroupToReset: () => resetGroup(variables, signal),
  });
  return {
    ...{ home, signal, config, market, rig, group, topics, withAdmin, clickhouse },
    witness: createWitness({ kafka, withAdmin, group, topics: topics.map(({ topic }) => topic), signal }),
    freezeMarket: () => {
      frozenAt = nowMicros();
    },
    query: (statement) =>
      rows(clickhouse, statement, {}, { settings: { output_format_json_quote_64bit_integers: 1 } }),
    async close() {
      for (const member of members) await rig.stop(member);
      await clickhouse.close();
      await exchange.stop();
    },
  };
}

/** What the services are told: the variables of their environment. */
function serviceVariables(
  exchange: { wsUrl: string; restUrl: string },
  kafkaPort: number,
  clickhousePort: number,
  password: string,
): Record<string, string> {
  return {
    COINBASE_WS_URL: exchange.wsUrl,
    COINBASE_REST_URL: exchange.restUrl,
    COINBASE_PRODUCTS: products.join(),
    FEED_SOURCE: "simulator",
    KAFKA_BROKERS: `127.0.0.1:${kafkaPort}`,
    // Short, for another to take over soon; long enough for a machine on which all of this runs at once.
    KAFKA_SESSION_MS: "6000",
    CLICKHOUSE_URL: `http://127.0.0.1:${clickhousePort}`,
    CLICKHOUSE_PASSWORD: password,
    CLICKHOUSE_DATABASE: "chaos",
    BACKFILL_INTERVAL_SECONDS: "1",
  };
}

function createWithAdmin(kafka: Kafka, signal: AbortSignal): WithAdmin {
  return (use) =>
    retry(async () => {
      const admin = kafka.admin({ retry: { retries: 2 } });
      await admin.connect();
      try {
        return await use(admin);
      } finally {
        await admin.disconnect();
      }
    }, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(completeWithinMs)]),
      maximumMs: 1000,
      onError: () => {},
    });
}

/** What the operator does when the consumers say that their group must begin anew. */
async function resetGroup(env: Record<string, string>, signal: AbortSignal): Promise<void> {
  await retry(async () => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-P=topics", "tasks/topics.ts", "--reset-group"],
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      env,
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  }, { signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]), maximumMs: 1000, onError: () => {} });
}
