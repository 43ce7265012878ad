import assert from "node:assert/strict";
import { defaultView, readView, type View, writeView } from "./url_state.ts";

Deno.test("url state: a view that was written is read again", () => {
  const view: View = {
    product: "ETH-USD",
    interval: "90s",
    view: "status",
    theme: "light",
    zone: "Asia/Tokyo",
    fill: true,
  };
  assert.deepEqual(readView(writeView(view)), view);
  assert.equal(writeView(defaultView), "");
  assert.deepEqual(readView(""), defaultView);
  assert.equal(writeView({ ...defaultView, interval: "1m" }), "?interval=1m");
});

Deno.test("url state: wrong parameters of the address are as if they weren't there", () => {
  const wrong = "?product=<script>&interval=9y&view=x&theme=pink&tz=Mars/Olympus&fill=maybe";
  assert.deepEqual(readView(wrong), defaultView);
});
