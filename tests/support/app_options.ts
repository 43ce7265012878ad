/**
 * The API's options for tests.
 *
 * @module
 */

import type { AppOptions } from "../../lib/api/app.ts";
import { createLogger } from "../../lib/process/log.ts";

/**
 * An API on loopback that lets everybody ask as much as they want, and has neither a page nor a log. What it asks, and how
 * it knows that it is well, each test says itself.
 */
export const openAppOptions: Omit<AppOptions, "clickhouse" | "health"> = {
  databaseName: "none",
  simulated: false,
  host: "127.0.0.1",
  allowedHosts: [],
  tokens: [],
  corsOrigins: [],
  ratePerSecond: 0,
  trustedProxies: { hops: 0 },
  pageFolder: new URL("file:///nonexistent/page/"),
  log: createLogger({}, { write: () => {} }),
};
