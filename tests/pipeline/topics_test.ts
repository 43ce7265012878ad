/**
 * Topics belong to the operator: services create what is missing and keep to what is there; `deno task topics` changes.
 *
 * @module
 */

import type { Admin } from "kafkajs";
import assert from "node:assert/strict";
import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { describeTopic, prepareTopics } from "../../lib/kafka/topics.ts";
import { topicSettings } from "../../lib/kafka/topic_plan.ts";
import { retry } from "../../lib/core/retry.ts";
import { createLogger } from "../../lib/process/log.ts";
import { root } from "../support/tape.ts";
import { hangMs } from "../support/until.ts";
import { configOf } from "../support/config.ts";

let home: string;
let kafka: RunningKafka;
let admin: Admin;
const quiet = createLogger({}, { write: () => {} });

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  kafka = await startKafka({ home, port: freePort(), jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}` });
  const config = configOf({ KAFKA_BROKERS: kafka.brokers });
  admin = openBroker(config, "test", quiet).admin();
  await admin.connect();
});
Deno.test.afterAll(async () => {
  await admin.disconnect();
  await kafka.stop();
  await Deno.remove(home, { recursive: true });
});

/** What an operator has made of the two topics, in an order of his own. */
const operators = {
  "retention.ms": "1209600000",
  "retention.bytes": "5000000000",
  "max.message.bytes": "2000000",
  "min.insync.replicas": "1",
  "segment.bytes": "104857600",
};

async function makeTopics(name: string, config: Record<string, string>): Promise<string[]> {
  const topics = [`${name}_market`, `${name}_level2`];
  await admin.createTopics({
    waitForLeaders: false,
    topics: topics.map((topic) => ({
      topic,
      numPartitions: 2,
      configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
    })),
  });
  const known = async () => {
    for (const topic of topics) assert.ok(await describeTopic(admin, topic));
  };
  await retry(known, { signal: AbortSignal.timeout(hangMs), maximumMs: 200, onError: () => {} });
  return topics;
}

const envOf = (name: string, more: Record<string, string> = {}): Record<string, string> => ({
  KAFKA_BROKERS: kafka.brokers,
  KAFKA_TOPIC: `${name}_market`,
  KAFKA_LEVEL2_TOPIC: `${name}_level2`,
  ...more,
});

/** As each service starts. Returns the limits that it keeps to, and what it has logged. */
async function startAsService(name: string, more: Record<string, string> = {}) {
  const config = configOf(envOf(name, more));
  const lines: string[] = [];
  const log = createLogger({}, { write: (line) => lines.push(JSON.parse(line).message) });
  const kafka = openBroker(config, "test", quiet);
  const limits = await prepareTopics(kafka, topicSettings(config), AbortSignal.timeout(hangMs), log);
  return { limits, lines };
}

async function ownSettings(topic: string): Promise<Record<string, string>> {
  const state = await describeTopic(admin, topic);
  return Object.fromEntries(
    [...state?.config ?? []].filter(([, { own }]) => own).map(([name, { value }]) => [name, value]),
  );
}

/** Runs `deno task topics`. */
async function topicsTask(name: string, more: Record<string, string> = {}, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=topics", "tasks/topics.ts", ...args],
    cwd: root,
    env: { ...envOf(name, more), NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return { code, lines: text(stdout).split("\n"), errors: text(stderr) };
}

Deno.test("topics: a service creates what is missing, with every setting that is wished", async () => {
  const { limits, lines } = await startAsService("missing", {
    KAFKA_PARTITIONS: "3",
    KAFKA_RETENTION_HOURS: "24",
    KAFKA_MAX_MESSAGE_BYTES: "8388608",
    KAFKA_MIN_INSYNC_REPLICAS: "1",
  });
  assert.deepEqual(limits.get("missing_level2"), { partitions: 3, maxMessageBytes: 8_388_608 });
  assert.deepEqual(lines, ["topic created", "topic created"]);
  assert.deepEqual(await ownSettings("missing_market"), {
    "cleanup.policy": "delete",
    "max.message.bytes": "8388608",
    "min.insync.replicas": "1",
    "retention.ms": "86400000",
  });
});

Deno.test("topics: services started at once all find the topics that one of them creates", async () => {
  const started = await Promise.all([1, 2, 3, 4].map(() => startAsService("together")));
  assert.equal(started.flatMap(({ lines }) => lines).length, 2);
});

Deno.test("topics: a service never changes what is there, and says what it can't do with it", async () => {
  const topics = await makeTopics("kept", operators);
  const before = await Promise.all(topics.map(ownSettings));
  const { limits, lines } = await startAsService("kept", {
    KAFKA_RETENTION_HOURS: "1",
    KAFKA_PARTITIONS: "8",
  });
  assert.deepEqual(await Promise.all(topics.map(ownSettings)), before);
  assert.deepEqual(before[0], operators);
  assert.deepEqual(limits.get("kept_market"), { partitions: 2, maxMessageBytes: 2_000_000 });
  assert.deepEqual(
    lines,
    topics.map((topic) =>
      `topic ${topic} has max.message.bytes=2000000: larger frames become feed events. \`deno task topics\` sets it to 16777216.`
    ),
  );
});

Deno.test("topics: the task shows each change, makes it, and keeps the settings that it doesn't know", async () => {
  const topics = await makeTopics("changed", operators);
  const wish = { KAFKA_PARTITIONS: "3", KAFKA_RETENTION_HOURS: "720" };
  const expected = topics.flatMap((topic) => [
    `${topic}: partitions 2 → 3`,
    `${topic}: max.message.bytes 2000000 → 16777216`,
    `${topic}: retention.ms 1209600000 → 2592000000`,
  ]);
  assert.deepEqual(await topicsTask("changed", wish, "--dry-run"), {
    code: 0,
    lines: [...expected, "nothing was done"],
    errors: "",
  });
  assert.deepEqual(await ownSettings(topics[0]!), operators);

  assert.deepEqual(await topicsTask("changed", wish), { code: 0, lines: expected, errors: "" });
  for (const topic of topics) {
    assert.deepEqual(await ownSettings(topic), {
      ...operators,
      "max.message.bytes": "16777216",
      "retention.ms": "2592000000",
    });
    assert.equal((await describeTopic(admin, topic))?.partitions, 3);
  }
  assert.deepEqual((await topicsTask("changed", wish)).lines, ["the topics are as they should be"]);
});

Deno.test("topics: what can't work is refused in one line, by services", async () => {
  await makeTopics("compacted", { "cleanup.policy": "compact" });
  await makeTopics("both", { "cleanup.policy": "compact,delete" });
  await makeTopics("small", { "max.message.bytes": "10000" });
  await makeTopics("insync", { "min.insync.replicas": "2" });
  const cases: [string, Record<string, string>, RegExp][] = [
    [
      "compacted",
      {},
      /^topic compacted_market has cleanup.policy=compact: Kafka would delete all but the newest/,
    ],
    ["both", {}, /cleanup.policy=compact,delete/],
    ["small", {}, /max.message.bytes=10000, and at least 65536 are needed/],
    ["insync", {}, /min.insync.replicas=2 and only 1 copy: no message could be written/],
    ["absent", { KAFKA_MANAGE_TOPICS: "false" }, /absent_market doesn't exist .* run `deno task topics`/],
    ["copies", { KAFKA_REPLICATION: "3" }, /KAFKA_REPLICATION is more than there are brokers/],
    ["name", { KAFKA_TOPIC: "a".repeat(300) }, /Kafka refuses the name of the topic/],
    [
      "reversed",
      { KAFKA_MIN_INSYNC_REPLICAS: "2" },
      /^KAFKA_MIN_INSYNC_REPLICAS=2: expected at most KAFKA_REPLICATION=1/,
    ],
  ];
  for (const [name, more, expected] of cases) {
    await assert.rejects(startAsService(name, more), (error: Error) => {
      assert.match(error.name, /^(Fatal|Config)Error$/, `${name}: ${error.message}`);
      assert.match(error.message, expected);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
  }
  const { code, errors } = await topicsTask("copies", { KAFKA_REPLICATION: "3" });
  assert.equal(code, 2);
  assert.match(errors, /^topic copies_market: KAFKA_REPLICATION is more than there are brokers[^\n]*$/);
});

Deno.test("topics: with KAFKA_MANAGE_TOPICS=false services use what is there, and the task still creates it", async () => {
  const unmanaged = { KAFKA_MANAGE_TOPICS: "false" };
  const created = await topicsTask("unmanaged", unmanaged);
  assert.deepEqual(created.lines, [
    "unmanaged_market: created with 4 partitions, 1 copy each",
    "unmanaged_level2: created with 4 partitions, 1 copy each",
  ]);
  assert.equal((await startAsService("unmanaged", unmanaged)).limits.size, 2);
});

Deno.test("topics: a broker is reached at an IPv6 address", async () => {
  const port = Number(kafka.brokers.split(":")[1]);
  const listener = Deno.listen({ hostname: "::1", port: 0 });
  let asked = 0;
  const accepting = (async () => {
    for await (const client of listener) {
      asked++;
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      Promise.allSettled([client.readable.pipeTo(server.writable), server.readable.pipeTo(client.writable)]);
    }
  })();
  await startAsService("ipv6", { KAFKA_BROKERS: `[::1]:${listener.addr.port}` });
  assert.ok(asked > 0);
  listener.close();
  await accepting;
});

Deno.test("topics: a setting of the broker counts as one of the topic, and isn't written into it", async () => {
  const [topic] = await makeTopics("inherited", {});
  const state = await describeTopic(admin, topic!);
  assert.deepEqual(state?.config?.get("max.message.bytes"), { value: String(32 * 1024 * 1024), own: false });
  await topicsTask("inherited");
  assert.deepEqual(Object.keys(await ownSettings(topic!)).sort(), ["max.message.bytes"]);
});
