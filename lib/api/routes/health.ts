/**
 * `/livez`, `/readyz` and `/healthz`.
 *
 * @module
 */

import { answerHealth, type HealthChecks, healthPaths } from "../../process/health.ts";
import type { Api } from "../env.ts";

/** Adds all three. */
export function addHealth(app: Api, checks: HealthChecks): void {
  for (const [path, question] of Object.entries(healthPaths)) {
    app.get(path, () => answerHealth(checks[question]));
  }
}
