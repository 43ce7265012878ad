import assert from "node:assert/strict";
import { assertPortFree, freePort, listeningInodes } from "./ports.ts";

Deno.test("a free port can be listened on", async () => {
  const port = freePort();
  await assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT");
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

for (const hostname of ["127.0.0.1", "0.0.0.0"]) {
  Deno.test(`a port held on ${hostname} is refused in one line that names its holder and the way out`, async () => {
    using held = Deno.listen({ hostname, port: 0 });
    const { port } = held.addr as Deno.NetAddr;
    await assert.rejects(assertPortFree(port, "Kafka", "EMBEDDED_KAFKA_PORT"), {
      message: `Port ${port} for Kafka is held by deno (pid ${Deno.pid}). ` +
        "Stop it, or set EMBEDDED_KAFKA_PORT to another port.",
    });
  });
}

Deno.test("only listening sockets of the port itself are looked at", () => {
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
