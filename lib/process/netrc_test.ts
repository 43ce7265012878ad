import assert from "node:assert/strict";
import { formatNetrc, parseNetrc } from "./netrc.ts";

Deno.test("netrc: what was written is read, whatever user and password hold", () => {
  for (
    const password of ["Ab_-9", 'it\'s a "secret" \\n', "tab\tline\r\nend", "ü 漢", "#", '"', "\\", "a b"]
  ) {
    const access = { url: "http://127.0.0.1:8123", user: `u ${password}`, password };
    assert.deepEqual(parseNetrc(formatNetrc(access)), access);
  }
});

Deno.test("netrc: a plain password stands there without quotes, as every curl reads it", () => {
  assert.equal(
    formatNetrc({ url: "http://127.0.0.1:8123", user: "default", password: "aB-_9" }),
    "# The embedded ClickHouse at http://127.0.0.1:8123\nmachine 127.0.0.1 login default password aB-_9\n",
  );
});

Deno.test("netrc: another text is nobody's access", () => {
  for (
    const text of ["", "machine example.com login a password b\n", "# The embedded ClickHouse at http://x\n"]
  ) {
    assert.equal(parseNetrc(text), undefined, text);
  }
});
