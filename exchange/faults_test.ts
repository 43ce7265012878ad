import { deepEqual, equal, throws } from "node:assert/strict";
import { createFaults, type Fault } from "./faults.ts";
import { createLedger } from "./ledger.ts";
import { createSimulation } from "./simulation.ts";
import type { Frame } from "./source.ts";

const match = (tradeId: number): Frame => ({
  channel: "matches",
  product: "BTC-USD",
  type: "match",
  tradeId,
  text: `trade ${tradeId}`,
});
const beat: Frame = { channel: "heartbeat", product: "BTC-USD", type: "heartbeat", tradeId: 0, text: "beat" };

function setUp(fault: Fault) {
  const ledger = createLedger(createSimulation({ products: ["BTC-USD"] }), false);
  const effects: string[] = [];
  const faults = createFaults(ledger, {
    drop: () => effects.push("drop"),
    sendRaw: (text) => effects.push(`raw ${text}`),
  });
  faults.inject(fault);
  const sent = [match(1), beat, match(2), match(3), beat, match(4), match(5)].flatMap(faults.pass);
  const { withheld, repeated, late } = ledger.report().trades["BTC-USD"] ?? {};
  return {
    faults,
    effects,
    sent: sent.map(({ text }) => text.replace("trade ", "")),
    withheld,
    repeated,
    late,
  };
}

const cases: [Fault, string, Partial<Record<"withheld" | "repeated" | "late", number[]>>][] = [
  [{}, "1 beat 2 3 beat 4 5", {}],
  [{ swallowTrades: 2 }, "beat 3 beat 4 5", { withheld: [1, 2] }],
  [{ repeatTrades: 2 }, "1 1 beat 2 2 3 beat 4 5", { repeated: [1, 2] }],
  [{ lateTrades: 2 }, "beat 3 2 1 beat 4 5", { late: [1, 2] }],
  [{ swallowHeartbeats: 1 }, "1 2 3 beat 4 5", {}],
  [{ swallowTrades: 1, lateTrades: 1, repeatTrades: 1 }, "beat 3 3 2 beat 4 5", {
    withheld: [1],
    late: [2],
    repeated: [3],
  }],
];
for (const [fault, sent, noted] of cases) {
  Deno.test(`fault: ${JSON.stringify(fault)} sends ${sent}, and the ledger knows`, () => {
    const outcome = setUp(fault);
    equal(outcome.sent.join(" "), sent);
    const { withheld, repeated, late } = outcome;
    deepEqual({ withheld, repeated, late }, { withheld: [], repeated: [], late: [], ...noted });
  });
}

Deno.test("fault: those of REST are used up request by request", () => {
  const { faults } = setUp({ rest: { answer: 429, requests: 2 } });
  deepEqual(["/time", "/time", "/time"].map(faults.nextRest), [429, 429, undefined]);
  faults.inject({ rest: { answer: "html", requests: 1, product: "A-B" }, restLagTrades: 3 });
  deepEqual(
    ["/time", "/products/A-BC/trades", "/products/A-B/trades", "/products/A-B/trades"].map(faults.nextRest),
    [
      ...[undefined, undefined, "html", undefined],
    ],
  );
  equal(faults.restLag(), 3);
});

Deno.test("fault: trades that REST doesn't serve any more are those of every range named", () => {
  const { faults } = setUp({ unserved: [2, 3] });
  faults.inject({ unserved: [7, 7] });
  deepEqual([1, 2, 3, 4, 7].filter(faults.serves), [1, 4]);
  faults.inject({ servesAll: true });
  deepEqual([1, 2, 3, 4, 7].filter(faults.serves), [1, 2, 3, 4, 7]);
});

Deno.test("fault: a drop and raw frames happen at once", () => {
  deepEqual(setUp({ raw: "{", drop: true }).effects, ["raw {", "drop"]);
});

Deno.test("fault: one that isn't known or has a wrong value is refused by name", () => {
  const { faults } = setUp({});
  throws(() => faults.inject({ explode: true }), /explode.*there are drop, dropEverySeconds, silenceSeconds/);
  throws(() => faults.inject({ swallowTrades: 0 }), /^RangeError: fault\.swallowTrades: /);
  throws(() => faults.inject({ rest: { answer: 418, requests: 1 } }), /^RangeError: fault\.rest\.answer: /);
});
