/**
 * Nothing but a WebSocket: reads all frames that the flood server sends, and does nothing with them. A process of its own.
 *
 * Arguments: the server's address, how many frames it sends. Prints frames a second.
 *
 * @module
 */

const [url = "", wanted = ""] = Deno.args;
const socket = new WebSocket(url);
socket.binaryType = "arraybuffer";
let frames = 0;
let startedAt = 0;
socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", product_ids: [], channels: [] }));
socket.onmessage = () => {
  // The first one is the acknowledgement.
  if (frames++ === 1) startedAt = performance.now();
  if (frames !== Number(wanted) + 1) return;
  console.log((frames - 2) / (performance.now() - startedAt) * 1000);
  socket.close();
};
