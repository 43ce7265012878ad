/**
 * `deno task record`: the exchange's frames → a file, as they come (lib/recording/recording.ts has the format). No Kafka,
 * no ClickHouse.
 *
 * Exit codes: 0 after Ctrl-C, SIGTERM or `--for`; 1 it can't go on; 2 wrong arguments or environment.
 *
 * @module
 */

import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { runTask } from "../lib/process/task.ts";
import { longDuration } from "../lib/core/options.ts";
import { openFeed } from "../lib/feed/feed.ts";
import { openRecorder } from "../lib/recording/recorder.ts";
import { isSet, readConfig } from "../lib/process/config.ts";
import { createLogger } from "../lib/process/log.ts";
import { createProgressLine } from "../lib/process/progress.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";

const program = new Command("deno task record")
  .description(
    "Record the exchange's frames as zstd NDJSON, with the time of each and what happened to the feed.",
  )
  .requiredOption("--to <file>", "where to, such as feed.ndjson.zst; no file is overwritten", zstdName)
  .option("--for <duration>", "stop after this long: 30s, 5m, 2h", longDuration)
  .option("--rotate <duration>", "begin a new file so often, named with the time: 10m, 1h", longDuration)
  .allowExcessArguments(false)
  .exitOverride();

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  const config = readConfig([
    "COINBASE_WS_URL",
    "COINBASE_PRODUCTS",
    "COINBASE_CHANNELS",
    "FEED_SOURCE",
    "FEED_PRODUCTS_PER_CONNECTION",
    "FEED_SILENCE_SECONDS",
    "FEED_BUFFER_MB",
    "LOG_LEVEL",
  ]);
  const stop = stopOnSignal();
  const recorder = openRecorder({
    path: options.to,
    source: sourceOf(config.COINBASE_WS_URL, config.FEED_SOURCE),
    ...(options.rotate === undefined ? {} : { rotateMs: options.rotate }),
    onFile: (path) => console.log(`recording ${config.COINBASE_WS_URL} to ${path}`),
  });
  const feed = openFeed({
    url: config.COINBASE_WS_URL,
    products: config.COINBASE_PRODUCTS,
    channels: config.COINBASE_CHANNELS,
    productsPerConnection: config.FEED_PRODUCTS_PER_CONNECTION,
    silenceMs: config.FEED_SILENCE_SECONDS * 1000,
    bufferBytes: config.FEED_BUFFER_MB * 1024 * 1024,
    signal: stop.signal,
    log: createLogger({ task: "record" }, { level: config.LOG_LEVEL === "info" ? "warn" : config.LOG_LEVEL }),
  });
  if (options.for !== undefined) setTimeout(() => stop.abort(), options.for);

  const startedAt = performance.now();
  const recorded = () =>
    `${Math.round((performance.now() - startedAt) / 1000)} s, ${recorder.frames} frames, ` +
    `${(recorder.bytes / 1e6).toFixed(1)} MB`;
  const progress = createProgressLine();
  try {
    for await (const item of feed) {
      recorder.write(item);
      progress.show(() => `${recorded()}, ${feed.connected} of ${feed.wanted} connections are up`);
    }
  } finally {
    progress.end();
    recorder.close();
  }
  console.log(`recorded ${recorded()}`);
});

/** What the person says of the source wins; else only Coinbase is Coinbase. */
function sourceOf(url: string, configured: string): string {
  if (isSet("FEED_SOURCE")) return configured;
  return new URL(url).hostname.endsWith(".coinbase.com") ? "feed" : "simulator";
}

function zstdName(text: string): string {
  if (text.endsWith(".zst")) return text;
  throw new InvalidArgumentError("Expected a name that ends with .zst, such as feed.ndjson.zst.");
}
