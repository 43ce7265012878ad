/**
 * What every entrypoint shares: configuration errors, signals, metrics, the exit code.
 *
 * @module
 */

import type { Registry } from "prom-client";
import { type Config, readConfig, type Variable, whyDotEnvIsNotRead } from "./config.ts";
import { ConfigError } from "../core/errors.ts";
import { type Health, reasonList } from "./health.ts";
import { createLogger, type Logger } from "./log.ts";
import { createRegistry, serveMetrics } from "./metrics_server.ts";
import { tolerateLostOutput } from "./output.ts";
import { stopOnSignal } from "./stop_signal.ts";
import { createWatchdog, type Loop, type Watchdog } from "./watchdog.ts";
import { FatalError } from "../core/errors.ts";

/** Read by every service. */
const common = ["LOG_LEVEL", "METRICS_HOST", "METRICS_PORT"] as const satisfies readonly Variable[];

/** What a service tells of itself by. */
export interface Reporting {
  log: Logger;
  registry: Registry;
  /** Says what `/readyz` answers from now on: what is missing. */
  setHealth(health: Health): void;
  /** Watches the main loop: `/livez` says when it is stuck. */
  watch(loop: Loop): void;
}

/** What a service is given to work with. */
export interface Service<K extends Variable> extends Reporting {
  config: Config<K>;
  /** Aborts on SIGTERM, SIGINT and SIGHUP: finish what is begun, then return. */
  signal: AbortSignal;
}

/**
 * Runs an entrypoint until it returns, and exits the process: 0 when it ended as asked, 2 for a wrong environment
 * variable, 1 for anything else.
 *
 * @param options.metricsPort where METRICS_PORT isn't set
 * @param options.variables those that the service reads
 */
export async function runService<const K extends Variable>(
  options: { name: string; metricsPort: number; variables: readonly K[] },
  main: (service: Service<K>) => Promise<void>,
): Promise<never> {
  tolerateLostOutput();
  let log = createLogger({ service: options.name });
  try {
    const config = readConfig([...options.variables, ...common]) as Config<K | (typeof common)[number]>;
    log = createLogger({ service: options.name }, { level: config.LOG_LEVEL });
    const registry = createRegistry();
    let health: Health = () => "starting";
    const hostname = config.METRICS_HOST;
    const port = config.METRICS_PORT ?? options.metricsPort;
    const watchdogs: Watchdog[] = [];
    const live = () => watchdogs.flatMap((watchdog) => watchdog.reason() ?? []);
    const ready = async () => [...(signal.aborted ? ["stopping"] : []), ...reasonList(await health())];
    const { signal } = stopOnSignal({ onStop: (name) => log.info("stopping", { signal: name }) });
    const server = serveMetricsOrExplain({ registry, health: { live, ready }, hostname, port });
    const withoutDotEnv = whyDotEnvIsNotRead();
    if (withoutDotEnv) log.debug(".env is not read", { reason: withoutDotEnv });
    log.info("started", { metrics: `http://${hostname}:${port}/metrics` });
    try {
      await main({
        config,
        log,
        registry,
        signal,
        setHealth: (next) => health = next,
        watch: (loop) => watchdogs.push(createWatchdog(loop, { onStuck: (reason) => log.error(reason) })),
      });
    } catch (error) {
      // What was interrupted by the stop isn't a failure; what couldn't be finished for another reason is.
      if (!signal.aborted || error instanceof FatalError) throw error;
    }
    await server.shutdown();
    log.info("stopped");
    Deno.exit(0);
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const line of error.message.split("\n")) log.error(line);
      Deno.exit(2);
    }
    if (error instanceof FatalError) log.error(error.message);
    else log.error(String(error), { stack: error instanceof Error ? error.stack : undefined });
    Deno.exit(1);
  }
}

function serveMetricsOrExplain(options: Parameters<typeof serveMetrics>[0]) {
  try {
    return serveMetrics(options);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new FatalError(
      `Port ${options.port} for the metrics is in use. Set METRICS_PORT to a free one.`,
    );
  }
}
