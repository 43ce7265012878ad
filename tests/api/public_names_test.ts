/**
 * Names that users depend on don't change by accident.
 *
 * @module
 */

import assert from "node:assert/strict";
import { listFile, publicNames } from "../support/public_names.ts";
import { type Servers, startServers } from "../support/tape.ts";

/** The kinds, and so many names each of them has at least. */
const least: Record<string, number> = {
  "Columns of tables and views": 600,
  "Metrics": 50,
  "Parameters and fields of the API, and their values": 250,
  "Problems of the API": 15,
  "The stream: what a client says": 20,
  "The stream: what a client hears": 130,
  "Topics: headers and feed events": 18,
  "deno task doctor --json": 20,
  "Environment variables": 60,
  "Tasks and their options": 100,
  "Example queries and their parameters": 130,
};

let servers: Servers;
Deno.test.beforeAll(async () => {
  servers = await startServers();
});
Deno.test.afterAll(() => servers.stop());

Deno.test("public names: columns, metrics, fields, variables and options are those that are listed", async () => {
  const listed = await Deno.readTextFile(listFile);
  const names = await publicNames(servers);
  const [before, now] = [listed, names].map((text) => text.split("\n"));
  const gone = before!.filter((line) => !now!.includes(line));
  const added = now!.filter((line) => !before!.includes(line));
  assert.equal(
    names,
    listed,
    `gone: ${gone.join(", ") || "none"}; new: ${added.join(", ") || "none"}. If it is meant: ` +
      "`deno run -A tests/support/public_names.ts` writes the list anew, and the documents follow.",
  );
  // A list that was written from an answer that was empty, or half of one, would agree with itself.
  const kinds = names.split(/^# /m).slice(1).map((kind) => kind.trim().split("\n"));
  assert.deepEqual(kinds.map(([heading]) => heading), Object.keys(least));
  for (const [heading = "", ...lines] of kinds) {
    assert.ok(lines.length >= (least[heading] ?? NaN), `${heading}: only ${lines.length}`);
  }
});
