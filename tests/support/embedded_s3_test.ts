/**
 * The S3 server of tests: it keeps objects, checks keys and lists as a real one does.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openS3 } from "../../lib/archive/s3.ts";
import { program, secretKey, whyNoS3 } from "./s3.ts";
import { testUnless } from "./skip.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { startOf } from "../../embedded/process/pid_file.ts";
import { startS3 } from "./embedded_s3.ts";
import { configOf } from "./config.ts";

const skip = await whyNoS3();

testUnless("embedded S3: it keeps objects, checks keys, knows no other bucket and stops", skip, async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const port = freePort();
  const options = { home, port, bucket: "tape", accessKey: "tester", secretKey, program };
  const server = await startS3(options);
  const open = (more: Record<string, string> = {}) =>
    openS3(configOf({
      S3_ENDPOINT: server.url,
      S3_BUCKET: "tape",
      S3_ACCESS_KEY: "tester",
      S3_SECRET_KEY: secretKey,
      ...more,
    }));
  try {
    const s3 = open();
    await s3.assertBucket();
    assert.equal(await s3.readText("none"), undefined);
    assert.equal(await s3.hash("none"), undefined);
    await s3.write("a/day=1/x y.txt", "hello");
    await s3.write("a/day=1/x y.txt", "hello\n");
    await s3.write("b", "");
    assert.equal(await s3.readText("a/day=1/x y.txt"), "hello\n");
    // printf 'hello\n' | sha256sum
    const sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert.deepEqual(await s3.hash("a/day=1/x y.txt"), { bytes: 6, sha256 });
    assert.deepEqual(await s3.list("a/"), [{ key: "a/day=1/x y.txt", bytes: 6 }]);
    // The server signs what it gets by itself: an address that either encodes differently would be refused.
    const odd = "odd/product_id=A%2FB%20*/ü+&'()!~?#{a,b}.txt";
    await s3.write(odd, "odd");
    assert.equal(await s3.readText(odd), "odd");
    assert.deepEqual(await s3.list("odd/product_id=A%2FB%20*/ü+&'"), [{ key: odd, bytes: 3 }]);

    const message = (store: typeof s3) =>
      store.assertBucket().then(() => "", (error: Error) => error.message);
    assert.equal(
      await message(open({ S3_BUCKET: "nope" })),
      `S3 at ${server.url} (S3_ENDPOINT) has no bucket nope (S3_BUCKET): create it, or name another one.`,
    );
    const refused = await message(open({ S3_SECRET_KEY: "wrong" }));
    assert.match(
      refused,
      /refuses a listing of tape \(SignatureDoesNotMatch\): check S3_ACCESS_KEY, S3_SECRET_KEY/,
    );
  } finally {
    await server.stop();
  }
  assert.equal(startOf(server.pid), undefined);
  const again = await startS3(options);
  try {
    assert.equal(await open().readText("a/day=1/x y.txt"), "hello\n");
  } finally {
    await again.stop();
    await Deno.remove(home, { recursive: true });
  }
});

testUnless("embedded S3: a listing goes on behind a thousand objects", skip, async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const server = await startS3({
    home,
    port: freePort(),
    bucket: "tape",
    accessKey: "k",
    secretKey: "s",
    program,
  });
  try {
    const s3 = openS3(configOf({
      S3_ENDPOINT: server.url,
      S3_BUCKET: "tape",
      S3_ACCESS_KEY: "k",
      S3_SECRET_KEY: "s",
    }));
    const keys = Array.from({ length: 1001 }, (_, index) => `many/${String(index).padStart(4, "0")}`);
    for (let at = 0; at < keys.length; at += 50) {
      await Promise.all(keys.slice(at, at + 50).map((key) => s3.write(key, "1")));
    }
    assert.deepEqual((await s3.list("many/")).map(({ key }) => key), keys);
  } finally {
    await server.stop();
    await Deno.remove(home, { recursive: true });
  }
});
