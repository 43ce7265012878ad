/**
 * The names that users write into their own code: columns, metrics, fields, variables, options. They are listed in
 * public_names.txt, so that a change of one is seen in review. Each is taken from the thing itself: ClickHouse, the
 * services, schemas, `--help`.
 *
 * Anew: `deno run -A tests/support/public_names.ts` writes the file.
 *
 * @module
 */

import { variables } from "../../lib/process/config.ts";
import { apiNames, problemNames } from "./public_names/api.ts";
import { columnNames } from "./public_names/columns.ts";
import { topicNames } from "./public_names/feed.ts";
import { metricNames } from "./public_names/metrics.ts";
import { messageNames, requestNames } from "./public_names/stream.ts";
import { doctorNames, queryNames, taskNames } from "./public_names/tasks.ts";
import { root, type Servers, startServers } from "./tape.ts";

/** Where they are listed. */
export const listFile = `${root}tests/support/public_names.txt`;

/** All of them, a name a line under the heading of its kind. */
export async function publicNames(servers: Servers): Promise<string> {
  const kinds: [string, string[]][] = [
    ["Columns of tables and views", await columnNames(servers.clickhouse.env)],
    ["Metrics", await metricNames(servers)],
    ["Parameters and fields of the API, and their values", await apiNames()],
    ["Problems of the API", await problemNames()],
    ["The stream: what a client says", requestNames()],
    ["The stream: what a client hears", await messageNames(servers)],
    ["Topics: headers and feed events", topicNames()],
    ["deno task doctor --json", await doctorNames()],
    ["Environment variables", Object.keys(variables).sort()],
    ["Tasks and their options", await taskNames()],
    ["Example queries and their parameters", await queryNames()],
  ];
  return kinds.map(([kind, names]) => `# ${kind}\n${names.join("\n")}\n`).join("\n");
}

if (import.meta.main) {
  const servers = await startServers();
  try {
    await Deno.writeTextFile(listFile, await publicNames(servers));
  } finally {
    await servers.stop();
  }
}
