/**
 * What every service tells of its process: version, memory, CPU, and how late its event loop is.
 *
 * @module
 */

import process from "node:process";
import { Counter, Gauge, type Registry } from "prom-client";
import { version } from "../core/version.ts";

/** Registers them; names as every Prometheus client has them, where there is one. */
export function addProcessMetrics(registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory of this process.",
    registers,
    collect() {
      this.set(Deno.memoryUsage().rss);
    },
  });
  new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time that this process has used, of all threads.",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  const startedAt = Date.now() / 1000;
  new Gauge({
    name: "process_start_time_seconds",
    help: "When this process started, seconds since 1970.",
    registers,
    collect() {
      this.set(startedAt);
    },
  });
  const delay = watchEventLoop();
  new Gauge({
    name: "tapehouse_event_loop_delay_seconds",
    help: "The longest that the event loop was late within the last 15 to 30 seconds.",
    registers,
    collect() {
      this.set(delay() / 1000);
    },
  });
  new Gauge({
    name: "tapehouse_build_info",
    help: "1; which build this is stands in the labels. commit is TAPEHOUSE_COMMIT of the environment.",
    labelNames: ["version", "commit", "deno"],
    registers,
  }).set({ version, commit: commit(), deno: Deno.version.deno }, 1);
}

/** Whoever builds an image knows the commit; without rights to read the variable it is unknown. */
function commit(): string {
  const name = { name: "env", variable: "TAPEHOUSE_COMMIT" } as const;
  const isReadable = Deno.permissions.querySync(name).state === "granted";
  return (isReadable && Deno.env.get(name.variable)) || "unknown";
}

const probeMs = 250;
const windowMs = 15_000;

/** @returns tells the longest delay of a timer in the window before this one and in this one, in ms */
function watchEventLoop(): () => number {
  let before = 0;
  let now = 0;
  let windowAt = performance.now();
  let expectedAt = windowAt + probeMs;
  const timer = setInterval(() => {
    const at = performance.now();
    now = Math.max(now, at - expectedAt);
    expectedAt = at + probeMs;
    if (at - windowAt < windowMs) return;
    [before, now, windowAt] = [now, 0, at];
  }, probeMs);
  Deno.unrefTimer(timer);
  return () => Math.max(before, now);
}
