/**
 * A clock of its own for one process: libfaketime, where it is installed, reads an offset from a file that is changed
 * while the process runs. The machine's clock is never touched, and clocks that only measure (CLOCK_MONOTONIC) go on.
 *
 * @module
 */

/** Where Debian, Alpine and the like put it. FAKETIME_LIBRARY names another place. */
const places = [
  Deno.env.get("FAKETIME_LIBRARY") ?? "",
  "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
  "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
  "/usr/lib/faketime/libfaketimeMT.so.1",
  "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/** The library's path; undefined where there is none. */
export async function findClockLibrary(): Promise<string | undefined> {
  for (const path of places) {
    if (path !== "" && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  return undefined;
}

const clockFile = (home: string, name: string) => `${home}/clocks/${name}`;

/** What a process is started with so that it reads its time from its clock's file. */
export function clockVariables(library: string, home: string, name: string): Record<string, string> {
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: clockFile(home, name),
    FAKETIME_CACHE_DURATION: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
}

/** Moves a process's clock away from the machine's. It notices within a second. */
export async function setClock(home: string, name: string, hours: number): Promise<void> {
  await Deno.mkdir(`${home}/clocks`, { recursive: true });
  const path = clockFile(home, name);
  await Deno.writeTextFile(`${path}.new`, `${hours < 0 ? "-" : "+"}${Math.abs(hours) * 3600}\n`);
  await Deno.rename(`${path}.new`, path);
}

/** What the library leaves behind of a process that was killed. */
export async function removeClockTraces(pid: number): Promise<void> {
  for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) {
    await Deno.remove(`/dev/shm/${name}`).catch(() => {});
  }
}
