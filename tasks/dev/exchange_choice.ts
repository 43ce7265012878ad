/**
 * Which exchange `deno task dev` takes the tape from, and whether what was simulated before is kept.
 *
 * @module
 */

import { FatalError } from "../../lib/core/errors.ts";
import { isSet } from "../../lib/process/config.ts";
import type { Options } from "./options.ts";
import type { AllConfig } from "./configuration.ts";
import { say } from "./terminal.ts";

/** Which exchange the tape is taken from. */
export interface Market {
  kind: "live" | "configured" | "simulator" | "replay";
  /** Arguments of `deno task exchange`; none when the exchange is somewhere else. */
  arguments: string[];
  why: string;
}

export async function chooseMarket(options: Options, config: AllConfig): Promise<Market> {
  const { replay, speed, once, rate, seed } = options;
  const argumentsOf = (flags: Record<string, string | undefined>) =>
    Object.entries(flags).flatMap(([flag, value]) => value === undefined ? [] : [`--${flag}`, value]);
  const simulation = argumentsOf({ rate, seed, products: config.COINBASE_PRODUCTS.join(",") });
  if (replay !== undefined) {
    const flags = [...argumentsOf({ replay, speed }), ...(once ? ["--once"] : [])];
    return { kind: "replay", arguments: flags, why: `--replay ${replay}` };
  }
  if (options.simulate) return { kind: "simulator", arguments: simulation, why: "--simulate" };
  if (isSet("COINBASE_WS_URL")) {
    return { kind: "configured", arguments: [], why: `COINBASE_WS_URL=${config.COINBASE_WS_URL}` };
  }
  if (await reachable(config.COINBASE_WS_URL)) {
    return { kind: "live", arguments: [], why: "Coinbase answers" };
  }
  return { kind: "simulator", arguments: simulation, why: "Coinbase can't be reached from here" };
}

/** True when a WebSocket opens within three seconds. */
async function reachable(url: string): Promise<boolean> {
  const socket = new WebSocket(url);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), 3000);
  socket.onopen = () => resolve(true);
  socket.onerror = () => resolve(false);
  const answer = await promise;
  clearTimeout(timer);
  socket.onerror = null;
  if (socket.readyState <= WebSocket.OPEN) socket.close();
  return answer;
}

export function isSimulated(market: Market): boolean {
  return market.kind === "simulator" || market.kind === "replay";
}

export function announce(market: Market): void {
  if (!isSimulated(market)) return console.log(`exchange: ${market.why}`);
  const bar = "*".repeat(78);
  const what = market.kind === "replay" ? "A REPLAYED RECORDING" : "A SIMULATED EXCHANGE";
  console.log(
    `${bar}\n***  ${what}: these are not today's prices of Coinbase.\n***  ${market.why}.` +
      `\n***  Everything goes to the database market_sim, never to market.\n${bar}`,
  );
}

/** A newcomer's chart shall not be empty; at another rate an hour may be millions of trades. */
export function usualHistory(market: Market, { rate }: Options): number {
  if (market.kind !== "simulator") return 0;
  if (rate === undefined) return hourMs;
  say("no history is fetched with --rate; --history 1h fetches some");
  return 0;
}

const hourMs = 3_600_000;

export async function assertReadable(file: string): Promise<void> {
  const info = await Deno.stat(file).catch((error) => {
    throw new FatalError(
      `--replay ${file}: ${error instanceof Deno.errors.NotFound ? "no such file" : error.message}`,
    );
  });
  if (!info.isFile) throw new FatalError(`--replay ${file}: not a file`);
}
