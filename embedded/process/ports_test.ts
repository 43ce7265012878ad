import assert from "node:assert/strict";
import { assertPortFree, freePort, listeningInodes } from "./ports.ts";

Deno.test("ports: a free port can be listened on", async () => {
  const port = freePort();
  await assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT");
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

Deno.test("ports: free ports of processes that run at once are each given once, and a preferred one only when it is free", async () => {
  // All of them try the same ports first.
  const code = `import { freePort } from "${import.meta.resolve("./ports.ts")}";
    Math.random = () => 0;
    console.log(JSON.stringify(Array.from({ length: 150 }, () => freePort())));
    await Deno.stdin.read(new Uint8Array(1));`;
  const processes = [1, 2, 3, 4].map(() =>
    new Deno.Command(Deno.execPath(), { args: ["eval", code], stdin: "piped", stdout: "piped" }).spawn()
  );
  const lists = await Promise.all(processes.map(async ({ stdout }) => {
    const reader = stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.endsWith("\n")) text += (await reader.read()).value ?? assert.fail(text);
    await reader.cancel();
    return JSON.parse(text) as number[];
  }));
  for (const { stdin, status } of processes) {
    await stdin.close();
    await status;
  }
  const all = [...lists.flat(), ...Array.from({ length: 150 }, () => freePort())];
  assert.equal(new Set(lists.flat()).size, 600);
  // What a system hands out by itself begins at 32768.
  assert.ok(all.every((port) => port >= 20_000 && port < 32_768));

  using held = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = held.addr as Deno.NetAddr;
  assert.notEqual(freePort(port), port);
  const free = freePort();
  assert.equal(freePort(free), free);
});

for (const hostname of ["127.0.0.1", "0.0.0.0"]) {
  Deno.test(`ports: a port held on ${hostname} is refused in one line that names its holder and the way out`, async () => {
    using held = Deno.listen({ hostname, port: 0 });
    const { port } = held.addr as Deno.NetAddr;
    await assert.rejects(assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT"), {
      message: `Port ${port} for Kafka is held by deno (pid ${Deno.pid}). ` +
        "Stop it, or set EMBEDDED_KAFKA_PORT to another port.",
    });
  });
}

Deno.test("ports: only listening sockets of the port itself are looked at", () => {
  const table = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0",
    "   1: 0100007F:2384 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 20 4",
    "   2: 0100007F:D431 0100007F:2384 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0 20 4",
    "   3: 00000000000000000000000000000000:2384 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1",
    "   4: 0100007F:2385 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4715 1 0 100 0",
    "",
  ].join("\n");
  assert.deepEqual(listeningInodes(table, 9092), ["4711", "4714"]);
  assert.deepEqual(listeningInodes("", 9092), []);
});
