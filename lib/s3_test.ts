import assert from "node:assert/strict";
import { ConfigError, readConfig } from "./config.ts";
import { objectUrl, openS3, readListing, requireS3, s3Variables, sign } from "./s3.ts";

const values: Record<string, string> = {
  S3_ENDPOINT: "http://127.0.0.1:9",
  S3_BUCKET: "tape",
  S3_ACCESS_KEY: "key",
  S3_SECRET_KEY: "secret",
};
const configOf = (more: Record<string, string> = {}) =>
  readConfig(s3Variables, (name) => ({ ...values, ...more })[name]);

Deno.test("signatures are those of Amazon's own examples", () => {
  // https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
  const signing = {
    region: "us-east-1",
    accessKey: "AKIAIOSFODNN7EXAMPLE",
    secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    now: new Date("2013-05-24T00:00:00Z"),
  };
  const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const host = "https://examplebucket.s3.amazonaws.com";
  const cases: [string, string, Record<string, string>, string, string][] = [
    [
      "GET",
      `${host}/test.txt`,
      { range: "bytes=0-9" },
      nothing,
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ],
    [
      "PUT",
      `${host}/test%24file.text`,
      { "x-amz-storage-class": "REDUCED_REDUNDANCY", date: "Fri, 24 May 2013 00:00:00 GMT" },
      "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ],
    [
      "GET",
      `${host}/?max-keys=2&prefix=J`,
      {},
      nothing,
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ],
  ];
  for (const [method, url, headers, body, wanted] of cases) {
    const { authorization } = sign(method, url, headers, body, signing);
    assert.equal(/Signature=(\w+)$/.exec(authorization ?? "")?.[1], wanted, url);
  }
});

Deno.test("a bucket stands in the path, with Amazon in the host's name", () => {
  const cases = [
    ["http://127.0.0.1:8333", "tape", "http://127.0.0.1:8333/tape/a%3D1/b%2520c.parquet"],
    ["https://storage.example.com/", "tape", "https://storage.example.com/tape/a%3D1/b%2520c.parquet"],
    [
      "https://s3.eu-west-1.amazonaws.com",
      "tape",
      "https://tape.s3.eu-west-1.amazonaws.com/a%3D1/b%2520c.parquet",
    ],
    [
      "https://tape.s3.eu-west-1.amazonaws.com",
      "tape",
      "https://tape.s3.eu-west-1.amazonaws.com/a%3D1/b%2520c.parquet",
    ],
    [
      "https://s3.eu-west-1.amazonaws.com",
      "a.b",
      "https://s3.eu-west-1.amazonaws.com/a.b/a%3D1/b%2520c.parquet",
    ],
  ] as const;
  for (const [S3_ENDPOINT, S3_BUCKET, wanted] of cases) {
    assert.equal(objectUrl({ S3_ENDPOINT, S3_BUCKET }, "a=1/b%20c.parquet"), wanted);
  }
});

Deno.test("a listing gives keys, sizes and where the next page begins", () => {
  const xml = `<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>
    <Contents><Key>a%3D1/x+y%2B</Key><Size>12</Size></Contents><Contents><Size>0</Size><Key>b</Key></Contents>
    <NextContinuationToken>t&amp;1</NextContinuationToken></ListBucketResult>`;
  assert.deepEqual(readListing(xml), {
    objects: [{ key: "a=1/x y+", bytes: 12 }, { key: "b", bytes: 0 }],
    next: "t&1",
  });
  assert.deepEqual(readListing("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"), {
    objects: [],
  });
});

Deno.test("what isn't set is named in one line, without the rest", () => {
  assert.throws(
    () => requireS3(configOf({ S3_BUCKET: "", S3_SECRET_KEY: "" })),
    new ConfigError("S3_BUCKET, S3_SECRET_KEY aren't set: the archive and the backups need an S3 bucket."),
  );
  requireS3(configOf());
});

Deno.test("an S3 that is away is one line that names the setting and no secret", async () => {
  await assert.rejects(() => openS3(configOf()).checkBucket(), (error: Error) => {
    assert.match(error.message, /^S3 at http:\/\/127\.0\.0\.1:9 \(S3_ENDPOINT\) doesn't answer: .+$/);
    assert.ok(!error.message.includes("secret"));
    return error.name === "FatalError";
  });
});
