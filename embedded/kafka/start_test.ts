import assert from "node:assert/strict";
import { newClusterId, serverProperties } from "./properties.ts";
import { javaMajor, kafkaVersion } from "./install.ts";

Deno.test("kafka: the major version is found in what any Java prints about itself", () => {
  const cases: [string, number | undefined][] = [
    ['openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17],
    ['openjdk version "25" 2025-09-16 LTS', 25],
    ['java version "1.8.0_392"\nJava(TM) SE Runtime Environment', 8],
    ['Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk version "11.0.2" 2019-01-15', 11],
    ['openjdk version "24-ea" 2025-03-18', 24],
    ["The operation couldn’t be completed. Unable to locate a Java Runtime.", undefined],
  ];
  for (const [output, major] of cases) assert.equal(javaMajor(output), major, output);
});

Deno.test("kafka: the advertised address follows the port, and nothing listens beyond loopback", () => {
  const lines = serverProperties({ port: 19092, controllerPort: 19093, data: "data" }).split("\n");
  assert.ok(lines.includes("advertised.listeners=BROKER://127.0.0.1:19092"));
  assert.ok(lines.includes("controller.quorum.voters=1@127.0.0.1:19093"));
  assert.ok(lines.includes("listeners=BROKER://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"));
  assert.ok(lines.includes("log.dirs=data"));
  assert.ok(lines.every((line) => line === "" || /^[a-z.]+=\S+$/.test(line)));
});

Deno.test("kafka: a cluster id is 16 bytes of URL-safe base64 and never looks like an option", () => {
  assert.equal(newClusterId(new Uint8Array(16)), "AAAAAAAAAAAAAAAAAAAAAA");
  // Its plain base64 would begin with "-": 0xf8 is 111110 00.
  assert.equal(newClusterId(new Uint8Array(16).fill(0xf8)), "ePj4-Pj4-Pj4-Pj4-Pj4-A");
  assert.notEqual(newClusterId(), newClusterId());
});

Deno.test("kafka: the version in messages and paths is the one that Maven is asked for", async () => {
  const pom = await Deno.readTextFile(new URL("./pom.xml", import.meta.url));
  assert.match(pom, new RegExp(`<kafka.version>${kafkaVersion.replaceAll(".", "\\.")}</kafka.version>`));
});
