/**
 * Small things about child processes.
 *
 * @module
 */

/** How often it is looked whether something has happened. */
export const pollMs = 100;

export function send(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch {
    // It has ended by itself, which is what every signal here is for.
  }
}

/** True when `promise` resolves within `ms`. */
export async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((done) => timer = setTimeout(() => done(false), ms));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
