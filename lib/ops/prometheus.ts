/**
 * Reading Prometheus text: what `deno task dev` shows comes from the same `/metrics` that Prometheus scrapes.
 *
 * @module
 */

/** One line of `/metrics`. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Parses the text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (match === null) continue;
    const labels = Object.fromEntries(
      [...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, value]),
    );
    samples.push({ name: match[1] ?? "", labels, value: Number(match[3]?.replace("Inf", "Infinity")) });
  }
  return samples;
}

/** The sum of a metric over its labels; 0 when there is none. */
export function total(samples: readonly Sample[], name: string): number {
  return samples.filter((sample) => sample.name === name).reduce((sum, { value }) => sum + value, 0);
}

/** A histogram's counts by upper bound; the counts are cumulative. */
export type Buckets = Map<number, number>;

/** The buckets of a histogram. */
export function buckets(samples: readonly Sample[], name: string): Buckets {
  return new Map(
    samples.filter((sample) => sample.name === `${name}_bucket`)
      .map(({ labels, value }) => [Number(labels.le?.replace("+Inf", "Infinity")), value]),
  );
}

/**
 * The quantile of what was observed between two readings of a histogram: the upper bound of the bucket that holds it.
 *
 * @returns undefined when nothing was observed in between
 */
export function quantile(share: number, before: Buckets, after: Buckets): number | undefined {
  const counts = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)] as const)
    .sort(([left], [right]) => left - right);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return undefined;
  return counts.find(([, count]) => count >= share * all)?.[0];
}
