/**
 * The memory of a tape's processes.
 *
 * @module
 */

import { members } from "./members.ts";
import type { Memory } from "./report.ts";
import type { Rig } from "./rig.ts";

/** Resident memory in MiB by process. */
export type MemoryByProcess = ReadonlyMap<string, number>;

/** Asks the system; this process, with the exchange in it, is included. */
export async function measureMemory(rig: Rig): Promise<MemoryByProcess> {
  const memory = new Map([["chaos and the exchange", Math.round(Deno.memoryUsage().rss / 1048576)]]);
  for (const name of members) {
    const ps = new Deno.Command("ps", { args: ["-o", "rss=", "-p", String(rig.pid(name) ?? 0)] });
    memory.set(name, Math.round(Number(new TextDecoder().decode((await ps.output()).stdout)) / 1024));
  }
  return memory;
}

/** Start and end beside each other. */
export function compareMemory(start: MemoryByProcess, end: MemoryByProcess): Memory[] {
  return [...start].map(([name, bytes]) => ({ name, start: bytes, end: end.get(name) ?? 0 }));
}
