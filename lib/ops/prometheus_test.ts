import assert from "node:assert/strict";
import { Counter, Histogram, Registry } from "prom-client";
import { buckets, parseMetrics, quantile, total } from "./prometheus.ts";

Deno.test("prometheus: what prom-client writes is read back", async () => {
  const registry = new Registry();
  const rows = new Counter({ name: "rows_total", help: "h", labelNames: ["table"], registers: [registry] });
  rows.inc({ table: "trades" }, 3);
  rows.inc({ table: 'odd "name"' }, 4);
  const samples = parseMetrics(await registry.metrics());
  assert.equal(total(samples, "rows_total"), 7);
  assert.deepEqual(samples[0], { name: "rows_total", labels: { table: "trades" }, value: 3 });
  assert.equal(total(samples, "unknown"), 0);
});

Deno.test("prometheus: a quantile speaks of what came between two readings", async () => {
  const registry = new Registry();
  const seconds = new Histogram({ name: "s", help: "h", buckets: [0.1, 0.2, 0.5], registers: [registry] });
  const read = async () => buckets(parseMetrics(await registry.metrics()), "s");
  for (let i = 0; i < 100; i++) seconds.observe(0.45);
  const before = await read();
  assert.equal(quantile(0.5, before, before), undefined);
  for (let i = 0; i < 98; i++) seconds.observe(0.05);
  seconds.observe(0.15);
  seconds.observe(9);
  const after = await read();
  assert.equal(quantile(0.5, before, after), 0.1);
  assert.equal(quantile(0.99, before, after), 0.2);
  assert.equal(quantile(1, before, after), Infinity);
});
