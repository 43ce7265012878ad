/**
 * What a service says of itself at `/metrics`.
 *
 * @module
 */

/**
 * A figure of a service: the sum over all labels, or with `name{label="…"}` that one, 0 while nobody has counted it. Without
 * a metric of that name, as before a service has declared it, it is NaN, so that a misspelt one is never taken for 0.
 */
export async function readMetric(metricsUrl: string, series: string): Promise<number> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text();
  const [name = ""] = series.split("{");
  const histogram = name.replace(/_(count|sum|bucket)$/, "");
  if (![name, histogram].some((declared) => text.includes(`# TYPE ${declared} `))) return NaN;
  const lines = text.split("\n").filter((line) =>
    line.startsWith(series) && /^[ {]/.test(line.slice(series.length))
  );
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}
