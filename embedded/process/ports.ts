/**
 * Ports of this machine: a free one, and who holds one that isn't.
 *
 * @module
 */

import { FatalError } from "../../lib/core/errors.ts";

/** Below what systems give to connections and to listeners on port 0: nobody gets one of these by chance. */
const lowestPort = 20_000;
const blocks = 120;
const blockSize = 100;

/** Of this process: it listens on the block's first port as long as it lives, so that no other takes the block. */
let block: { claim: Deno.Listener; next: number; end: number } | undefined;

/**
 * A TCP port of 127.0.0.1 that nobody holds now: `preferred` when it is such a one, else one that no other process is given
 * as long as this one lives, and this one not again.
 */
export function freePort(preferred = 0): number {
  if (preferred !== 0 && isFree(preferred)) return preferred;
  while (true) {
    if (block === undefined || block.next === block.end) block = claimBlock();
    const port = block.next++;
    if (isFree(port)) return port;
  }
}

function claimBlock(): NonNullable<typeof block> {
  const start = Math.floor(Math.random() * blocks);
  for (let tried = 0; tried < blocks; tried++) {
    const first = lowestPort + (start + tried) % blocks * blockSize;
    const claim = listen(first);
    claim?.unref();
    if (claim !== undefined) return { claim, next: first + 1, end: first + blockSize };
  }
  throw new FatalError(`No port of 127.0.0.1 from ${lowestPort} on is free.`);
}

function isFree(port: number): boolean {
  const listener = listen(port);
  listener?.close();
  return listener !== undefined;
}

/** Undefined when somebody else listens there. */
function listen(port: number): Deno.Listener | undefined {
  try {
    return Deno.listen({ hostname: "127.0.0.1", port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return undefined;
    throw error;
  }
}

/**
 * Checks that a server can listen on 127.0.0.1:`port`.
 *
 * @param what the server's name, for the message
 * @param variable the environment variable that chooses the port
 * @throws {FatalError} in one line: the port, who holds it, what to do
 */
export async function assertPortFree(port: number, what: string, variable: string): Promise<void> {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    // macOS lets two listen on one port, one of them on all addresses: only a call tells.
    if (!await answers(port)) return;
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new FatalError(
        `Port ${port} for ${what} is reserved for root. Set ${variable} to a port above 1023.`,
      );
    }
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
  }
  const holder = holderFromProc(port) ?? holderFromLsof(port) ?? "another process (only root can tell which)";
  throw new FatalError(
    `Port ${port} for ${what} is held by ${holder}. Stop it, or set ${variable} to another port.`,
  );
}

async function answers(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

/**
 * The inodes of the sockets that listen on a port.
 *
 * @param table the text of /proc/net/tcp or /proc/net/tcp6: per socket, among others, its local address
 * `0100007F:2384` (the port in hexadecimal), its state (`0A`: listening) and its inode
 */
export function listeningInodes(table: string, port: number): string[] {
  const inodes: string[] = [];
  for (const line of table.split("\n").slice(1)) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (!local || !inode || state !== "0A") continue;
    if (parseInt(local.slice(local.lastIndexOf(":") + 1), 16) === port) inodes.push(inode);
  }
  return inodes;
}

/** `java (pid 123)`, found through Linux's /proc; undefined when that doesn't tell. */
function holderFromProc(port: number): string | undefined {
  const sockets = new Set(
    ["/proc/net/tcp", "/proc/net/tcp6"]
      .flatMap((path) => listeningInodes(attempt(() => Deno.readTextFileSync(path)) ?? "", port))
      .map((inode) => `socket:[${inode}]`),
  );
  if (sockets.size === 0) return undefined;
  for (const { name: pid } of attempt(() => [...Deno.readDirSync("/proc")]) ?? []) {
    if (!/^\d+$/.test(pid)) continue;
    for (const { name: fd } of attempt(() => [...Deno.readDirSync(`/proc/${pid}/fd`)]) ?? []) {
      const target = attempt(() => Deno.readLinkSync(`/proc/${pid}/fd/${fd}`));
      if (target === undefined || !sockets.has(target)) continue;
      const program = attempt(() => Deno.readTextFileSync(`/proc/${pid}/comm`).trim()) ?? "a process";
      return `${program} (pid ${pid})`;
    }
  }
  return undefined;
}

/** The same through `lsof`, which macOS has. */
function holderFromLsof(port: number): string | undefined {
  const lsof = new Deno.Command("lsof", { args: ["-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"] });
  const output = attempt(() => new TextDecoder().decode(lsof.outputSync().stdout)) ?? "";
  const pid = /^p(\d+)$/m.exec(output)?.[1];
  return pid && `${/^c(.+)$/m.exec(output)?.[1] ?? "a process"} (pid ${pid})`;
}

/** Other users' processes can't be looked into, and processes end while one looks: both mean "unknown" here. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
