/**
 * backfill.ts: Coinbase's REST → Kafka, for the trades that the feed missed. Reads the gaps from ClickHouse, asks for
 * exactly those ids, and produces them as matches with `source=backfill`; the consumer stores them like any trade. Run
 * with `deno task backfill` (once), `--watch` (the service), or `--product --from --to` (history). docs/completeness.md
 * tells what is asked for, when, and what counts as an answer.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { clickhouseVariables, openClickHouse } from "./lib/clickhouse/client.ts";
import { waitForSchema } from "./lib/clickhouse/migrations.ts";
import { FatalError } from "./lib/core/errors.ts";
import { unlessAborted } from "./lib/core/retry.ts";
import { retryForever } from "./lib/core/retry_forever.ts";
import { nowMicros } from "./lib/core/time.ts";
import { openPublisher, type Publisher } from "./lib/feed/publisher.ts";
import { openRest } from "./lib/feed/coinbase_rest.ts";
import { type BackfillOptions, readOptions } from "./lib/gaps/command.ts";
import { openGapFiller } from "./lib/gaps/fill.ts";
import { fillGaps, fillHistory } from "./lib/gaps/fill_once.ts";
import { sortGaps } from "./lib/gaps/fill_plan.ts";
import { type BackfillWatch, watchBackfill } from "./lib/gaps/backfill_watch.ts";
import { createStall, stalled } from "./lib/gaps/stall.ts";
import { readGaps, readNewestTrades } from "./lib/gaps/trade_gaps.ts";
import { watchGaps } from "./lib/gaps/watch.ts";
import { brokerVariables, openBroker } from "./lib/kafka/client.ts";
import { topicSettings, topicVariables } from "./lib/kafka/topic_plan.ts";
import { prepareTopics } from "./lib/kafka/topics.ts";
import type { Logger } from "./lib/process/log.ts";
import { runService, type Service } from "./lib/process/service.ts";
import { runTask } from "./lib/process/task.ts";

const variables = [
  "COINBASE_REST_URL",
  "COINBASE_REST_PER_SECOND",
  "BACKFILL_INTERVAL_SECONDS",
  "BACKFILL_AGAIN_SECONDS",
  "BACKFILL_MAX_GAP",
  ...brokerVariables,
  ...topicVariables,
  ...clickhouseVariables,
] as const;

await runTask(() => {
  const options = readOptions(Deno.args);
  // Only the service has a port that people know; a single run must not be in its way.
  const metricsPort = options.watch ? 9103 : 0;
  return runService({ name: "backfill", metricsPort, variables }, (service) => backfill(service, options));
});

type BackfillService = Service<(typeof variables)[number]>;

async function backfill(service: BackfillService, options: BackfillOptions): Promise<void> {
  const { config, log } = service;
  const stall = createStall(options.watch ? Infinity : options.timeout);
  const signal = AbortSignal.any([service.signal, stall.signal]);
  const watch = watchBackfill(service, {
    againMs: config.BACKFILL_AGAIN_SECONDS * 1000,
    intervalSeconds: config.BACKFILL_INTERVAL_SECONDS,
  });
  const clickhouse = openClickHouse(config);
  let publisher: Publisher | undefined;
  try {
    await waitForSchema(clickhouse, config.CLICKHOUSE_DATABASE, signal, log);
    watch.starting("the broker can't be used");
    publisher = await connectPublisher(config, { log, signal, watch });
    watch.starting("ClickHouse doesn't answer");
    await fill({ ...service, signal }, options, { clickhouse, publisher, watch, moved: stall.moved });
  } catch (error) {
    if (stall.signal.aborted) throw stalled(options.timeout, watch.trouble());
    if (!service.signal.aborted || options.watch) throw error;
    throw new FatalError("Stopped before the end. The same command goes on where it was.");
  } finally {
    stall.end();
    await publisher?.close(5000);
    await clickhouse.close();
  }
}

/** What is fetched goes the way of the feed. */
async function connectPublisher(
  config: BackfillService["config"],
  { log, signal, watch }: Pick<BackfillService, "log" | "signal"> & { watch: BackfillWatch },
): Promise<Publisher> {
  const kafka = openBroker(config, "backfill", log, watch.kafkaError);
  const limits = await prepareTopics(kafka, topicSettings(config), signal, log);
  const route = { topic: config.KAFKA_TOPIC, level2Topic: config.KAFKA_LEVEL2_TOPIC, source: "backfill" };
  return await openPublisher({ kafka, limits, route, log, signal, onSent: watch.sent });
}

/** What gaps are read from, and filled through. */
interface Means {
  clickhouse: ClickHouseClient;
  publisher: Publisher;
  watch: BackfillWatch;
  /** Something has moved. */
  moved(): void;
}

/** Fills gaps for ever, a product's history, or what is missing now. */
async function fill(
  { config, log, registry, signal }: BackfillService,
  options: BackfillOptions,
  { clickhouse, publisher, watch, moved }: Means,
): Promise<void> {
  const { COINBASE_REST_URL: url, COINBASE_REST_PER_SECOND: perSecond, BACKFILL_MAX_GAP: maxGap } = config;
  const persist = createPersist(signal, log, watch);
  const rest = openRest({
    ...{ url, perSecond, signal, log },
    onOutcome: watch.request,
    onInvalidRows: watch.invalidRows,
  });
  const filler = await openGapFiller({
    ...{ rest, url, clickhouse, publisher, persist, log, signal },
    againMs: config.BACKFILL_AGAIN_SECONDS * 1000,
    onFilled: watch.filled,
    onGivenUp: watch.givenUp,
  });
  watch.started(publisher);
  const look = async () => {
    const gaps = await persist("reading trade_gaps", () => readGaps(clickhouse));
    return { gaps, missing: sortGaps(gaps, { maxGap, now: nowMicros() }) };
  };
  if (options.watch) {
    return await watchGaps({
      ...{ filler, look, registry, log, signal, perSecond },
      blocks: watch.blocks,
      newest: (product) => persist("reading trade_runs", () => readNewestTrades(clickhouse, product)),
      intervalMs: config.BACKFILL_INTERVAL_SECONDS * 1000,
    });
  }
  const once = {
    ...{ filler, rest, clickhouse, persist, log, signal, perSecond, maxGap, moved },
    wait: options.wait,
    onTrouble: watch.doubt,
  };
  if (options.history) await fillHistory(options.history, once);
  else await fillGaps(async () => (await look()).missing, once);
}

/** Tries a statement until ClickHouse answers. */
function createPersist(signal: AbortSignal, log: Logger, watch: BackfillWatch) {
  return async function persist<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const answer = await retryForever("ClickHouse didn't answer", () => unlessAborted(attempt(), signal), {
      signal,
      log,
      fields: { what },
      onError: (error) => watch.clickhouse(`${what}: ${error instanceof Error ? error.message : error}`),
    });
    watch.clickhouse(null);
    return answer;
  };
}
