/**
 * Places at which a consumer can be made to stand still, so that a test can kill it exactly there: between two steps of
 * the protocol of lib/consume. What happens then can't be tested from outside by chance or by a sleep, and code that is
 * built differently for tests would prove nothing; so this is part of the product. Not set, it costs nothing.
 *
 * TAPEHOUSE_FAULT_POINT names the place. It is no setting for people, isn't in `.env.example`, and the permission set of
 * the consumer doesn't let it be read: a consumer as it is run in earnest can't be made to stand still.
 *
 * @module
 */

import { ConfigError } from "../core/errors.ts";
import type { Logger } from "./log.ts";

/** The places, in the order in which a batch passes them. */
export const faultPoints = [
  "before the in-flight commit",
  "after the in-flight commit",
  "after the inserts",
  "after the final commit",
] as const;

/** One of the places. */
export type FaultPoint = (typeof faultPoints)[number];

/** The line that says that the place was reached; its field `point` names it. */
export const reachedMessage = "standing still at a fault point until SIGCONT";

const variable = "TAPEHOUSE_FAULT_POINT";

/** The place that is asked for; undefined also when this process may not read it. */
export function chosenFaultPoint(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) || undefined : undefined;
}

/**
 * Makes what a batch calls at each place: at the chosen one the first batch stands still until the process receives
 * SIGCONT, then never again.
 *
 * @param chosen what `chosenFaultPoint` says
 * @throws {ConfigError} when there is no such place
 */
export function openFaultPoint(
  chosen: string,
  log: Logger,
): (point: FaultPoint, where: Record<string, unknown>) => Promise<void> {
  if (!faultPoints.some((point) => point === chosen)) {
    throw new ConfigError(`${variable}=${chosen}: expected one of: ${faultPoints.join(", ")}`);
  }
  let reached = false;
  return async (point, where) => {
    if (point !== chosen || reached) return;
    reached = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    Deno.addSignalListener("SIGCONT", resolve);
    log.warn(reachedMessage, { point, ...where });
    await promise;
    Deno.removeSignalListener("SIGCONT", resolve);
  };
}
