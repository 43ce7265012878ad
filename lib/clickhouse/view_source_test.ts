import assert from "node:assert/strict";
import { restrictSource } from "./view_source.ts";

Deno.test("restrictSource(): narrows what a view reads, whatever it is called in it", () => {
  const where = "time > 1";
  assert.equal(
    restrictSource("SELECT trades.time FROM tape.trades GROUP BY 1", "trades", where),
    "SELECT trades.time FROM (SELECT * FROM trades WHERE time > 1) AS trades GROUP BY 1",
  );
  assert.equal(
    restrictSource(
      "SELECT source.time FROM tape.book_changes AS source",
      "book_changes",
      where,
    ),
    "SELECT source.time FROM (SELECT * FROM book_changes WHERE time > 1) AS source",
  );
  assert.equal(
    restrictSource("SELECT a FROM trades", "trades", where, "a, 1 AS b"),
    "SELECT a FROM (SELECT a, 1 AS b FROM trades WHERE time > 1) AS trades",
  );
  for (
    const select of ["SELECT 1 FROM tape.trades_2", "SELECT 1 FROM tape.trades, (SELECT 1 FROM tape.trades)"]
  ) {
    assert.throws(() => restrictSource(select, "trades", where), /expected to read trades once/);
  }
});
