/**
 * `deno task bench`: measures, writes bench/results, and renders the figures of the documents from there.
 * A subcommand each; the code is in bench/.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { benchAnalytics } from "../bench/analytics.ts";
import { benchApi } from "../bench/api.ts";
import { countFigures, renderFigures, renderTable } from "../bench/figures.ts";
import { benchIngest } from "../bench/ingest.ts";
import { benchPage } from "../bench/page.ts";
import { benchProduce } from "../bench/produce.ts";
import { circumstances, type Measured, readResult, writeResult } from "../bench/results.ts";
import { benchSoak } from "../bench/soak.ts";
import { benchSteps } from "../bench/steps.ts";
import { benchStorage } from "../bench/storage.ts";
import { benchStream, streamLoads } from "../bench/stream.ts";
import { benchTape } from "../bench/tape.ts";
import { products as simulatedProducts } from "../exchange/products.ts";
import { wholeNumber } from "../lib/core/options.ts";
import { runTask } from "../lib/process/task.ts";
import { formatFiles } from "./format_files.ts";

const positive = wholeNumber(1, 999_999_999);
const benchProducts = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD", "LTC-USD"];
// What the ways that are measured in turn share.
const rounds = new Option("--rounds <number>", "how often each way has its turn").argParser(positive).default(
  5,
);
const seed = new Option("--seed <text>", "another seed, another market").default("bench");
const products = new Option("--products <ids>", "products of the simulated market, with commas")
  .argParser(listedProducts).default(benchProducts);
const root = fileURLToPath(new URL("..", import.meta.url));

const program = new Command("deno task bench")
  .description("Measure a part of tapehouse on this machine; bench/results keeps what was measured.")
  .exitOverride();

program.command("tape")
  .description("deno task dev at several rates: frames a second, and how fresh the rows are")
  .option("--rates <numbers>", "trades and tickers a second, with commas", rates, [60, 1000, 5000, 10_000])
  .option("--seconds <number>", "how long each rate runs", positive, 60)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ rates, seconds }) => measure("tape", () => benchTape(rates, seconds)));

program.command("soak")
  .description("deno task dev for long: freshness, CPU, memory, files and parts over time")
  .option("--rates <numbers>", "trades and tickers a second, with commas", rates, [60, 5000])
  .option("--minutes <number>", "how long each rate runs", positive, 30)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ rates, minutes }) => measure("soak", () => benchSoak(rates, minutes)));

program.command("produce")
  .description(
    "WebSocket → topics: producer.ts beside kafkajs alone and the WebSocket alone, and at several rates",
  )
  .option("--messages <number>", "frames of the market", positive, 400_000)
  .addOption(rounds)
  .option("--rates <numbers>", "frames a second that are offered, with commas", rates, [
    10_000,
    20_000,
    30_000,
    40_000,
  ])
  .addOption(seed)
  .addOption(products)
  .allowExcessArguments(false)
  .exitOverride()
  .action((options) => measure("produce", () => benchProduce(options)));

program.command("ingest")
  .description("topic → rows: consumer.ts beside ClickHouse's Kafka engine, a kafkajs loop, and the limit")
  .option("--messages <number>", "messages of each market", positive, 1_000_000)
  .addOption(rounds)
  .addOption(seed)
  .addOption(products)
  .allowExcessArguments(false)
  .exitOverride()
  .action((options) => measure("ingest", () => benchIngest(options)));

program.command("page")
  .description("received → pixel in a real Chromium, and the frames that it paints")
  .option("--rate <number>", "messages a second of the exchange", positive, 2000)
  .option("--seconds <number>", "how long the page is read", positive, 20)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ rate, seconds }) => measure("page", () => benchPage(rate, seconds)));

program.command("api")
  .description("/api/ohlc under load, over a database of its own")
  .option("--rate <number>", "requests a second", positive, 200)
  .option("--seconds <number>", "how long each case runs", positive, 30)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ rate, seconds }) => measure("api", () => benchApi({ perSecond: rate, seconds })));

program.command("analytics")
  .description("candles of a year, and the order book over millions of changes")
  .option("--changes <number>", "book changes", positive, 50_000_000)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ changes }) => measure("analytics", () => benchAnalytics(changes)));

program.command("stream")
  .description("20 stream clients at 2,000 messages a second and 500 at 1,000, in batches and one by one")
  .allowExcessArguments(false)
  .exitOverride()
  .action(() => measure("stream", () => benchStream(streamLoads)));

program.command("storage")
  .description("bytes a row with other codecs and order keys")
  .option("--seconds <number>", "how long a market to simulate", positive, 900)
  .allowExcessArguments(false)
  .exitOverride()
  .action(({ seconds }) => measure("storage", () => benchStorage(seconds)));

program.command("steps")
  .description("each step on the way of a message by itself: bytes to rows, a fetch's decoding, inserts")
  .addOption(products)
  .allowExcessArguments(false)
  .exitOverride()
  .action((options) => measure("steps", () => benchSteps(options.products)));

program.command("documents")
  .description("renders the figures of docs/ from bench/results")
  .allowExcessArguments(false)
  .exitOverride()
  .action(renderDocuments);

await runTask(async () => {
  await program.parseAsync(Deno.args, { from: "user" });
});

async function measure(subject: string, run: () => Promise<Measured>): Promise<void> {
  const before = await circumstances(["deno task bench", ...Deno.args].join(" "));
  const { versions, tables } = await run();
  for (const rows of Object.values(tables)) console.log(`\n${renderTable(rows)}`);
  const path = await writeResult(subject, {
    ...before,
    versions: { ...before.versions, ...versions },
    tables,
  });
  console.log(`\n${path} is written; deno task bench documents renders docs/ from it`);
}

async function renderDocuments(): Promise<void> {
  const paths: string[] = [];
  for (const { name } of Deno.readDirSync(`${root}docs`)) {
    const path = `${root}docs/${name}`;
    if (!name.endsWith(".md")) continue;
    const text = Deno.readTextFileSync(path);
    if (countFigures(text) === 0) continue;
    Deno.writeTextFileSync(path, renderFigures(text, readResult));
    paths.push(path);
  }
  await formatFiles(paths);
  console.log(`${paths.length} documents of docs/ show what bench/results says`);
}

function listedProducts(text: string): string[] {
  const ids = text.split(",");
  const listed = simulatedProducts.map(({ id }) => id);
  const unknown = ids.find((id) => !listed.includes(id));
  if (unknown === undefined) return ids;
  throw new InvalidArgumentError(`"${unknown}" isn't simulated: expected any of ${listed.join(", ")}.`);
}

function rates(text: string): number[] {
  return text.split(",").map(positive);
}
