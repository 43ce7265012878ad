/**
 * What a service says of itself to whoever watches it: a supervisor, a load balancer, a person with curl.
 *
 * | path | question | 200 | 503 |
 * |---|---|---|---|
 * | `/livez` | would a restart help? | the process goes on by itself | its main loop is stuck; no answer at all: the event loop is |
 * | `/readyz` | can it do its work now? | nothing is missing | what is missing, a line each |
 * | `/healthz` | the same as `/readyz` | | |
 *
 * Liveness never depends on another system: a service that waits for Kafka, ClickHouse or the exchange is alive, and to
 * kill it would only lose what it holds.
 *
 * @module
 */

/** What is missing, a reason each; null or empty when nothing is. Must be cheap: it is asked at each request. */
export type Health = () => HealthReasons | Promise<HealthReasons>;
type HealthReasons = string | null | readonly string[];

/** Both questions. */
export interface HealthChecks {
  /** Why the process is stuck in itself. */
  live: Health;
  /** Why it can't do its work now. */
  ready: Health;
}

/** Path → which of the questions it asks. */
export const healthPaths: Readonly<Record<string, keyof HealthChecks>> = {
  "/livez": "live",
  "/readyz": "ready",
  "/healthz": "ready",
};

/** The answer of a check. */
export async function answerHealth(check: Health): Promise<Response> {
  const reasons = reasonList(await check());
  const headers = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
  if (reasons.length === 0) return new Response("ok\n", { headers });
  return new Response(reasons.map((reason) => `${reason}\n`).join(""), {
    status: 503,
    headers: { ...headers, "retry-after": "1" },
  });
}

/** One line a reason, whatever an error's message looks like. */
export function reasonList(reasons: HealthReasons): string[] {
  const list = typeof reasons === "string" ? [reasons] : reasons ?? [];
  return list.map((reason) => reason.replaceAll(/\s*\n\s*/g, " ").trim()).filter((reason) => reason !== "");
}
