/**
 * What a process has used, as Linux counts it.
 *
 * @module
 */

/** What `/proc` counts in: a hundredth of a second on every Linux of today (`getconf CLK_TCK`). */
const ticksPerSecond = 100;

/** CPU seconds that a process has used so far, in user and system mode; 0 for one that has gone. */
export function cpuSeconds(pid: number): number {
  const stat = readProc(pid, "stat");
  // The name in brackets may hold blanks: fields are counted behind it (proc(5): utime is 14, stime 15).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / ticksPerSecond;
}

/** The most memory that a process has had so far (`VmHWM`), in MB; 0 for one that has gone. */
export function peakMemory(pid: number): number {
  return megabytes(pid, /^VmHWM:\s*(\d+) kB$/m);
}

/** The memory that a process has now (`VmRSS`), in MB; 0 for one that has gone. */
export function memory(pid: number): number {
  return megabytes(pid, /^VmRSS:\s*(\d+) kB$/m);
}

function megabytes(pid: number, line: RegExp): number {
  const [, kilobytes = "0"] = line.exec(readProc(pid, "status")) ?? [];
  return Math.round(Number(kilobytes) * 1024 / 1e6);
}

function readProc(pid: number, file: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/${file}`);
  } catch {
    return "";
  }
}
