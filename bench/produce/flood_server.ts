/**
 * An exchange that does nothing but send: frames of a simulated market, made before anybody asks, to whoever subscribes.
 * A process of its own, so that what it costs is nobody else's.
 *
 * Arguments: the market's options as JSON (`MarketOptions`). Prints `ws://…/` once it listens. A path `/20000` offers
 * 20,000 frames a second; `/` as many as the socket takes.
 *
 * @module
 */

import { sleep } from "../../lib/core/retry.ts";
import { frameSteps, type MarketOptions } from "../market.ts";

/** What a socket may hold before it is waited for. */
const maxBuffered = 1 << 20;
/** How often an offered rate is caught up with. */
const tickMs = 10;

const options: MarketOptions = JSON.parse(Deno.args[0] ?? "{}");
const frames = [...frameSteps(options)].flat().map(({ text }) => text);

const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
  const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
  const rate = Number(new URL(request.url).pathname.slice(1));
  socket.onmessage = ({ data }) => {
    socket.onmessage = null;
    const { product_ids, channels }: { product_ids: string[]; channels: string[] } = JSON.parse(data);
    const acknowledged = channels.map((name) => ({ name, product_ids }));
    socket.send(JSON.stringify({ type: "subscriptions", channels: acknowledged }));
    void (rate === 0 ? flood(socket) : offer(socket, rate));
  };
  return response;
});
console.log(`ws://127.0.0.1:${server.addr.port}/`);

async function flood(socket: WebSocket): Promise<void> {
  for (const text of frames) {
    while (socket.bufferedAmount > maxBuffered) await sleep(1);
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(text);
  }
}

async function offer(socket: WebSocket, rate: number): Promise<void> {
  const startedAt = performance.now();
  for (let sent = 0; sent < frames.length; await sleep(tickMs)) {
    const due = Math.min(frames.length, (performance.now() - startedAt) / 1000 * rate);
    if (socket.readyState !== WebSocket.OPEN) return;
    while (sent < due) socket.send(frames[sent++]!);
  }
}
