/**
 * What a benchmark measured, on which machine and of which commit: bench/results, from which the documents
 * take their figures.
 *
 * @module
 */

import type { ClickHouseClient } from "@clickhouse/client";
import { totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { tuples } from "../lib/clickhouse/rows.ts";
import { FatalError } from "../lib/core/errors.ts";

/** A line of figures: column, with its unit → what is shown. */
export type Row = Record<string, string | number>;

/** Where and of what something was measured. */
export interface Circumstances {
  /** Such as `deno task bench api --seconds 20`. */
  command: string;
  /** UTC, to the second. */
  measured_at: string;
  /** Short; with ` and changes` where the tree had some. */
  commit: string;
  machine: {
    cores: number;
    memory_gib: number;
    load_before: number;
    /** Where the servers' data lay. */
    file_system?: string;
  };
  /** deno and the servers that took part. */
  versions: Record<string, string>;
}

/** The content of a result file. */
export interface Result extends Circumstances {
  /** Name → its lines, all with the same columns. */
  tables: Record<string, Row[]>;
}

/** What a benchmark gives back. */
export type Measured = Pick<Result, "versions" | "tables">;

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = `${root}bench/results`;

/**
 * Looks at the machine and the tree; called before anything is measured.
 *
 * @throws {FatalError} where this is no checkout: a figure names its commit
 */
export async function circumstances(command: string): Promise<Circumstances> {
  const commit = await git("rev-parse", "--short", "HEAD");
  const changes = await git("status", "--porcelain", "--", ".", ":!bench/results", ":!docs");
  return {
    command,
    measured_at: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    commit: changes === "" ? commit : `${commit} and changes`,
    machine: {
      cores: navigator.hardwareConcurrency,
      memory_gib: Math.round(totalmem() / 2 ** 30),
      load_before: Number((Deno.loadavg()[0] ?? 0).toFixed(2)),
      ...await fileSystem(),
    },
    versions: { Deno: Deno.version.deno },
  };
}

/**
 * What temporary folders lie on, such as `ext4`; nothing where Linux doesn't tell it. An ext4 without a journal is called so:
 * it makes new files slowly where many were deleted, and ClickHouse makes hundreds a second.
 */
async function fileSystem(): Promise<{ file_system?: string }> {
  if (Deno.build.os !== "linux") return {};
  const folder = await Deno.makeTempDir({ prefix: "tapehouse-bench-" });
  const { stdout } = await new Deno.Command("df", { args: ["--output=fstype,source", folder] }).output();
  await Deno.remove(folder);
  const [, line = ""] = new TextDecoder().decode(stdout).trim().split("\n");
  const [type, source = ""] = line.trim().split(/\s+/);
  if (!type) return {};
  const device = source.replace("/dev/", "");
  const journals = type === "ext4" ? Array.from(Deno.readDirSync("/proc/fs/jbd2"), ({ name }) => name) : [];
  const hasJournal = type !== "ext4" || journals.some((name) => name.startsWith(`${device}-`));
  return { file_system: hasJournal ? type : "ext4 without a journal" };
}

/** What git says of this checkout. */
async function git(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("git", { args, cwd: root }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (!success) {
    throw new FatalError(`git ${args.join(" ")}, for the commit that is measured: ${text(stderr)}`);
  }
  return text(stdout);
}

/** Writes `bench/results`. @returns its path, relative to the project */
export async function writeResult(subject: string, result: Result): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(`${folder}/${subject}.json`, `${JSON.stringify(result, null, 2)}\n`);
  return `bench/results/${subject}.json`;
}

/** @throws {Deno.errors.NotFound} when nothing was measured yet */
export function readResult(subject: string): Result {
  return JSON.parse(Deno.readTextFileSync(`${folder}/${subject}.json`));
}

/** Percentiles in ms, rounded to a tenth. */
export function percentiles(ms: readonly number[]): Record<"p50, ms" | "p99, ms" | "max, ms", number> {
  const at = (share: number) => Math.round(quantile(ms, share) * 10) / 10;
  return { "p50, ms": at(0.5), "p99, ms": at(0.99), "max, ms": at(1) };
}

/** The value below which that share of the values lies: 0.5 is the middle, of an even number the upper one; 1 the largest. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

/** The middle of values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Such as `12–15`. */
export function spread(values: readonly number[]): string {
  return `${Math.min(...values)}–${Math.max(...values)}`;
}

/** How often one thing goes into another, as far as it means something: `0.62`, `57`. */
export function ratio(value: number): number {
  return value >= 10 ? Math.round(value) : Number(value.toFixed(2));
}

/** Such as `26.7.2.1`. */
export async function engineVersion(clickhouse: ClickHouseClient): Promise<string> {
  const [[version] = [""]] = await tuples<[string]>(clickhouse, "SELECT version()");
  return version;
}
