/**
 * Prometheus metrics and the health answers of a service.
 *
 * @module
 */

import { Registry } from "prom-client";
import { isLoopback } from "../http/access.ts";
import { isFromThisMachine } from "../http/foreign_page.ts";
import { answerHealth, type HealthChecks, healthPaths } from "./health.ts";
import { addProcessMetrics } from "./process_metrics.ts";

/** A registry that knows the process. */
export function createRegistry(): Registry {
  const registry = new Registry();
  addProcessMetrics(registry);
  return registry;
}

/** From 1 ms to 2 minutes, each bound 1.25 times the last: a quantile read from it is at most 25 % off. */
export const latencyBuckets = Array.from(
  { length: 54 },
  (_, step) => Number((0.001 * 1.25 ** step).toFixed(6)),
);

/** Who answers `/metrics`: its process id. */
const processHeader = "x-process-id";

/** Whether `/metrics` of an address is answered by that process, and not by one that was given the same port. */
export async function answersMetrics(address: string, pid: number): Promise<boolean> {
  const answer = await fetch(`${address}/metrics`);
  await answer.body?.cancel();
  return answer.ok && answer.headers.get(processHeader) === String(pid);
}

/**
 * Serves `/metrics` (Prometheus text) and what health.ts answers. On loopback, pages of other sites are refused.
 *
 * @throws {Deno.errors.AddrInUse} when the port is taken
 */
export function serveMetrics(
  options: { registry: Registry; health: HealthChecks; hostname: string; port: number },
): Deno.HttpServer<Deno.NetAddr> {
  const { registry, health, hostname, port } = options;
  return Deno.serve({ hostname, port, onListen: () => {} }, async (request) => {
    if (isLoopback(hostname) && !isFromThisMachine(request.headers)) {
      return new Response("Refused: this port answers programs of this machine\n", { status: 403 });
    }
    const { pathname } = new URL(request.url);
    if (pathname === "/metrics") {
      return new Response(await registry.metrics(), {
        headers: { "content-type": registry.contentType, [processHeader]: String(Deno.pid) },
      });
    }
    const question = healthPaths[pathname];
    if (question !== undefined) return await answerHealth(health[question]);
    return new Response("Not found: this port serves /metrics, /livez, /readyz and /healthz\n", {
      status: 404,
    });
  });
}
