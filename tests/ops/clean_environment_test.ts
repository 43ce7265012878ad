/**
 * No test and nothing that it starts meets what a developer has configured.
 *
 * @module
 */

import "../support/clean_environment.ts";
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { isSet, type Variable, variables } from "../../lib/process/config.ts";
import { run } from "../support/dev_run.ts";
import { root } from "../support/tape.ts";

/** Every file below a folder whose name ends so, as a path. */
function filesOf(folder: string, end: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesOf(`${folder}/${name}`, end) : name.endsWith(end) ? [`${folder}/${name}`] : []
  );
}

/** The files of the project that a file imports, and those that they import. */
function importsOf(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (
    const [, path = ""] of Deno.readTextFileSync(file).matchAll(
      /^(?:import|import .* from|} from) "(\.[^"]+\.ts)";$/gm,
    )
  ) {
    importsOf(join(dirname(file), path), seen);
  }
  return seen;
}

Deno.test("clean environment: every test of tests/ begins with a clean environment", () => {
  const clean = `${root}tests/support/clean_environment.ts`;
  const files = filesOf(`${root}tests`, "_test.ts");
  assert.ok(files.length > 30);
  assert.deepEqual(files.filter((file) => !importsOf(file).has(clean)), []);
});

Deno.test("clean environment: a test's process and its children know nothing of a developer's variables and .env", async () => {
  for (const name of Object.keys(variables) as Variable[]) assert.equal(isSet(name), false, name);
  const folder = await Deno.makeTempDir();
  try {
    const names = ["CLICKHOUSE_URL", "CLICKHOUSE_DATABASE", "KAFKA_BROKERS", "COINBASE_WS_URL", "S3_BUCKET"];
    await Deno.writeTextFile(`${folder}/.env`, names.map((name) => `${name}=of-a-developer\n`).join(""));
    await Deno.writeTextFile(
      `${folder}/print.ts`,
      `import { isSet, variables } from ${
        JSON.stringify(new URL("../../lib/process/config.ts", import.meta.url).href)
      };
console.log(JSON.stringify(Object.keys(variables).filter(isSet)));`,
    );
    const child = run(["-A", `--config=${root}deno.json`, `${folder}/print.ts`], {}, folder);
    assert.equal(await child.code, 0, child.text());
    assert.equal(child.text(), "[]\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("clean environment: dev, run by a test, drops nothing on a developer's servers", async () => {
  let connections = 0;
  const developers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = (async () => {
    for await (const connection of developers) {
      connections++;
      connection.close();
    }
  })();
  const address = `127.0.0.1:${(developers.addr as Deno.NetAddr).port}`;
  try {
    // Where it believed the variables, dev would start no Kafka: the port would be none of its business.
    const child = new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--filter=dev: a port in use", "tests/ops/dev_test.ts"],
      cwd: root,
      env: {
        CLICKHOUSE_URL: `http://${address}`,
        KAFKA_BROKERS: address,
        COINBASE_WS_URL: `ws://${address}`,
        COINBASE_REST_URL: `http://${address}`,
        TAPEHOUSE_HOME: "/nowhere",
        NO_COLOR: "1",
      },
      stdin: "null",
      stderr: "piped",
    });
    const { code, stdout, stderr } = await child.output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.match(text, /1 passed/);
    assert.equal(code, 0, text);
  } finally {
    developers.close();
    await accepted;
  }
  assert.equal(connections, 0);
});
