/**
 * Loaded before a service, with `--preload`: writes each metric that it declares into its log, as a line
 * `{"declared":"name{label,…}"}`.
 *
 * @module
 */

import { type Metric, Registry } from "prom-client";

const { registerMetric } = Registry.prototype;
Registry.prototype.registerMetric = function (metric: Metric<string>) {
  const { name, labelNames = [] } = metric as Metric<string> & { name: string; labelNames?: string[] };
  const labels = labelNames.length === 0 ? "" : `{${labelNames.join(",")}}`;
  console.log(JSON.stringify({ declared: name + labels }));
  return registerMetric.call(this, metric);
};
