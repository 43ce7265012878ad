/**
 * What every entrypoint shares: configuration errors, signals, metrics, the exit code.
 *
 * @module
 */

import type { Registry } from "prom-client";
import { type Config, ConfigError, readConfig, type Variable } from "./config.ts";
import { createLogger, type Logger } from "./log.ts";
import { createRegistry, type Health, serveMetrics } from "./metrics.ts";

/** A reason to stop that a person can act on: logged as one line, without a stack trace. */
export class FatalError extends Error {
  override name = "FatalError";
}

/** Read by every service. */
const common = ["LOG_LEVEL", "METRICS_HOST", "METRICS_PORT"] as const satisfies readonly Variable[];

/** What a service is given to work with. */
export interface Service<K extends Variable> {
  config: Config<K>;
  log: Logger;
  registry: Registry;
  /** Aborts on SIGTERM and SIGINT: finish what is begun, then return. */
  signal: AbortSignal;
  /** Says what `/healthz` answers from now on. */
  setHealth(health: Health): void;
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
  let log = createLogger({ service: options.name });
  try {
    const config = readConfig([...options.variables, ...common]) as Config<K | (typeof common)[number]>;
    log = createLogger({ service: options.name }, { level: config.LOG_LEVEL });
    const registry = createRegistry();
    let health: Health = () => "starting";
    const hostname = config.METRICS_HOST;
    const port = config.METRICS_PORT ?? options.metricsPort;
    const server = serveMetricsOrExplain({ registry, health: () => health(), hostname, port });
    const signal = stopSignal(log);
    log.info("started", { metrics: `http://${hostname}:${port}/metrics` });
    try {
      await main({ config, log, registry, signal, setHealth: (next) => health = next });
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

/** The first SIGTERM or SIGINT aborts; the second ends the process at once. */
function stopSignal(log: Logger): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => {
      if (controller.signal.aborted) Deno.exit(130);
      log.info("stopping", { signal: name });
      controller.abort();
    });
  }
  return controller.signal;
}
