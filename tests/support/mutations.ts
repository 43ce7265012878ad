/**
 * Changes of the code that a test must notice, for `deno task mutate`: each breaks a promise, and `test` is the one that
 * guards it.
 *
 * @module
 */

/** A change, and the test that must fail with it. */
export interface Mutation {
  /** Short, for `--only`. */
  name: string;
  file: string;
  /** Occurs once in the file. */
  find: string;
  replace: string;
  /** The test's file, and a part of its name. */
  test: [file: string, name: string];
}

export const mutations: Mutation[] = [
  {
    name: "a backoff doesn't grow",
    file: "lib/core/retry.ts",
    find: "initialMs * 2 ** Math.min(failures - 1, 30)",
    replace: "initialMs",
    test: ["lib/core/retry_test.ts", ""],
  },
  {
    name: "a late trade opens a gap",
    file: "lib/feed/sequence.ts",
    find: "if (before !== undefined && tradeId <= before) return undefined;",
    replace: "if (before === tradeId) return undefined;",
    test: ["lib/feed/sequence_test.ts", ""],
  },
  {
    name: "a gap is one id too long",
    file: "lib/feed/sequence.ts",
    find: "last: tradeId - 1",
    replace: "last: tradeId",
    test: ["lib/feed/sequence_test.ts", ""],
  },
  {
    name: "a silent product is told again and again",
    file: "lib/feed/silence.ts",
    find: "products.forEach((productId) => told.add(productId));",
    replace: "",
    test: ["lib/feed/silence_test.ts", ""],
  },
  {
    name: "a product that is heard again is never told again",
    file: "lib/feed/silence.ts",
    find: "told.delete(productId);",
    replace: "",
    test: ["lib/feed/silence_test.ts", ""],
  },
  {
    name: "a known trade counts as new",
    file: "lib/core/id_ranges.ts",
    find: "if (before !== undefined && id <= before.last) return false;",
    replace: "if (before !== undefined && id < before.last) return false;",
    test: ["lib/core/id_ranges_test.ts", ""],
  },
  {
    name: "runs that touch aren't joined",
    file: "lib/core/id_ranges.ts",
    find: "first <= before.last + 1",
    replace: "first <= before.last",
    test: ["lib/core/id_ranges_test.ts", ""],
  },
  {
    name: "the batch in flight isn't asked for",
    file: "lib/consume/position.ts",
    find: "inflight === undefined ? 0 : inflight.last + 1",
    replace: "0",
    test: ["lib/consume/position_test.ts", ""],
  },
  {
    name: "expired messages are lost without a word",
    file: "lib/consume/position.ts",
    find: "offset < low ? { lost:",
    replace: "offset < 0 ? { lost:",
    test: ["lib/consume/position_test.ts", ""],
  },
  {
    name: "a place beyond the log's end is believed",
    file: "lib/consume/position.ts",
    find: "if (offset > high) return { committed: offset, high };",
    replace: "",
    test: ["lib/consume/position_test.ts", ""],
  },
  {
    name: "a refused request costs nothing to wait for",
    file: "lib/core/token_bucket.ts",
    find: "const allowed = left >= price;",
    replace: "const allowed = left > 0;",
    test: ["lib/core/token_bucket_test.ts", ""],
  },
  {
    name: "a window for half the blocks",
    file: "lib/clickhouse/dedup_window.ts",
    find: "partitions * seconds * 1000 / flushMs",
    replace: "partitions * seconds * 500 / flushMs",
    test: ["lib/clickhouse/dedup_window_test.ts", ""],
  },
  {
    name: "a second zstd frame is lost",
    file: "lib/recording/zstd.ts",
    find: "if (!whole) return options.onTorn?.();",
    replace: "return whole ? undefined : options.onTorn?.();",
    test: ["lib/recording/zstd_test.ts", ""],
  },
  {
    name: "a second start takes the trades of the first",
    file: "lib/stream/live_candles.ts",
    find: "this.#reading.abort();",
    replace: "",
    test: ["lib/stream/live_candles_test.ts", "begin anew twice at once"],
  },
  {
    name: "a book comes back from before the frame that was lost",
    file: "lib/stream/followed_book.ts",
    find: "!this.isBroken(message.connection, message.key) && isSnapshot(message)",
    replace: "isSnapshot(message)",
    test: ["lib/stream/live_book_test.ts", "begins with the next snapshot"],
  },
  {
    name: "an answer that stalls is waited for",
    file: "lib/clickhouse/rows.ts",
    find: "await unlessAborted(answer.json<T>(), signal)",
    replace: "await answer.json<T>()",
    test: ["lib/stream/snapshots_test.ts", ""],
  },
  {
    name: "a client is closed in the middle of its words",
    file: "lib/stream/clients.ts",
    find: "quiet = this.#hasSpoken ? 0 : quiet + 1;",
    replace: "quiet++;",
    test: ["lib/stream/clients_test.ts", "closed once it is quiet"],
  },
  {
    name: "a dead ClickHouse takes the status with it",
    file: "lib/api/routes/status.ts",
    find: "if (error instanceof Problem) return error;",
    replace: "",
    test: ["tests/api/api_test.ts", "while ClickHouse is dead"],
  },
  {
    name: "a run without tests passes",
    file: "tasks/test_run.ts",
    find: "if (total.passed + total.failed + total.skipped === 0) {",
    replace: "if (false) {",
    test: ["tasks/test_run_test.ts", "crashes, hangs and runs without tests fail"],
  },
  {
    name: "a developer's variables reach the tests",
    file: "tests/support/clean_environment.ts",
    find: 'Deno.env.set(name, "");',
    replace: "void name;",
    test: ["tests/ops/clean_environment_test.ts", "drops nothing on a developer's servers"],
  },
  {
    name: "the page's bundler is left behind",
    file: "tasks/web.ts",
    find: 'const end = () => bundler.kill("SIGTERM");',
    replace: "const end = () => Deno.exit(1);",
    test: ["tests/ops/dev_test.ts", "dev: a port in use"],
  },
  {
    name: "nothing is forgotten when partitions move",
    file: "lib/ingest/known_trades.ts",
    find: "this.#stored = new Map();\n",
    replace: "",
    test: ["tests/pipeline/counting_once_test.ts", "comes back counts no trade again"],
  },
  {
    name: "a batch is larger than CONSUMER_BATCH_ROWS",
    file: "lib/consume/partition_reader.ts",
    find: "if (gathered.size < maxSize && !isLast) continue;",
    replace: "if (gathered.size <= maxSize && !isLast) continue;",
    test: ["tests/pipeline/end_to_end_test.ts", "a batch is begun at CONSUMER_BATCH_ROWS"],
  },
  {
    name: "a batch is begun before what is stored of the one before it is on record",
    file: "lib/consume/partition_writer.ts",
    find: "await this.#committed.commit(id.range.first, id.range);",
    replace: "",
    test: ["lib/consume/partition_writer_test.ts", "one commit is both's"],
  },
  {
    name: "what comes while the last commit is under way waits for the next fetch",
    file: "lib/consume/partition_writer.ts",
    find: "if (this.#gathered !== undefined && !this.#isClosed) this.write();",
    replace: "",
    test: ["lib/consume/partition_writer_test.ts", "while the last commit is under way"],
  },
  {
    name: "the scanner takes a comma behind the last level",
    file: "lib/ingest/frames/scan_frame.ts",
    find: "if (!isFirst && !this.#fields.takeBetween(comma)) return false;",
    replace: "if (!isFirst) this.#fields.takeBetween(comma);",
    test: ["lib/ingest/frames/scan_frame_test.ts", ""],
  },
  {
    name: "a decimal loses its last digit",
    file: "lib/ingest/frames/row_bytes.ts",
    find: "this.#multiplyAdd(10, code - zero);",
    replace: "this.#multiplyAdd(10, 0);",
    test: ["lib/ingest/frames/scan_frame_test.ts", ""],
  },
  {
    name: "a record's time is that of its batch",
    file: "lib/kafka/fetch_decoder.ts",
    find: "isAppendTime ? batchTime : batchTime + delta",
    replace: "batchTime",
    test: ["lib/kafka/fetch_decoder_test.ts", "what kafkajs makes of it"],
  },
  {
    name: "a consumer that waits for ClickHouse sends no heartbeat",
    file: "lib/consume/group_reader.ts",
    find: "setInterval(() => void this.#beat(),",
    replace: "setInterval(() => {},",
    test: ["tests/faults/clickhouse_outage_test.ts", "ClickHouse hangs for longer than a session"],
  },
  {
    name: "ClickHouse cuts an insert into several blocks",
    file: "lib/ingest/insert_block.ts",
    find: 'min_insert_block_size_rows: "10000000",\n',
    replace: "",
    test: ["tests/pipeline/counting_once_test.ts", "a batch is one block in each partition"],
  },
  {
    name: "an insert of many months is refused",
    file: "lib/ingest/insert_block.ts",
    find: 'max_partitions_per_insert_block: "0",\n',
    replace: "",
    test: ["tests/pipeline/counting_once_test.ts", "a batch is one block in each partition"],
  },
  {
    name: "runs are never joined",
    file: "lib/ingest/known_trades.ts",
    find: "if (rows >= this.#compactAfter)",
    replace: "if (rows > this.#compactAfter)",
    test: ["tests/pipeline/counting_once_test.ts", "rows of trade_runs are joined after so many batches"],
  },
  {
    name: "what isn't acknowledged is asked for again all at once",
    file: "lib/feed/connection.ts",
    find: "for (const pair of pending) this.#socket.send(subscribeMessage([pair]));",
    replace: "this.#socket.send(subscribeMessage(pending));",
    test: ["tests/pipeline/feed_test.ts", "asked for again, each channel of each product by itself"],
  },
  {
    name: "the feed's pauses don't grow",
    file: "lib/feed/feed.ts",
    find: "failures = ended.good ? 1 : failures + 1;",
    replace: "failures = 1;",
    test: ["tests/pipeline/feed_test.ts", "tried again and again after growing pauses"],
  },
  {
    name: "every message goes to partition 0",
    file: "lib/feed/record_batches.ts",
    find: "message.partition ?? partitionOf(message.key as string, partitionsOf(topic))",
    replace: "message.partition ?? 0",
    test: ["tests/pipeline/publisher_test.ts", "a product's messages lie in its partition"],
  },
  {
    name: "Coinbase's bytes are changed on their way",
    file: "exchange/recording_loops.ts",
    find: "if (k === 0) return raw;",
    replace: "if (k === 0) return `${raw} `;",
    test: ["tests/pipeline/exchange_test.ts", "the real recording arrives byte for byte"],
  },
  {
    name: "what has to be asked for is forgotten with the first batch",
    file: "lib/consume/position.ts",
    find: "Math.min(ask, high)",
    replace: "0",
    test: ["tests/faults/lost_log_test.ts", "a group without commits"],
  },
  {
    name: "how far to look back is forgotten with the process",
    file: "lib/consume/committed_position.ts",
    find: "...(suspect !== undefined && { suspect }),",
    replace: "",
    test: ["tests/faults/lost_log_test.ts", "looks further back"],
  },
  {
    name: "an insert that is still executed isn't waited for",
    file: "lib/ingest/batch_writer.ts",
    find: "if (running > 0) throw",
    replace: "if (running < 0) throw",
    test: ["tests/pipeline/counting_once_test.ts", "nothing is compared while"],
  },
  {
    name: "a product whose runs disagree isn't looked at",
    file: "lib/ingest/reconcile.ts",
    find: "if (claimed + unclaimed + overlapping > 0) doubtful.add",
    replace: "if (claimed + unclaimed + overlapping < 0) doubtful.add",
    test: ["tests/pipeline/counting_once_test.ts", "of fifty products"],
  },
  {
    name: "trades that are there are taken for whole",
    file: "lib/ingest/batch_writer.ts",
    find: "missing === 0 && batch.isCommitted === true",
    replace: "missing === 0",
    test: ["tests/pipeline/counting_once_test.ts", "a torn insert of another one"],
  },
  {
    name: "a field of the stream is renamed",
    file: "lib/stream/client_topics.ts",
    find: "stream, seq, resumed, simulated, channels }",
    replace: "stream, seq, is_resumed: resumed, simulated, channels }",
    test: ["tests/api/public_names_test.ts", "public names"],
  },
  {
    name: "a metric is renamed",
    file: "lib/api/api_watch.ts",
    find: "`tapehouse_api_queries_${state}`",
    replace: "`tapehouse_api_${state}_queries`",
    test: ["tests/api/public_names_test.ts", "public names"],
  },
  {
    name: "an option is renamed",
    file: "tasks/topics.ts",
    find: '"--dry-run"',
    replace: '"--plan"',
    test: ["tests/api/public_names_test.ts", "public names"],
  },
];
