/**
 * The embedded ClickHouse's password: made once, kept where only its owner reads it.
 *
 * @module
 */

import { join } from "node:path";
import { type Access, formatNetrc, netrcPath } from "../../lib/process/netrc.ts";

/**
 * The password that is kept in `$TAPEHOUSE_HOME/clickhouse/password`; made when there is none. Two starts at once agree
 * on one, and a start that is killed amid leaves either the whole password or none.
 *
 * @param home TAPEHOUSE_HOME; it is made
 */
export async function keptPassword(home: string): Promise<string> {
  const folder = await privateFolder(home);
  const path = join(folder, "password");
  for (;;) {
    const kept = await Deno.readTextFile(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (kept !== undefined) return kept.trim();
    const made = crypto.getRandomValues(new Uint8Array(24)).toBase64({ alphabet: "base64url" });
    const draft = await writeDraft(path, `${made}\n`);
    try {
      // Unlike a rename, this doesn't replace what another start has put there in the meantime.
      await Deno.link(draft, path);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    } finally {
      await Deno.remove(draft);
    }
  }
}

/** Says how the server that runs is reached. Only the process that holds the folder's lock may call it. */
export async function announceAccess(home: string, access: Access): Promise<void> {
  await privateFolder(home);
  const path = netrcPath(home);
  await Deno.rename(await writeDraft(path, formatNetrc(access)), path);
}

/** The folder `clickhouse`, closed to other users: the tape lies in it too. */
async function privateFolder(home: string): Promise<string> {
  const folder = join(home, "clickhouse");
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  await Deno.chmod(folder, 0o700);
  return folder;
}

/** Nobody else can read it, not for a moment, and it is on the disk before it gets its name. */
async function writeDraft(path: string, text: string): Promise<string> {
  const draft = `${path}.${crypto.randomUUID()}`;
  using file = await Deno.open(draft, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  await file.sync();
  return draft;
}
