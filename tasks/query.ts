/**
 * `deno task query`: the example queries of sql/examples, listed and run.
 *
 * Exit codes: 0 answered, 1 ClickHouse couldn't, 2 wrong arguments.
 *
 * @module
 */

import { ClickHouseError } from "@clickhouse/client";
import { Command, Option } from "@commander-js/extra-typings";
import { runTask } from "../lib/process/task.ts";
import { readConfig, simulatedNames } from "../lib/process/config.ts";
import { asScript, bind, findQuery, readQueries, renderList, resolve } from "../lib/clickhouse/examples.ts";
import { answerQuery, newestMoments } from "../lib/clickhouse/print_answer.ts";
import { FatalError } from "../lib/core/errors.ts";
import { clickhouseVariables, openClickHouse } from "../lib/clickhouse/client.ts";

const program = new Command("deno task query")
  .description("Run an example query of sql/examples; without a name, list them.")
  .argument("[name]", "which query")
  .option(
    "--param <name=value>",
    "a parameter, again for each; --sql shows what a query has",
    (pair: string, before: string[]) => [...before, pair],
    [] as string[],
  )
  .addOption(
    new Option("--format <format>", "how to print the answer").choices(["table", "csv", "json"] as const)
      .default("table" as const),
  )
  .option("--simulated", "ask market_sim, the simulated data of `deno task dev`")
  .option("--sql", "print the statement with its parameters instead, as clickhouse-client takes it")
  .allowExcessArguments(false)
  .exitOverride();

const encoder = new TextEncoder();

await runTask(async () => {
  program.parse(Deno.args, { from: "user" });
  const [name] = program.processedArgs;
  const { param, format, simulated, sql } = program.opts();
  try {
    const queries = await readQueries();
    if (name === undefined) {
      await print(renderList(queries));
      await print("\ndeno task query NAME --param name=value --format table|csv|json\n");
      return;
    }
    const query = findQuery(queries, name);
    const values = bind(query, param);
    const config = readConfig(clickhouseVariables);
    const database = simulated
      ? simulatedNames(readConfig(["KAFKA_TOPIC", "KAFKA_LEVEL2_TOPIC", "KAFKA_GROUP"])).CLICKHOUSE_DATABASE
      : undefined;
    const clickhouse = openClickHouse({ ...config, ...(database && { CLICKHOUSE_DATABASE: database }) });
    try {
      const bound = resolve(values, await newestMoments(clickhouse, values));
      if (sql) await print(asScript(query, bound));
      else if (await answerQuery(clickhouse, query.statement, bound, format, print)) {
        console.error("more rows than a table shows; --format csv or json prints all");
      }
    } catch (error) {
      const lack = database === undefined
        ? `Database ${config.CLICKHOUSE_DATABASE} lacks what ${name} reads: run \`deno task migrate\` first, or ask the ` +
          "simulated data of `deno task dev` by --simulated."
        : `Database ${database} lacks what ${name} reads: run \`deno task dev --simulate\` first.`;
      throw explained(error, name, lack, config.CLICKHOUSE_URL);
    } finally {
      await clickhouse.close();
    }
  } catch (error) {
    // The reader has seen enough: `| head`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    throw error;
  }
});

async function print(text: string): Promise<void> {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
}

/**
 * What ClickHouse said, as a line that a person can act on.
 *
 * @param lack the line where the database hasn't what the query reads
 */
function explained(error: unknown, name: string, lack: string, url: string): unknown {
  if (error instanceof Deno.errors.BrokenPipe) return error;
  if (!(error instanceof ClickHouseError)) {
    const message = error instanceof Error ? error.message : String(error);
    return new FatalError(`ClickHouse at ${url} (CLICKHOUSE_URL): ${message}`);
  }
  const line =
    error.message.split("\n")[0]?.replace(/: (?:while executing|While processing|In scope) .*/, "") ?? "";
  switch (error.type) {
    case "UNKNOWN_TABLE":
    case "UNKNOWN_FUNCTION":
    case "UNKNOWN_DATABASE":
      return new FatalError(lack);
    case "TIMEOUT_EXCEEDED":
      return new FatalError(`${name} took too long and was stopped: choose a shorter time from … to.`);
    default:
      return new FatalError(`${name}: ${line}`);
  }
}
