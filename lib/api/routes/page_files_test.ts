import assert from "node:assert/strict";
import { openPage } from "./page_files.ts";

async function inFolder(body: (folder: URL) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "tapehouse-page-" });
  try {
    await body(new URL(`file://${path}/`));
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

const request = (headers: Record<string, string> = {}) => new Request("http://x", { headers });

Deno.test("page: a flood reads no file, whether there is such a file or not", () =>
  inFolder(async (folder) => {
    const script = "let x = 1;\n".repeat(500);
    await Deno.writeTextFile(new URL("index.html", folder), "<!doctype html>");
    await Deno.writeTextFile(new URL("app.js", folder), script);
    const page = openPage(folder, () => 0);
    const [readFile, readDir, stat] = [Deno.readFile, Deno.readDir, Deno.stat];
    let calls = 0;
    const counting = <A extends unknown[], R>(call: (...values: A) => R) => (...values: A): R => {
      calls++;
      return call(...values);
    };
    Object.assign(Deno, { readFile: counting(readFile), readDir: counting(readDir), stat: counting(stat) });
    try {
      for (let i = 0; i < 300; i++) {
        const answer = await page.answer("/app.js", request({ "accept-encoding": "gzip" }));
        assert.equal(answer.headers.get("content-encoding"), "gzip");
        await answer.body?.cancel();
        await assert.rejects(page.answer(`/nothing-${i}.js`, request()), /Nothing is at this address/);
      }
    } finally {
      Object.assign(Deno, { readFile, readDir, stat });
    }
    // One folder, two files.
    assert.equal(calls, 5);
    const packed = await page.answer("/app.js", request({ "accept-encoding": "gzip" }));
    const plain = (await packed.blob()).stream().pipeThrough(new DecompressionStream("gzip"));
    assert.equal(await new Response(plain).text(), script);
    assert.equal(await (await page.answer("/app.js", request())).text(), script);
  }));

Deno.test("page: a file that is built anew is served a second later", () =>
  inFolder(async (folder) => {
    let now = 0;
    const page = openPage(folder, () => now);
    const text = async (path: string) => await (await page.answer(path, request())).text();
    assert.match(await text("/"), /deno task web/);
    await Deno.writeTextFile(new URL("index.html", folder), "one");
    assert.equal(await text("/"), "one");
    const etag = (await page.answer("/", request())).headers.get("etag") ?? "";
    assert.equal((await page.answer("/", request({ "if-none-match": etag }))).status, 304);
    await Deno.writeTextFile(new URL("index.html", folder), "another");
    await Deno.mkdir(new URL("assets", folder));
    await Deno.writeTextFile(new URL("assets/a.css", folder), "a {}");
    assert.equal(await text("/"), "one");
    now = 1001;
    assert.equal(await text("/"), "another");
    assert.equal(await text("/assets/a.css"), "a {}");
    assert.equal((await page.answer("/", request({ "if-none-match": etag }))).status, 200);
  }));

Deno.test("page: only plain files of the folder are served", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(new URL("index.html", folder), "page");
    await Deno.writeTextFile(new URL(".env.txt", folder), "secret");
    await Deno.writeTextFile(new URL("notes", folder), "no ending");
    await Deno.symlink("/etc/hostname", new URL("link.txt", folder));
    const page = openPage(folder);
    for (
      const path of ["/.env.txt", "/notes", "/link.txt", "/../index.html", "//index.html", "/index.html/"]
    ) {
      await assert.rejects(page.answer(path, request()), /Nothing is at this address/, path);
    }
  }));
