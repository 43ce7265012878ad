import assert from "node:assert/strict";
import { ConfigError } from "../core/errors.ts";
import { openFaultPoint } from "./fault_point.ts";
import { createLogger } from "./log.ts";

Deno.test("fault point: a batch stands still at the chosen place only, and only once", async () => {
  const lines: string[] = [];
  const reached = Promise.withResolvers<void>();
  const log = createLogger({}, {
    write(line) {
      lines.push(line);
      reached.resolve();
    },
  });
  const at = openFaultPoint("after the inserts", log);
  await at("before the in-flight commit", {});
  assert.deepEqual(lines, []);
  // A signal listener alone doesn't keep a process waiting.
  const awake = setInterval(() => {}, 1000);
  let passed = false;
  const standing = at("after the inserts", { partition: 3 }).then(() => passed = true);
  await reached.promise;
  assert.equal(passed, false);
  assert.match(lines[0] ?? "", /"point":"after the inserts","partition":3/);
  Deno.kill(Deno.pid, "SIGCONT");
  await standing;
  clearInterval(awake);
  await at("after the inserts", {});
  assert.equal(lines.length, 1);
});

Deno.test("fault point: one that doesn't exist is named, with those that do", () => {
  assert.throws(() => openFaultPoint("somewhere", createLogger()), (error) => {
    assert(error instanceof ConfigError);
    assert.match(
      error.message,
      /^TAPEHOUSE_FAULT_POINT=somewhere: expected one of: before the in-flight commit, /,
    );
    return true;
  });
});

Deno.test("fault point: it is chosen only by who may, for the consumer's own permission set keeps it from being read", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tapehouse-" });
  try {
    const script = `${folder}/script.ts`;
    const module = new URL("./fault_point.ts", import.meta.url).href;
    await Deno.writeTextFile(
      script,
      `import { chosenFaultPoint } from ${
        JSON.stringify(module)
      };\nconsole.log(String(chosenFaultPoint()));\n`,
    );
    const chosen = async (...permissions: string[]) => {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-q", `--config=${import.meta.dirname}/../../deno.json`, ...permissions, script],
        env: { TAPEHOUSE_FAULT_POINT: "after the inserts" },
      }).output();
      return new TextDecoder().decode(stdout).trim() || new TextDecoder().decode(stderr);
    };
    assert.equal(await chosen("-P=consumer"), "undefined");
    assert.equal(await chosen("-P=consumer", "--allow-env=TAPEHOUSE_FAULT_POINT"), "after the inserts");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
