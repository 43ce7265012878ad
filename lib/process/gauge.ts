/**
 * Gauges that are computed when they are asked for: they can't be out of date.
 *
 * @module
 */

import { Gauge, type Registry } from "prom-client";
import { nowMicros } from "../core/time.ts";

/** Seconds since a moment in µs since the epoch, by this machine's clock; 0 when there is none. */
export function ageSeconds(micros: number | undefined): number {
  return micros === undefined ? 0 : Math.max(0, (nowMicros() - micros) / 1e6);
}

/** A gauge that is computed when it is asked for. */
export function gauge(
  registers: Registry[],
  name: string,
  { help, value }: { help: string; value: () => number },
): void {
  new Gauge({
    name,
    help,
    registers,
    collect() {
      this.set(value());
    },
  });
}
