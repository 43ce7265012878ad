import assert from "node:assert/strict";
import { readConfig } from "../lib/config.ts";
import { openS3, s3Variables } from "../lib/s3.ts";
import { program, secretKey, whyNoS3 } from "../tests/s3.ts";
import { testUnless } from "../tests/skip.ts";
import { freePort } from "./ports.ts";
import { startOf } from "./process.ts";
import { startS3 } from "./s3.ts";

const skip = await whyNoS3();

testUnless("the embedded S3 keeps objects, checks keys, knows no other bucket and stops", skip, async () => {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const port = freePort();
  const options = { home, port, bucket: "tape", accessKey: "tester", secretKey, program };
  const server = await startS3(options);
  const open = (more: Record<string, string> = {}) => {
    const env: Record<string, string> = {
      S3_ENDPOINT: server.url,
      S3_BUCKET: "tape",
      S3_ACCESS_KEY: "tester",
      S3_SECRET_KEY: secretKey,
      ...more,
    };
    return openS3(readConfig(s3Variables, (name) => env[name]));
  };
  try {
    const s3 = open();
    await s3.checkBucket();
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

    const message = (store: typeof s3) => store.checkBucket().then(() => "", (error: Error) => error.message);
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

testUnless("a listing goes on behind a thousand objects", skip, async () => {
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
    const env: Record<string, string> = {
      S3_ENDPOINT: server.url,
      S3_BUCKET: "tape",
      S3_ACCESS_KEY: "k",
      S3_SECRET_KEY: "s",
    };
    const s3 = openS3(readConfig(s3Variables, (name) => env[name]));
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
