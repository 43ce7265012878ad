/**
 * `deno task kafka`: the embedded Kafka in the foreground, until Ctrl-C or SIGTERM.
 *
 * @module
 */

import { Command } from "@commander-js/extra-typings";
import { startKafka } from "../embedded/kafka/start.ts";
import { kafkaVersion } from "../embedded/kafka/install.ts";
import { readConfig } from "../lib/process/config.ts";
import { ConfigError, FatalError } from "../lib/core/errors.ts";
import { tolerateLostOutput } from "../lib/process/output.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";

new Command("deno task kafka")
  .description(
    "Runs Apache Kafka by itself, without Docker. EMBEDDED_KAFKA_PORT chooses the port, TAPEHOUSE_HOME the folder.",
  )
  .allowExcessArguments(false)
  .parse();

tolerateLostOutput();
const stop = stopOnSignal();

try {
  const { EMBEDDED_KAFKA_PORT: port, TAPEHOUSE_HOME: home } = readConfig([
    "EMBEDDED_KAFKA_PORT",
    "TAPEHOUSE_HOME",
  ]);
  console.log(`Kafka ${kafkaVersion} is starting; its log is ${home}/logs/kafka.log`);
  const kafka = await startKafka({ home, port, log: console.log, signal: stop.signal });
  console.log(`Kafka answers on ${kafka.brokers} (Ctrl-C stops it)`);
  stop.signal.addEventListener("abort", () => void kafka.stop());
  if (stop.signal.aborted) await kafka.stop();
  const status = await kafka.exited;
  if (!stop.signal.aborted) {
    throw new FatalError(
      `Kafka ended by itself (exit code ${status.code}). Its log ${home}/logs/kafka.log says why.`,
    );
  }
} catch (error) {
  if (error !== stop.signal.reason) {
    if (!(error instanceof FatalError || error instanceof ConfigError)) throw error;
    console.error(error.message);
    Deno.exit(error instanceof ConfigError ? 2 : 1);
  }
}
console.log("Kafka is stopped");
Deno.exit(0);
