/**
 * The embedded Kafka as a process: what it keeps over kill -9, what reaches it, how it starts and stops, and how its jars
 * are downloaded.
 *
 * @module
 */

import "../support/clean_environment.ts";
import { type Admin, Kafka, logLevel } from "kafkajs";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { assertPortFree, freePort } from "../../embedded/process/ports.ts";
import { startOf } from "../../embedded/process/pid_file.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** All tests share one download. */
const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
const topic = "frames";

/** Runs `body` with a TAPEHOUSE_HOME that is removed afterwards. Kafka must cope with such a name. */
async function inHome(body: (home: string) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "häuser, zwei " });
  try {
    await body(home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

function client(brokers: string): Kafka {
  return new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING });
}

async function withAdmin<T>(brokers: string, body: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = client(brokers).admin();
  await admin.connect();
  try {
    return await body(admin);
  } finally {
    await admin.disconnect();
  }
}

async function produce(brokers: string, values: Uint8Array[]): Promise<void> {
  const producer = client(brokers).producer();
  await producer.connect();
  await producer.send({ topic, acks: -1, messages: values.map((value) => ({ value: Buffer.from(value) })) });
  await producer.disconnect();
}

/** Reads `count` messages from the start of the topic; `commit` is stored as the group's place. */
async function consume(
  brokers: string,
  groupId: string,
  count: number,
  commit?: { offset: string; metadata: string },
): Promise<Uint8Array[]> {
  // A fetch that finds nothing more waits so long, and disconnect() waits for the fetch.
  const consumer = client(brokers).consumer({ groupId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const values: Uint8Array[] = [];
  const { promise: complete, resolve } = Promise.withResolvers<void>();
  await consumer.run({
    autoCommit: false,
    eachMessage: ({ message }) => {
      values.push(message.value ?? new Uint8Array());
      if (values.length === count) resolve();
      return Promise.resolve();
    },
  });
  await complete;
  if (commit) await consumer.commitOffsets([{ topic, partition: 0, ...commit }]);
  await consumer.disconnect();
  return values;
}

/** Runs `deno task kafka`'s entry to its end. */
async function runTask(env: Record<string, string>): Promise<{ code: number; errors: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `${root}tasks/kafka.ts`],
    cwd: root,
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code: output.code, errors: new TextDecoder().decode(output.stderr) };
}

async function writeProgram(path: string, script: string): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

/** A request that creates a topic, as it is on the wire (CreateTopics v2), with its length before it. */
function createTopicFrame(name: string): Uint8Array {
  const text = (value: string) => [0, value.length, ...new TextEncoder().encode(value)];
  const request = [
    ...[0, 19, 0, 2, 0, 0, 0, 1, ...text("page")],
    // One topic with one partition on one broker, no assignments, no settings; 5 s; not only validated.
    ...[0, 0, 0, 1, ...text(name), 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x13, 0x88, 0],
  ];
  return new Uint8Array([0, 0, 0, request.length, ...request]);
}

Deno.test("embedded kafka: what a browser can send is dropped unread, and no request of Kafka hides in HTTP or TLS", () =>
  inHome(async (home) => {
    const kafka = await startKafka({ home, port: freePort(), jars });
    try {
      const port = Number(kafka.brokers.split(":")[1]);
      /** What Kafka answers before it closes; `once` ends it after the first bytes. */
      const send = async (bytes: Uint8Array, once = false): Promise<number> => {
        const connection = await Deno.connect({ hostname: "127.0.0.1", port });
        try {
          await connection.write(bytes);
          let answered = 0;
          const piece = new Uint8Array(65536);
          for (let read = await connection.read(piece); read !== null; read = await connection.read(piece)) {
            answered += read;
            if (once) break;
          }
          return answered;
        } catch (error) {
          if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
          return 0;
        } finally {
          connection.close();
        }
      };
      const joined = (head: string, tail: Uint8Array) =>
        new Uint8Array([...new TextEncoder().encode(head), ...tail]);
      assert.ok(await send(createTopicFrame("made"), true) > 0);
      for (const method of ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH"]) {
        const frame = createTopicFrame(`by-${method.toLowerCase()}`);
        const head = `${method} / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: text/plain\r\n` +
          `Content-Length: ${frame.length}\r\n\r\n`;
        assert.equal(await send(joined(head, frame)), 0, method);
      }
      assert.equal(await send(joined("\x16\x03\x01\x02\x00", createTopicFrame("by-tls"))), 0);
      assert.deepEqual(await withAdmin(kafka.brokers, (admin) => admin.listTopics()), ["made"]);
    } finally {
      await kafka.stop();
    }
  }));

Deno.test("embedded kafka: messages of 5 MB and a commit's metadata outlive kill -9 and a change of the port", () =>
  inHome(async (home) => {
    const values = [randomBytes(5_000_000), new TextEncoder().encode("small"), randomBytes(5_000_000)];
    const first = await startKafka({ home, port: freePort(), jars });
    await withAdmin(first.brokers, async (admin) => {
      const configEntries = [{ name: "max.message.bytes", value: String(16 * 1024 * 1024) }];
      await admin.createTopics({
        topics: [{ topic, numPartitions: 1, configEntries }],
        waitForLeaders: true,
      });
    });
    await produce(first.brokers, values);
    const commit = { offset: "2", metadata: '{"inflight":[2,3]}' };
    assert.deepEqual((await consume(first.brokers, "clickhouse", 3, commit)).map(hex), values.map(hex));
    first.kill();
    assert.equal((await first.exited).signal, "SIGKILL");

    const second = await startKafka({ home, port: freePort(), jars });
    assert.notEqual(second.brokers, first.brokers);
    const offsets = await withAdmin(
      second.brokers,
      (admin) => admin.fetchOffsets({ groupId: "clickhouse", topics: [topic] }),
    );
    assert.deepEqual(offsets, [{ topic, partitions: [{ partition: 0, ...commit }] }]);
    assert.deepEqual((await consume(second.brokers, "another", 3)).map(hex), values.map(hex));

    const port = Number(second.brokers.split(":")[1]);
    await assert.rejects(startKafka({ home, port: freePort(), jars }), (error) => {
      assert.match(String(error), new RegExp(`Kafka already runs here as process ${second.pid}, `));
      return true;
    });
    await assert.rejects(
      startKafka({ home: `${home}/other`, port, jars }),
      {
        message: `Port ${port} for Kafka is held by java (pid ${second.pid}). ` +
          "Stop it, or set EMBEDDED_KAFKA_PORT to another port.",
      },
    );

    await second.stop();
    assert.equal(startOf(second.pid), undefined);
    await assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT");
    const log = await Deno.readTextFile(`${home}/logs/kafka.log`);
    assert.doesNotMatch(log, /SLF4J|log4j|StatusLogger|ERROR|Exception/);
  }));

Deno.test("embedded kafka: a topic that nobody created is an error", () =>
  inHome(async (home) => {
    const kafka = await startKafka({ home, port: freePort(), jars });
    try {
      await withAdmin(kafka.brokers, (admin) =>
        assert.rejects(
          admin.fetchTopicMetadata({ topics: ["mistyped"] }),
          /does not host this topic-partition/,
        ));
    } finally {
      await kafka.stop();
    }
  }));

Deno.test("embedded kafka: the task stops with exit code 0, and after a kill -9 starts again at once on the same port", () =>
  inHome(async (home) => {
    const port = freePort();
    const task = () =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", `${root}tasks/kafka.ts`],
        cwd: root,
        env: { TAPEHOUSE_HOME: home, EMBEDDED_KAFKA_PORT: String(port), NO_COLOR: "1" },
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
    const kafkaPid = () => {
      const { pid } = JSON.parse(Deno.readTextFileSync(`${home}/kafka/kafka.pid`));
      assert.ok(startOf(pid), `process ${pid} of kafka.pid runs`);
      return pid;
    };
    await Deno.mkdir(`${home}/kafka`);
    await Deno.symlink(jars, `${home}/kafka/lib-${kafkaVersion}`);

    const killed = task();
    await printed(killed.stdout, `Kafka answers on 127.0.0.1:${port}`);
    const leftOver = kafkaPid();
    killed.kill("SIGKILL");
    await killed.status;

    const stopped = task();
    await printed(stopped.stdout, `Kafka answers on 127.0.0.1:${port}`);
    assert.equal(startOf(leftOver), undefined);
    const pid = kafkaPid();
    assert.notEqual(pid, leftOver);
    stopped.kill("SIGINT");
    assert.equal((await stopped.status).code, 0);
    assert.equal(startOf(pid), undefined);
    await assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT");
  }));

/** Resolves when a process has printed `text`; then its output is no longer read. */
async function printed(stdout: ReadableStream<Uint8Array<ArrayBuffer>>, text: string): Promise<void> {
  let seen = "";
  for await (const chunk of stdout.pipeThrough(new TextDecoderStream())) {
    seen += chunk;
    if (seen.includes(text)) return;
  }
  assert.fail(`it ended without printing ${JSON.stringify(text)}, but: ${seen}`);
}

function hex(value: Uint8Array): string {
  return value.byteLength > 100 ? value.toHex().slice(0, 64) + value.byteLength : value.toHex();
}

const waysOut = "or run Kafka in Docker (deno task up), " +
  "or set KAFKA_BROKERS to the address of any Kafka or Redpanda.\n";

Deno.test("embedded kafka: what is missing on the machine is said in one line with the other ways", () =>
  inHome(async (home) => {
    const env = { TAPEHOUSE_HOME: home, EMBEDDED_KAFKA_PORT: String(freePort()) };
    assert.deepEqual(await runTask({ ...env, JAVA_HOME: `${home}/nothing` }), {
      code: 1,
      errors: `Kafka needs Java 17 or newer, and there is no working ${home}/nothing/bin/java. ` +
        `Install a JRE or JDK, ${waysOut}`,
    });
    await writeProgram(`${home}/jdk/bin/java`, `echo 'openjdk version "11.0.2" 2019-01-15' >&2`);
    assert.deepEqual(await runTask({ ...env, JAVA_HOME: `${home}/jdk` }), {
      code: 1,
      errors: `Kafka needs Java 17 or newer, and ${home}/jdk/bin/java is Java 11. ` +
        `Install a newer one, ${waysOut}`,
    });
    assert.deepEqual(await runTask({ ...env, MAVEN_HOME: `${home}/nothing` }), {
      code: 1,
      errors: `Kafka's jars are downloaded with Maven, and there is no ${home}/nothing/bin/mvn. ` +
        `Install Maven, ${waysOut}`,
    });
    const wrongPort = await runTask({ ...env, EMBEDDED_KAFKA_PORT: "0" });
    assert.equal(wrongPort.code, 2);
    assert.match(wrongPort.errors, /^EMBEDDED_KAFKA_PORT=0: .+\n$/);
  }));

Deno.test("embedded kafka: a download that fails or is cut off leaves no jars that a later start would trust", () =>
  inHome(async (home) => {
    const env = {
      TAPEHOUSE_HOME: home,
      EMBEDDED_KAFKA_PORT: String(freePort()),
      MAVEN_HOME: `${home}/maven`,
    };
    const lib = `${home}/kafka/lib-${kafkaVersion}`;
    const download = (how: string) =>
      writeProgram(
        `${home}/maven/bin/mvn`,
        `[ "$1" = --version ] && exit\nfor last; do :; done\ntouch "\${last#-DoutputDirectory=}/half.jar"\n${how}`,
      );
    await download("echo no network; exit 1");
    assert.deepEqual(await runTask(env), {
      code: 1,
      errors: `Maven could not download Kafka ${kafkaVersion}; its log ${lib}.log says why. ` +
        `Try again with a network, ${waysOut}`,
    });
    assert.equal(await Deno.readTextFile(`${lib}.log`), "no network\n");
    await assert.rejects(Deno.stat(lib), Deno.errors.NotFound);

    // $PPID is the task itself: it dies by kill -9 in the middle of the download.
    await download("kill -9 $PPID; exit 1");
    assert.equal((await runTask(env)).code, 137);
    await assert.rejects(Deno.stat(lib), Deno.errors.NotFound);
  }));

Deno.test("embedded kafka: two processes that want the jars at once download them once", () =>
  inHome(async (home) => {
    await writeProgram(
      `${home}/maven/bin/mvn`,
      `[ "$1" = --version ] && exit\necho call >>"${home}/calls"\nsleep 0.5\n` +
        `for last; do :; done\ntouch "\${last#-DoutputDirectory=}/whole.jar"`,
    );
    // What an interrupted download left over goes as well.
    await Deno.mkdir(`${home}/lib.partial-1`);
    const module = new URL("../../embedded/kafka/install.ts", import.meta.url).href;
    const script = `import { installKafka } from ${JSON.stringify(module)};
      await installKafka(${JSON.stringify(`${home}/lib`)});
      console.log([...Deno.readDirSync(${JSON.stringify(`${home}/lib`)})].map((file) => file.name).join());`;
    const install = async () => {
      const output = await new Deno.Command(Deno.execPath(), {
        args: ["eval", script],
        cwd: root,
        env: { MAVEN_HOME: `${home}/maven` },
        stdin: "null",
      }).output();
      return new TextDecoder().decode(output.stdout);
    };
    assert.deepEqual(await Promise.all([install(), install()]), ["whole.jar\n", "whole.jar\n"]);
    assert.equal(await Deno.readTextFile(`${home}/calls`), "call\n");
    const left = [...Deno.readDirSync(home)].map((entry) => entry.name).sort();
    assert.deepEqual(left, ["calls", "lib", "lib.lock", "lib.log", "maven"]);
  }));
