/**
 * What `deno task dev` says.
 *
 * @module
 */

import { curlLine } from "../../embedded/clickhouse/start.ts";
import type { ProcessGroup } from "../../embedded/process/group.ts";
import { sleep } from "../../lib/core/retry.ts";
import { read, statusText } from "../../lib/ops/status_line.ts";
import { isSet } from "../../lib/process/config.ts";
import { type Environment, settingsOf } from "./configuration.ts";

/** A line of its own, also where the status line stands. */
export function say(text: string): void {
  console.log(Deno.stdout.isTerminal() ? `\r\x1b[K${text}` : text);
}

/** Shows the state once a second on a terminal, every five seconds as plain lines elsewhere. */
export async function watch(metrics: Record<string, string>, group: ProcessGroup): Promise<void> {
  const terminal = Deno.stdout.isTerminal();
  const everyMs = terminal ? 1000 : 5000;
  let before = await read(metrics);
  while (!group.stop.signal.aborted) {
    await sleep(everyMs, group.stop.signal);
    const now = await read(metrics);
    if (group.stop.signal.aborted) break;
    if (before !== undefined && now !== undefined) {
      const line = statusText(before, now);
      if (terminal) Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[K${line}`));
      else console.log(line);
    }
    before = now ?? before;
  }
  if (terminal) console.log();
}

export function printUrls(env: Environment, metrics: Record<string, string>, group: ProcessGroup): void {
  const {
    CLICKHOUSE_URL,
    CLICKHOUSE_USER,
    CLICKHOUSE_PASSWORD,
    CLICKHOUSE_DATABASE,
    KAFKA_BROKERS,
    KAFKA_TOPIC,
    KAFKA_LEVEL2_TOPIC,
    COINBASE_WS_URL,
    API_PORT,
    TAPEHOUSE_HOME,
  } = settingsOf(env);
  const page = `http://127.0.0.1:${API_PORT}`;
  const address = `${CLICKHOUSE_URL}/?database=${CLICKHOUSE_DATABASE}`;
  const query = "SELECT * FROM candles_1m ORDER BY time DESC LIMIT 5 FORMAT PrettyCompact";
  // A server of the person's own: curl asks for the password.
  const login = CLICKHOUSE_PASSWORD === "" ? "" : ` --user '${CLICKHOUSE_USER}'`;
  const curl = isSet("CLICKHOUSE_URL")
    ? `curl${login} '${address}' -d '${query}'`
    : curlLine(TAPEHOUSE_HOME, address, query);
  console.log(`
  page        ${page}/
  API         ${page}/docs
  exchange    ${COINBASE_WS_URL}
  Kafka       ${KAFKA_BROKERS.join(",")}  topics ${KAFKA_TOPIC}, ${KAFKA_LEVEL2_TOPIC}
  ClickHouse  ${CLICKHOUSE_URL}  database ${CLICKHOUSE_DATABASE}
  metrics     ${metrics.producer}/metrics (producer)  ${metrics.consumer}/metrics (consumer)
              ${metrics.backfill}/metrics (backfill)  ${metrics.api}/metrics (api)
              ${metrics.rollup}/metrics (rollup)
  logs        ${group.logs}

  ${curl}
  deno task doctor${CLICKHOUSE_DATABASE === "market_sim" ? " --simulated" : ""}
`);
}
