/**
 * Kafka with passwords, certificates and rights, and ClickHouse behind TLS: the tape goes through, and what is wrong is
 * said in one line.
 *
 * @module
 */

import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from "kafkajs";
import assert from "node:assert/strict";
import { startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { openBroker } from "../../lib/kafka/client.ts";
import { prepareTopics } from "../../lib/kafka/topics.ts";
import { topicSettings } from "../../lib/kafka/topic_plan.ts";
import { createLogger } from "../../lib/process/log.ts";
import { makeCertificates, type TestCertificates } from "../support/certificates.ts";
import { withMarket } from "../support/stoppable_market.ts";
import { type SecuredKafka, startSecuredKafka, users } from "../support/secured_kafka.ts";
import { root, type Servers, withTape } from "../support/tape.ts";
import { startTlsProxy } from "../support/tls_proxy.ts";
import { hangMs } from "../support/until.ts";
import { configOf } from "../support/config.ts";

let home: string;
let certificates: TestCertificates;
let kafka: SecuredKafka;
let servers: Servers;
let proxies: ReturnType<typeof startTlsProxy>[];
const quiet = createLogger({}, { write: () => {} });

Deno.test.beforeAll(async () => {
  home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  certificates = await makeCertificates(`${home}/certificates`);
  const port = freePort();
  const [startedKafka, clickhouse] = await Promise.all([
    startSecuredKafka(home, certificates),
    startClickHouse({ home, port, logFile: `${home}/logs/clickhouse.log` }),
  ]);
  kafka = startedKafka;
  proxies = [certificates.server, certificates.elsewhere].map((pair) => startTlsProxy(port, pair));
  servers = {
    home,
    kafka,
    clickhouse,
    // Stands in place of the sets' own.
    runArguments: [`--allow-read=.env,sql,${certificates.folder}`],
    startKafka: () => Promise.reject(new Error("not here")),
    startClickHouse: () => Promise.reject(new Error("not here")),
    stop: () => Promise.resolve(),
  };
});
Deno.test.afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await Promise.all([kafka.stop(), servers.clickhouse.stop()]);
  await Deno.remove(home, { recursive: true });
});

const tls = () => ({ KAFKA_TLS: "true", KAFKA_CA_FILE: certificates.ca });
const login = (user: keyof typeof users, mechanism: string) => ({
  ...tls(),
  KAFKA_BROKERS: kafka.sasl,
  KAFKA_SASL_MECHANISM: mechanism,
  KAFKA_USERNAME: user,
  KAFKA_PASSWORD: users[user],
});

/** What docs/kafka.md says that each service needs. */
type Right = [resource: "TOPIC" | "GROUP", name: string, operation: keyof typeof AclOperationTypes];

async function grant(user: keyof typeof users, rights: readonly Right[]): Promise<void> {
  const config = configOf({ KAFKA_BROKERS: kafka.brokers });
  const admin = openBroker(config, "test", quiet).admin();
  await admin.connect();
  await admin.createAcls({
    acl: rights.map(([resource, resourceName, operation]) => ({
      resourceType: AclResourceTypes[resource],
      resourceName,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: `User:${user}`,
      host: "*",
      operation: AclOperationTypes[operation],
      permissionType: AclPermissionTypes.ALLOW,
    })),
  });
  await admin.disconnect();
}

Deno.test("kafka security: SCRAM over TLS and the documented rights carry the tape, to a ClickHouse behind TLS", () =>
  withMarket(servers, {
    rate: 100,
    env: { CLICKHOUSE_URL: `https://127.0.0.1:${proxies[0]!.port}`, CLICKHOUSE_CA_FILE: certificates.ca },
  }, async (market) => {
    const { tape } = market;
    const { KAFKA_TOPIC: topic, KAFKA_LEVEL2_TOPIC: level2, KAFKA_GROUP: group } = tape.config;
    const topics = await runOnce("tasks/topics.ts", "topics", tape.env);
    assert.equal(topics.code, 0, topics.errors);
    for (const name of [topic, level2]) {
      await grant("producer", [["TOPIC", name, "WRITE"], ["TOPIC", name, "DESCRIBE_CONFIGS"]]);
      await grant("consumer", [["TOPIC", name, "READ"]]);
    }
    await grant("consumer", [["GROUP", group, "READ"]]);

    const consumer = await tape.start("consumer", login("consumer", "scram-sha-512"));
    const producer = await tape.start("producer", login("producer", "scram-sha-256"));
    await market.moreTrades(200);
    await market.prove();
    const warnings = (await consumer.log()).filter((line) =>
      String(line.message).includes("DESCRIBE_CONFIGS")
    );
    assert.equal(warnings.length, 2, "one for each topic whose settings this user may not read");
    assert.ok(!(await producer.log()).some((line) => String(line.message).includes("DESCRIBE_CONFIGS")));
  }));

Deno.test("kafka security: what is refused is one line within seconds, and says what to do", async () => {
  const mutual = {
    KAFKA_BROKERS: kafka.mutual,
    KAFKA_CERT_FILE: certificates.client.cert,
    KAFKA_KEY_FILE: certificates.client.key,
  };
  const scram = login("nobody", "scram-sha-256");
  const cases: [string, Record<string, string>, "ConfigError" | "FatalError", RegExp][] = [
    ["wrong password", { ...scram, KAFKA_PASSWORD: "x" }, "ConfigError", /credentials.*KAFKA_PASSWORD/],
    [
      "wrong password, plain",
      { ...login("nobody", "plain"), KAFKA_PASSWORD: "x" },
      "ConfigError",
      /credentials.*KAFKA_PASSWORD/,
    ],
    [
      "wrong authority",
      { ...scram, KAFKA_CA_FILE: certificates.otherCa },
      "ConfigError",
      /set KAFKA_CA_FILE/,
    ],
    ["no authority", { ...scram, KAFKA_CA_FILE: "" }, "ConfigError", /set KAFKA_CA_FILE/],
    ["expired", { ...scram, KAFKA_BROKERS: kafka.expired }, "FatalError", /certificate has expired/],
    [
      "another name",
      { ...scram, KAFKA_BROKERS: kafka.elsewhere },
      "ConfigError",
      /another name: KAFKA_BROKERS/,
    ],
    ["no certificate", { ...tls(), KAFKA_BROKERS: kafka.mutual }, "ConfigError", /look at KAFKA_CERT_FILE/],
    ["SASL where there is none", { ...scram, ...mutual }, "ConfigError", /KAFKA_SASL_MECHANISM=none/],
    ["no rights", scram, "FatalError", /refuses this user the topic: docs\/kafka.md/],
    ["a certificate without rights", { ...tls(), ...mutual }, "FatalError", /refuses this user the topic/],
    [
      "too many copies",
      { KAFKA_BROKERS: kafka.brokers, KAFKA_REPLICATION: "3" },
      "ConfigError",
      /KAFKA_REPLICATION is more than there are brokers/,
    ],
  ];
  await Promise.all(cases.map(async ([what, env, name, expected]) => {
    const config = configOf({ KAFKA_TOPIC: "refused", KAFKA_LEVEL2_TOPIC: "refused2", ...env });
    const preparing = prepareTopics(
      openBroker(config, "test", quiet),
      topicSettings(config),
      AbortSignal.timeout(hangMs),
      quiet,
    );
    await assert.rejects(preparing, (error: Error) => {
      assert.equal(error.name, name, `${what}: ${error.message}`);
      assert.match(error.message, expected, what);
      assert.doesNotMatch(error.message, /\n|secret/, what);
      return true;
    });
  }));
});

Deno.test("kafka security: the services end with one line of error, with 2 where a variable is wrong", () =>
  withTape(servers, {}, async (tape) => {
    const scram = login("nobody", "scram-sha-512");
    const missing = `${certificates.folder}/missing.pem`;
    const cases: [string, Record<string, string>, number, RegExp][] = [
      ["producer", { ...scram, KAFKA_PASSWORD: "x" }, 2, /Kafka refused the credentials/],
      ["producer", scram, 1, /refuses this user the topic/],
      ["producer", { ...scram, KAFKA_CA_FILE: missing }, 2, /^KAFKA_CA_FILE=.*missing.pem: no such file$/],
      ["consumer", { ...scram, KAFKA_CA_FILE: certificates.otherCa }, 2, /set KAFKA_CA_FILE/],
      [
        "consumer",
        { CLICKHOUSE_URL: `https://127.0.0.1:${proxies[0]!.port}` },
        2,
        /^ClickHouse at CLICKHOUSE_URL: .*set CLICKHOUSE_CA_FILE/,
      ],
      [
        "consumer",
        { CLICKHOUSE_URL: `https://127.0.0.1:${proxies[1]!.port}`, CLICKHOUSE_CA_FILE: certificates.ca },
        2,
        /another name: CLICKHOUSE_URL/,
      ],
    ];
    for (const [service, env, code, expected] of cases) {
      const run = await runOnce(`${service}.ts`, service, { ...tape.env, ...env });
      const lines = run.errors.split("\n").filter((line) => line.startsWith("{")).map((line) =>
        JSON.parse(line)
      );
      const errors = lines.filter(({ level }) => level === "error");
      assert.equal(errors.length, 1, run.errors);
      assert.match(errors[0].message, expected);
      assert.equal(run.code, code, run.errors);
    }
  }));

/** Runs an entrypoint under its permission set to its end. */
async function runOnce(
  file: string,
  permissions: string,
  env: Record<string, string>,
): Promise<{ code: number; errors: string }> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", `-P=${permissions}`, ...servers.runArguments ?? [], file],
    cwd: root,
    env: { ...env, METRICS_PORT: String(freePort()), COINBASE_WS_URL: "ws://127.0.0.1:1", NO_COLOR: "1" },
    signal: AbortSignal.timeout(hangMs),
  }).output();
  return { code, errors: new TextDecoder().decode(stderr) };
}
