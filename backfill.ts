/**
 * backfill.ts: Coinbase's REST → Kafka, for the trades that the feed missed. Reads the holes from ClickHouse, asks for
 * exactly those ids, and produces them as matches with `source=backfill`; the consumer stores them like any trade. Run
 * with `deno task backfill` (once), `--watch` (the service), or `--product --from --to` (history).
 *
 * @module
 */

import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { Counter, Gauge } from "prom-client";
import { backoffMs, retry, sleep, unlessAborted } from "./lib/backoff.ts";
import {
  type Asked,
  countIds,
  createAsked,
  firstIdAt,
  inOrder,
  intersect,
  type Page,
  pagesOf,
  parseTime,
  type Progress,
  progressText,
  subtract,
} from "./lib/backfill.ts";
import { brokerVariables, openBroker, prepareTopics, topicSettings, topicVariables } from "./lib/broker.ts";
import { parseDuration, runTask } from "./lib/cli.ts";
import type { Notice } from "./lib/coinbase/feed.ts";
import { largestPage, openRest, RestError, type RestTrade } from "./lib/coinbase/rest.ts";
import { requireSchema } from "./lib/migrations.ts";
import { createProgressLine } from "./lib/progress_line.ts";
import { openPublisher } from "./lib/publisher.ts";
import { FatalError, runService, type Service } from "./lib/service.ts";
import { formatMicros, nowMicros, parseMicros } from "./lib/time.ts";
import { readGivenUp, readHoles, recordGivenUp } from "./lib/trade_gaps.ts";
import { createTradeIds, loadStoredTrades, type Run } from "./lib/trade_runs.ts";
import { openWarehouse, warehouseVariables } from "./lib/warehouse.ts";

const variables = [
  "COINBASE_REST_URL",
  "COINBASE_REST_PER_SECOND",
  "BACKFILL_INTERVAL_SECONDS",
  "BACKFILL_AGAIN_SECONDS",
  ...brokerVariables,
  ...topicVariables,
  ...warehouseVariables,
] as const;

/** A hole is left alone for so long: its trades may be on the way, late or by another producer. */
const settleMicros = 3e6;
/** Answers that leave an id out until it is given up. */
const asks = 4;
/** What was produced should be stored within this. */
const arrivalMs = 5 * 60_000;
/** Requests of one product before the holes are looked at again and other products have their turn. */
const pagesPerRound = 50;
/** Requests under way at a time: the rate limit, not the distance to the exchange, says how fast we are. */
const ahead = 4;
/** Between two looks while trades are on their way into ClickHouse. */
const pollMs = 500;

const command = new Command("deno task backfill")
  .description(
    "Fills the holes of the tape from Coinbase's REST. Without options: once, until no hole is left.",
  )
  .addOption(new Option("--watch", "go on for ever, as a service").conflicts(["product", "wait"]))
  .addOption(new Option("--no-wait", "don't wait until the trades are stored"))
  .option("--product <id>", "history of this product, with --from", productId)
  .option("--from <time>", "the first moment, such as 2026-07-01 or 2026-07-01T12:00Z", time)
  .option("--to <time>", "the moment behind the last; when absent, up to what is stored, or now", time)
  .addOption(
    new Option("--timeout <duration>", "end with exit code 1 when nothing has moved for so long")
      .default(120_000, "2m").argParser(duration),
  )
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Killed and started again it goes on where it was. What REST doesn't serve any more is recorded in the table
trade_gaps_given_up and not asked for again; delete rows there to have them asked for once more.
Exit codes: 0 no hole is left that the exchange serves, 1 some are, 2 wrong arguments or variables.`,
  );

type Options = ReturnType<typeof readOptions>;

function readOptions(args: string[]) {
  const { product, from, to, ...others } = command.parse(args, { from: "user" }).opts();
  if (product === undefined && (from !== undefined || to !== undefined)) {
    command.error("error: --from and --to need --product ID");
  }
  if (product !== undefined && from === undefined) command.error("error: --product needs --from TIME");
  if (from !== undefined && to !== undefined && from >= to) {
    command.error("error: --from must be before --to");
  }
  const history = product === undefined || from === undefined ? undefined : { product, from, to };
  return { ...others, history };
}

await runTask(() => {
  const options = readOptions(Deno.args);
  // Only the service has a port that people know; a single run must not be in its way.
  const metricsPort = options.watch ? 9103 : 0;
  return runService({ name: "backfill", metricsPort, variables }, (service) => backfill(service, options));
});

/** The missing ids of a product. */
interface Missing {
  /** All that are worth asking for … */
  open: Run[];
  /** … of which these may still come by themselves. */
  young: Run[];
}

type Look = () => Promise<Map<string, Missing>>;

async function backfill(service: Service<(typeof variables)[number]>, options: Options): Promise<void> {
  const { config, log, registry } = service;
  const registers = [registry];
  const holesOpen = new Gauge({
    name: "tapehouse_backfill_holes_open",
    help: "Holes that are not filled and not given up.",
    registers,
  });
  const tradesFilled = new Counter({
    name: "tapehouse_backfill_trades_total",
    help: "Missing trades that REST had and that were produced.",
    registers,
  });
  const givenUp = new Counter({
    name: "tapehouse_backfill_given_up_trades_total",
    help: "Missing trades that REST doesn't serve any more.",
    registers,
  });
  const requests = new Counter({
    name: "tapehouse_rest_requests_total",
    help: "REST requests, by outcome: ok, the HTTP status, or error.",
    labelNames: ["outcome"],
    registers,
  });

  const againMs = config.BACKFILL_AGAIN_SECONDS * 1000;
  const stall = createStall(options.watch ? Infinity : options.timeout);
  const signal = AbortSignal.any([service.signal, stall.signal]);
  const trouble: { rest?: string; clickhouse?: string; start?: string } = {
    start: "ClickHouse doesn't answer",
  };
  const describeTrouble = () => trouble.start ?? trouble.clickhouse ?? trouble.rest ?? null;
  service.setHealth(describeTrouble);

  const warehouse = openWarehouse(config);
  const rest = openRest({
    url: config.COINBASE_REST_URL,
    perSecond: config.COINBASE_REST_PER_SECOND,
    signal,
    log,
    onOutcome(outcome, error) {
      requests.inc({ outcome });
      if (error) trouble.rest = `REST: ${error.message}`;
      else {
        delete trouble.rest;
        stall.moved();
      }
    },
  });
  const connection = `backfill-${crypto.randomUUID().slice(0, 8)}`;

  /** Tries until ClickHouse answers. */
  async function persist<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const answer = await retry(() => unlessAborted(attempt(), signal), {
      signal,
      onError(error, waitMs) {
        trouble.clickhouse = `ClickHouse: ${what}: ${error instanceof Error ? error.message : error}`;
        log.error("ClickHouse didn't answer, trying again", { what, error, wait_ms: Math.round(waitMs) });
      },
    });
    delete trouble.clickhouse;
    return answer;
  }

  /** Looks at the holes between stored trades. */
  const lookAtHoles: Look = async () => {
    const holes = await persist("reading trade_gaps", () => readHoles(warehouse));
    const gone = await persist("reading trade_gaps_given_up", () => readGivenUp(warehouse));
    const now = nowMicros();
    const missing = new Map<string, Missing>();
    for (const [productId, ofProduct] of Map.groupBy(holes, (hole) => hole.productId)) {
      const open = subtract(ofProduct, gone.get(productId) ?? []);
      // A clock that goes wrong by more must not hide a hole for ever.
      const young = ofProduct.filter(({ seenAt }) => Math.abs(now - seenAt) < settleMicros);
      if (open.length > 0) missing.set(productId, { open, young });
    }
    return missing;
  };

  const askedFor = new Map<string, Asked>();
  function askedOf(productId: string): Asked {
    let asked = askedFor.get(productId);
    if (!asked) askedFor.set(productId, asked = createAsked({ againMs, asks, arrivalMs }));
    return asked;
  }

  await requireSchema(warehouse, config.CLICKHOUSE_DATABASE, signal, log).catch(explainStall);
  trouble.start = "the broker can't be used";
  const kafka = openBroker(config, "backfill", log);
  await prepareTopics(kafka, topicSettings(config), signal, log).catch(explainStall);
  const publisher = await openPublisher({
    kafka,
    log,
    signal,
    route: { topic: config.KAFKA_TOPIC, level2Topic: config.KAFKA_LEVEL2_TOPIC, source: "backfill" },
  });
  delete trouble.start;

  function notify(event: Pick<Notice, "event" | "details" | "reason">, productId: string): Promise<void> {
    const notice: Notice = { kind: "notice", receivedAt: nowMicros(), connection, productId, ...event };
    return unlessAborted(publisher.write(notice), signal);
  }

  /** The trades of a page that are wanted, newest first. A page that isn't full is followed by the next older one. */
  async function fetchPage(productId: string, page: Page): Promise<RestTrade[]> {
    const wanted = createTradeIds(page.wanted).runs;
    const found: RestTrade[] = [];
    for (let after = page.last + 1; after > page.first;) {
      const { trades } = await rest.trades(productId, { after, limit: after - page.first });
      found.push(
        ...trades.filter(({ trade_id: id }) => wanted.some(({ first, last }) => first <= id && id <= last)),
      );
      after = trades.at(-1)?.trade_id ?? 0;
    }
    return found;
  }

  /** Asks for ids of a product and produces what the exchange has. Returns false when some are left for the next round. */
  async function fill(productId: string, due: Run[], onFetched = (_trades: number) => {}): Promise<boolean> {
    const asked = askedOf(productId);
    const filled = createTradeIds();
    const pages = [...pagesOf(due, largestPage).take(pagesPerRound)];
    const work = async (page: Page) => ({ page, trades: await fetchPage(productId, page) });
    for await (const { page, trades } of inOrder(pages, ahead, work)) {
      // From the newest to the oldest, as history must come: each trade then touches what is stored, and opens no hole.
      for (const trade of trades) {
        const data = JSON.stringify({
          type: "match",
          trade_id: trade.trade_id,
          side: trade.side,
          size: trade.size,
          price: trade.price,
          product_id: productId,
          time: trade.time,
        });
        const receivedAt = nowMicros();
        const frame = { kind: "frame", type: "match", productId, receivedAt, connection, data } as const;
        await unlessAborted(publisher.write(frame), signal);
        filled.add(trade.trade_id);
      }
      tradesFilled.inc(trades.length);
      onFetched(trades.length);
      const served = trades.map(({ trade_id: id }) => ({ first: id, last: id }));
      const gone = asked.answered(page.wanted, subtract(served, []), Date.now());
      if (gone.length > 0) await giveUp(productId, gone);
    }
    for (const { first, last } of filled.runs) {
      log.info("hole filled", { product: productId, first, last });
      await notify({ event: "gap_filled", details: { first_missing: first, last_missing: last } }, productId);
    }
    return pages.at(-1)?.first === due[0]?.first;
  }

  async function giveUp(productId: string, gone: Run[]): Promise<void> {
    const holes = await persist("reading trade_gaps", () => readHoles(warehouse));
    for (const run of gone) {
      const hole = holes.find((hole) => hole.productId === productId && intersect([hole], [run]).length > 0);
      const age = hole ? `; traded before ${hole.before} UTC` : "";
      const reason = `left out of ${asks} answers of ${config.COINBASE_REST_URL}${age}`;
      await persist("recording a hole as given up", () => recordGivenUp(warehouse, productId, [run], reason));
      givenUp.inc(countIds([run]));
      log.warn("hole given up: the exchange doesn't serve it", { product: productId, ...run });
      const details = { first_missing: run.first, last_missing: run.last };
      await notify({ event: "gap_given_up", reason, details }, productId);
    }
  }

  async function watch(): Promise<void> {
    const refused = new Map<string, { failures: number; until: number }>();
    while (!signal.aborted) {
      const missing = await lookAtHoles();
      holesOpen.set([...missing.values()].reduce((sum, { open }) => sum + open.length, 0));
      for (const productId of askedFor.keys()) if (!missing.has(productId)) askedFor.delete(productId);
      let complete = true;
      for (const [productId, { open, young }] of missing) {
        const due = subtract(askedOf(productId).due(open, Date.now()), young);
        const refusal = refused.get(productId) ?? { failures: 0, until: 0 };
        if (due.length === 0 || refusal.until > Date.now()) continue;
        try {
          complete = await fill(productId, due) && complete;
          refused.delete(productId);
        } catch (error) {
          if (!(error instanceof RestError)) throw error;
          const failures = refusal.failures + 1;
          const waitMs = backoffMs(failures, { initialMs: 5000, maximumMs: 600_000 });
          log.error(error.message, { wait_ms: Math.round(waitMs) });
          refused.set(productId, { failures, until: Date.now() + waitMs });
        }
      }
      if (complete) await sleep(config.BACKFILL_INTERVAL_SECONDS * 1000, signal);
    }
  }

  /**
   * Fills what is missing now, until it is stored or given up.
   *
   * @param total what the progress is measured by, when some of it isn't missing
   */
  async function fillOnce(look: Look, total?: number): Promise<void> {
    const target = await look();
    const wanted = [...target.values()].reduce((sum, { open }) => sum + countIds(open), 0);
    const known = (total ?? wanted) - wanted;
    const startedAt = performance.now();
    let begin: Progress | undefined;
    const display = createProgressLine();
    try {
      for (let missing = target, least = Infinity;; missing = await look()) {
        signal.throwIfAborted();
        let stored = known + wanted;
        let fetched = stored;
        let idle = true;
        let holes = 0;
        const progress = (): Progress => ({ fetched, stored, total: known + wanted });
        const show = () =>
          display.show(() => {
            const perSecond = (fetched - (begin?.fetched ?? 0)) / (performance.now() - startedAt) * 1000;
            return progressText(progress(), perSecond);
          });
        const work = [...target].map(([productId, { open }]) => {
          const now = missing.get(productId) ?? { open: [], young: [] };
          const stillOpen = intersect(now.open, open);
          const asked = askedOf(productId);
          const due = subtract(asked.due(stillOpen, Date.now()), now.young);
          const unanswered = countIds(subtract(stillOpen, asked.onTheWay()));
          holes += stillOpen.length;
          stored -= countIds(stillOpen);
          fetched -= unanswered;
          // What may still come by itself, or is asked for again in a while, isn't stuck.
          if (countIds(due) < unanswered) stall.moved();
          return { productId, due };
        });
        if (begin === undefined) log.info("fill begins", { ...begin = progress() });
        show();
        for (const { productId, due } of work.filter(({ due }) => due.length > 0)) {
          idle = false;
          await fill(productId, due, (trades) => {
            fetched += trades;
            show();
          });
        }
        holesOpen.set(holes);
        const left = known + wanted - (options.wait ? stored : fetched);
        if (left === 0) return log.info("fill ended", { ...progress() });
        if (left < least) stall.moved();
        least = left;
        if (idle) await sleep(pollMs, signal);
      }
    } finally {
      display.end();
    }
  }

  /** Which ids a time range is, from REST; they may be stored already. */
  async function historyRange({ product, from, to }: NonNullable<Options["history"]>): Promise<Run> {
    const newest = (await rest.trades(product, { limit: 1 })).trades[0]?.trade_id ?? 0;
    const lookUp = async (id: number) => {
      const trade = (await rest.trades(product, { after: id + 1, limit: 1 })).trades[0];
      return trade && { id: trade.trade_id, time: parseMicros(trade.time) };
    };
    const first = await firstIdAt(newest, lookUp, from);
    if (to !== undefined) return { first, last: await firstIdAt(newest, lookUp, to) - 1 };
    // What is stored without a hole after that time belongs to it: a second start then shows how far the first one came.
    const run = (await storedOf(product)).find((run) => run.last >= first);
    return { first, last: run?.last ?? newest };
  }

  async function storedOf(product: string): Promise<readonly Run[]> {
    const { stored } = await persist("reading trade_runs", () => loadStoredTrades(warehouse, [product], ""));
    return stored.get(product)?.runs ?? [];
  }

  async function fillHistory(history: NonNullable<Options["history"]>): Promise<void> {
    const { product } = history;
    const range = await historyRange(history);
    if (range.first > range.last) {
      return log.info("there is no trade in that time", { product });
    }
    const stored = await storedOf(product);
    log.info("history", {
      product,
      ...range,
      from: formatMicros(history.from),
      stored: countIds(intersect([range], stored)),
    });
    const opened = countIds(holesBetween([...stored, range])) - countIds(holesBetween(stored));
    if (opened > 0) {
      log.warn(
        "the range doesn't touch what is stored: what lies between is a hole from now on, which --watch fills",
        {
          product,
          trades: opened,
        },
      );
    }
    await fillOnce(async () => {
      const gone = await persist("reading trade_gaps_given_up", () => readGivenUp(warehouse));
      const open = subtract([range], [...await storedOf(product), ...gone.get(product) ?? []]);
      return new Map([[product, { open, young: [] }]]);
    }, countIds([range]));
  }

  function explainStall(error: unknown): never {
    if (stall.signal.aborted) {
      const reason = describeTrouble() ?? "the trades were produced, but the consumer hasn't stored them";
      throw new FatalError(`Holes are left: nothing has moved for ${options.timeout / 1000} s. ${reason}.`);
    }
    if (service.signal.aborted && !options.watch) {
      throw new FatalError("Stopped before the end. The same command goes on where it was.");
    }
    throw error;
  }

  try {
    if (options.watch) await watch();
    else await (options.history ? fillHistory(options.history) : fillOnce(lookAtHoles)).catch(explainStall);
  } finally {
    stall.end();
    await publisher.close(5000);
    await warehouse.close();
  }
}

/** The ids between the lowest and the highest that are in none of the runs. */
function holesBetween(runs: readonly Run[]): Run[] {
  const sorted = createTradeIds(runs).runs;
  const [first, last] = [sorted[0]?.first, sorted.at(-1)?.last];
  return first === undefined || last === undefined ? [] : subtract([{ first, last }], sorted);
}

/** Aborts its signal when nothing has moved for `ms`. */
function createStall(ms: number): { signal: AbortSignal; moved(): void; end(): void } {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  function moved() {
    clearTimeout(timer);
    if (Number.isFinite(ms)) timer = setTimeout(() => controller.abort(), ms);
  }
  moved();
  return { signal: controller.signal, moved, end: () => clearTimeout(timer) };
}

function productId(text: string): string {
  if (/^[A-Z0-9]+-[A-Z0-9]+$/.test(text)) return text;
  throw new InvalidArgumentError("expected a product id such as BTC-USD.");
}

function time(text: string): number {
  const micros = parseTime(text);
  if (micros !== undefined) return micros;
  throw new InvalidArgumentError("expected a date or a time such as 2026-07-01 or 2026-07-01T12:00Z.");
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1000) return ms;
  throw new InvalidArgumentError("expected a duration of at least 1s, such as 30s or 5m.");
}
