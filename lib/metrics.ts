/**
 * Prometheus metrics and the health answer of a service.
 *
 * @module
 */

import { Gauge, Registry } from "prom-client";

/** A registry that knows the process's memory. */
export function createRegistry(): Registry {
  const registry = new Registry();
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory of this process.",
    registers: [registry],
    collect() {
      this.set(Deno.memoryUsage().rss);
    },
  });
  return registry;
}

/** From 1 ms to 2 minutes, each bound 1.25 times the last: a quantile read from it is at most 25 % off. */
export const latencyBuckets = Array.from(
  { length: 54 },
  (_, step) => Number((0.001 * 1.25 ** step).toFixed(6)),
);

/** Why a service isn't healthy, or null. */
export type Health = () => string | null;

/**
 * Serves `/metrics` (Prometheus text) and `/healthz` (200 `ok`, or 503 with the reason).
 *
 * @throws {Deno.errors.AddrInUse} when the port is taken
 */
export function serveMetrics(
  options: { registry: Registry; health: Health; hostname: string; port: number },
): Deno.HttpServer<Deno.NetAddr> {
  const { registry, health, hostname, port } = options;
  return Deno.serve({ hostname, port, onListen: () => {} }, async (request) => {
    switch (new URL(request.url).pathname) {
      case "/metrics":
        return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
      case "/healthz": {
        const reason = health();
        return reason === null
          ? new Response("ok\n")
          : new Response(`${reason}\n`, { status: 503, headers: { "retry-after": "1" } });
      }
      default:
        return new Response("Not found: this port serves /metrics and /healthz\n", { status: 404 });
    }
  });
}
