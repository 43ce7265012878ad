/**
 * What a power cut may do to ClickHouse's disk, done to the newest parts of some tables while the server is down: gone, or
 * cut in the middle of a file. More than a disk that keeps its word would lose: each table is hit by itself, so any of
 * them may lack what the others have.
 *
 * @module
 */

/** The tables that may be hit. Not feed_events and book_losses: what is told of a loss has no other source. */
export const hitTables = [
  "trades",
  "trade_runs",
  "candle_states",
  "tickers",
  "heartbeats",
  "heartbeat_ends_state",
  "book_changes",
  "book_snapshots",
  "book_levels",
  "book_connections_state",
] as const;
export type HitTable = (typeof hitTables)[number];

/** Where each table lies on disk. */
export async function readTableFolders(
  query: (statement: string) => Promise<Record<string, string>[]>,
): Promise<Map<HitTable, string>> {
  const rows = await query(
    "SELECT name, data_paths[1] AS folder FROM system.tables WHERE database = currentDatabase()",
  );
  return new Map(
    hitTables.map((table) => {
      const folder = rows.find(({ name }) => name === table)?.folder;
      if (!folder) throw new Error(`${table} has no folder`);
      return [table, folder];
    }),
  );
}

/** A part's folder: `202607_12_15_1`, the partition and the blocks that are in it. */
export interface Part {
  name: string;
  partition: string;
  first: number;
  last: number;
  level: number;
}

/** Reads a part's name; undefined when it is none. */
export function parsePart(name: string): Part | undefined {
  const match = /^([a-z]+|\d+)_(\d+)_(\d+)_(\d+)(?:_\d+)?$/.exec(name);
  if (!match) return undefined;
  const [first, last, level] = match.slice(2, 5).map(Number) as [number, number, number];
  return { name, partition: match[1] ?? "", first, last, level };
}

/**
 * The parts that hold a table's newest block, of one partition: the one that was inserted, and those that were merged
 * of it since.
 *
 * @param spared the newest block that no longer has another source
 */
export function newestParts(parts: readonly Part[], spared = 0): Part[] {
  const last = Math.max(...parts.map((part) => part.last));
  const newest = parts.filter((part) => part.last === last);
  return newest.some((part) => part.first <= spared) ? [] : newest;
}

/** What was done to a table. */
export interface Hit {
  table: HitTable;
  parts: string[];
  how: "removed" | "truncated";
}

/**
 * Damages the newest parts of each table.
 *
 * @param folders table → its folder
 * @param spared `TABLE/PARTITION` → the newest block that must not be touched
 * @param how for each table
 */
export async function damage(
  folders: ReadonlyMap<HitTable, string>,
  spared: ReadonlyMap<string, number>,
  how: (table: HitTable) => Hit["how"] | undefined,
): Promise<Hit[]> {
  const hits: Hit[] = [];
  for (const [table, folder] of folders) {
    const kind = how(table);
    if (kind === undefined) continue;
    const parts = (await Array.fromAsync(Deno.readDir(folder))).flatMap(({ name }) => parsePart(name) ?? []);
    // The newest partition: days and months sort by name.
    const partition = parts.map((part) => part.partition).toSorted().at(-1);
    if (partition === undefined) continue;
    const newest = newestParts(
      parts.filter((part) => part.partition === partition),
      spared.get(`${table}/${partition}`),
    );
    for (const { name } of newest) await ruin(`${folder}/${name}`, kind);
    if (newest.length > 0) hits.push({ table, parts: newest.map(({ name }) => name), how: kind });
  }
  return hits;
}

async function ruin(part: string, how: Hit["how"]): Promise<void> {
  if (how === "removed") return await Deno.remove(part, { recursive: true });
  // A wide part has a file a column, a compact one has one for all.
  const data = (await Array.fromAsync(Deno.readDir(part))).find(({ name }) => name.endsWith(".bin"));
  if (data === undefined) return;
  const { size } = await Deno.stat(`${part}/${data.name}`);
  await Deno.truncate(`${part}/${data.name}`, Math.floor(size / 2));
}
