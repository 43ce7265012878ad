import assert from "node:assert/strict";
import { createStreamSession, parseFrame } from "./stream_session.ts";

/** A session that follows the matches of A-B, and what it told. */
function setUp() {
  const told: string[] = [];
  const session = createStreamSession({
    message: ({ type }) => void told.push(type),
    subscribed: () => void told.push("subscribed"),
    lost: () => void told.push("lost"),
    refused: (reason) => void told.push(`refused: ${reason}`),
    simulated: (simulated) => void (simulated && told.push("simulated")),
  });
  session.want([{ name: "matches", product_ids: ["A-B"] }]);
  /** Connects, and what is sent then. */
  const connect = () => {
    session.connecting();
    session.opened();
    return session.requests().map((text) => JSON.parse(text));
  };
  return { session, connect, told: () => told.splice(0) };
}

Deno.test("stream session: a frame is a message or an array of messages, and nothing else", () => {
  assert.deepEqual(parseFrame(`{"type":"pong"}`), [{ type: "pong" }]);
  assert.deepEqual(parseFrame(`[{"type":"match","seq":1},{"type":"ticker","seq":2}]`)?.length, 2);
  for (const wrong of ["", "null", "[1]", "{}", `[{"type":1}]`]) assert.equal(parseFrame(wrong), null, wrong);
});

Deno.test("stream session: a session that comes back resumes behind the last message, or says what is lost", () => {
  const { session, connect, told } = setUp();
  assert.deepEqual(connect().map(({ type, batch, resume }) => [type, batch, resume]), [
    ["subscribe", true, undefined],
  ]);
  session.receive({ type: "subscriptions", stream: "s1", seq: 4, simulated: true }, 0);
  session.receive({ type: "match", seq: 7 }, 0);
  assert.deepEqual(told(), ["subscribed", "simulated", "match"]);
  assert.deepEqual(connect()[0].resume, { stream: "s1", seq: 7 });
  session.receive({ type: "subscriptions", stream: "s1", seq: 9, resumed: true }, 0);
  assert.deepEqual(told(), ["subscribed"]);
  connect();
  session.receive({ type: "subscriptions", stream: "s2", seq: 1, resumed: false }, 0);
  assert.deepEqual(told(), ["subscribed", "lost"]);
  assert.deepEqual(connect()[0].resume, { stream: "s2", seq: 1 });
});

Deno.test("stream session: another view sends what changed, and nothing when nothing did", () => {
  const { session, connect } = setUp();
  connect();
  assert.deepEqual(session.requests(), []);
  session.want([{ name: "matches", product_ids: ["C-D"] }]);
  assert.deepEqual(session.requests().map((text) => JSON.parse(text).type), ["unsubscribe", "subscribe"]);
});

Deno.test("stream session: the clocks are compared by pongs, anew with each connection", () => {
  const { session, connect, told } = setUp();
  connect();
  assert.equal(session.offset(), null);
  const pong = (time: number, server_time: string) =>
    parseFrame(JSON.stringify({ type: "pong", time, server_time }))![0]!;
  session.receive(pong(100, "1970-01-01T00:00:05.000000Z"), 200);
  session.receive(pong(300, "soon"), 301);
  assert.equal(session.offset(), 4_850);
  connect();
  assert.equal(session.offset(), null);
  session.receive({ type: "error", message: "Failed to subscribe" }, 400);
  assert.deepEqual(told(), ["refused: Failed to subscribe"]);
});
