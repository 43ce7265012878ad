/**
 * Takes what a developer has configured away from a test and all that it starts: with their CLICKHOUSE_URL and
 * KAFKA_BROKERS, `deno task dev` would drop their `market_sim` and empty their topics. An empty variable is as good as none
 * and wins over a `.env` of the working directory. Importing this is enough; every file of tests/ that starts something does.
 *
 * @module
 */

import { type Variable, variables } from "../../lib/process/config.ts";

for (const name of Object.keys(variables) as Variable[]) Deno.env.set(name, "");
