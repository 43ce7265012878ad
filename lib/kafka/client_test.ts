import assert from "node:assert/strict";
import { splitAddress } from "./client.ts";
import { judgeTopic, planTopic, topicSettings, type TopicState, topicVariables } from "./topic_plan.ts";
import { explainAtStart, explainBrokerError, hintOf, kafkaErrorType } from "./kafka_errors.ts";
import { readConfig } from "../process/config.ts";
import { ConfigError, FatalError } from "../core/errors.ts";

const wished = (env: Record<string, string> = {}) =>
  topicSettings(readConfig(topicVariables, (name) => env[name]))[0]!;

/** A topic whose settings are its own, but for those in `inherited`. */
function state(
  own: Record<string, string>,
  inherited: Record<string, string> = {},
  more: Partial<TopicState> = {},
): TopicState {
  const entries = (values: Record<string, string>, own: boolean) =>
    Object.entries(values).map(([name, value]) => [name, { value, own }] as const);
  return {
    partitions: 4,
    replication: 3,
    config: new Map([...entries(inherited, false), ...entries(own, true)]),
    ...more,
  };
}

Deno.test("topics: copies that must be in sync are one fewer than all, or as many as chosen", () => {
  const insync = (env: Record<string, string>) => wished(env).config["min.insync.replicas"];
  assert.equal(insync({}), undefined);
  assert.equal(insync({ KAFKA_REPLICATION: "2" }), "1");
  assert.equal(insync({ KAFKA_REPLICATION: "3" }), "2");
  assert.equal(insync({ KAFKA_REPLICATION: "3", KAFKA_MIN_INSYNC_REPLICAS: "3" }), "3");
  assert.equal(insync({ KAFKA_MIN_INSYNC_REPLICAS: "1" }), "1");
  assert.throws(() => wished({ KAFKA_REPLICATION: "2", KAFKA_MIN_INSYNC_REPLICAS: "3" }), ConfigError);
});

Deno.test("topics: a plan changes what differs, and hands back every other setting of the topic's own", () => {
  const wanted = wished({ KAFKA_REPLICATION: "3", KAFKA_RETENTION_HOURS: "1" });
  const { changes, config, partitions, create } = planTopic(
    wanted,
    state(
      { "retention.ms": "7200000", "retention.bytes": "1", "cleanup.policy": "delete" },
      { "max.message.bytes": "1048588", "min.insync.replicas": "2", "segment.ms": "5" },
      { partitions: 2 },
    ),
  );
  assert.equal(create, false);
  assert.equal(partitions, 4);
  assert.deepEqual(changes.map(({ change }) => change), [
    "partitions 2 → 4",
    "max.message.bytes 1048588 → 16777216",
    "retention.ms 7200000 → 3600000",
  ]);
  assert.deepEqual(config, {
    "retention.ms": "3600000",
    "retention.bytes": "1",
    "cleanup.policy": "delete",
    "max.message.bytes": "16777216",
  });
});

Deno.test("topics: a plan asks for nothing where nothing differs, and not for more copies in sync than there are", () => {
  const wanted = wished({ KAFKA_REPLICATION: "3" });
  const right = { ...wanted.config };
  assert.deepEqual(planTopic(wanted, state(right)), { create: false, changes: [] });
  const single = state({ ...right, "min.insync.replicas": "1" }, {}, { replication: 1 });
  assert.deepEqual(planTopic(wanted, single), { create: false, changes: [] });
  // Who left both variables at their defaults hasn't asked to lower what is there.
  assert.deepEqual(planTopic(wished(), state({ ...right, "min.insync.replicas": "2" })).changes, []);
  const { config: _, ...unreadable } = state({});
  assert.deepEqual(planTopic(wanted, unreadable), { create: false, changes: [] });
});

Deno.test("topics: one whose settings can't be read is used with a warning, one that eats messages isn't", () => {
  const right = { "cleanup.policy": "delete", "max.message.bytes": "16777216" };
  assert.deepEqual(judgeTopic(wished(), state(right)), { warnings: [] });
  const { config: _, ...unreadable } = state({});
  assert.match(judgeTopic(wished(), unreadable).warnings[0]!, /DESCRIBE_CONFIGS/);
  assert.match(
    judgeTopic(wished(), state({ ...right, "max.message.bytes": "1000000" })).warnings[0]!,
    /feed events/,
  );
  const refused: Record<string, string>[] = [
    { "cleanup.policy": "compact" },
    { "max.message.bytes": "65535" },
    { "min.insync.replicas": "4" },
  ];
  for (const setting of refused) {
    assert.ok(judgeTopic(wished(), state({ ...right, ...setting })).refused, JSON.stringify(setting));
  }
});

Deno.test("broker: an address is a host without brackets and a port", () => {
  assert.deepEqual(splitAddress("kafka:9092"), { hostname: "kafka", port: 9092 });
  assert.deepEqual(splitAddress("[2001:db8::7]:9093"), { hostname: "2001:db8::7", port: 9093 });
});

/** As kafkajs makes them. */
const kafkaError = (type: string, message = type) =>
  Object.assign(new Error(message), { name: "KafkaJSProtocolError", type });

Deno.test("broker: errors that waiting can't cure are told in one line, found within what wraps them", () => {
  const retries = (error: Error) =>
    Object.assign(new Error(error.message, { cause: error }), { name: "KafkaJSNumberOfRetriesExceeded" });
  const aggregate = (error: Error) => Object.assign(new Error("Topic creation errors"), { errors: [error] });
  const tls = Object.assign(new Error("Connection error: certificate has expired"), {
    name: "KafkaJSConnectionError",
    code: "CERT_HAS_EXPIRED",
    broker: "kafka:9093",
  });
  const cases: [Error, boolean, RegExp][] = [
    [kafkaError("TOPIC_AUTHORIZATION_FAILED"), false, /docs\/kafka.md/],
    [retries(kafkaError("GROUP_AUTHORIZATION_FAILED")), false, /KAFKA_GROUP/],
    [aggregate(kafkaError("POLICY_VIOLATION")), true, /KAFKA_MAX_MESSAGE_BYTES/],
    [aggregate(kafkaError("INVALID_REPLICATION_FACTOR")), true, /KAFKA_REPLICATION/],
    [kafkaError("INVALID_TIMESTAMP"), false, /clock/],
    [retries(tls), false, /^Kafka at kafka:9093: its certificate has expired/],
    [
      Object.assign(new Error("SASL OAUTH mechanism is not supported by the server"), {
        name: "KafkaJSSASLAuthenticationError",
      }),
      true,
      /refused the mechanism/,
    ],
  ];
  for (const [error, configuration, expected] of cases) {
    const explained = explainBrokerError(error);
    assert.ok(explained instanceof FatalError, error.message);
    assert.match(explained.message, expected);
    assert.equal(explainAtStart(error) instanceof ConfigError, configuration, error.message);
  }
  const passing = [
    kafkaError("NOT_ENOUGH_REPLICAS"),
    kafkaError("LEADER_NOT_AVAILABLE"),
    kafkaError("UNKNOWN_TOPIC_OR_PARTITION"),
    Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }),
  ];
  for (const error of passing) assert.equal(explainAtStart(error), error, error.message);
  assert.equal(kafkaErrorType(retries(kafkaError("MESSAGE_TOO_LARGE"))), "MESSAGE_TOO_LARGE");
  assert.match(hintOf(retries(new Error("Closed connection")))!, /KAFKA_TLS/);
  assert.equal(hintOf(kafkaError("NOT_ENOUGH_REPLICAS")), undefined);
});
