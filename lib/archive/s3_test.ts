import assert from "node:assert/strict";
import { readConfig } from "../process/config.ts";
import { ConfigError } from "../core/errors.ts";
import { assertS3, openS3, s3Variables } from "./s3.ts";

const values: Record<string, string> = {
  S3_ENDPOINT: "http://127.0.0.1:9",
  S3_BUCKET: "tape",
  S3_ACCESS_KEY: "key",
  S3_SECRET_KEY: "secret",
};
const configOf = (more: Record<string, string> = {}) =>
  readConfig(s3Variables, (name) => ({ ...values, ...more })[name]);

Deno.test("S3: a bucket stands in the path, with Amazon in the host's name", () => {
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
    assert.equal(openS3(configOf({ S3_ENDPOINT, S3_BUCKET })).url("a=1/b%20c.parquet"), wanted);
  }
});

Deno.test("S3: what isn't set is named in one line, without the rest", () => {
  assert.throws(
    () => assertS3(configOf({ S3_BUCKET: "", S3_SECRET_KEY: "" })),
    new ConfigError("S3_BUCKET, S3_SECRET_KEY aren't set: the archive and the backups need an S3 bucket."),
  );
  assertS3(configOf());
});

Deno.test("S3: a server that is away is one line that names the setting and no secret", async () => {
  await assert.rejects(() => openS3(configOf()).assertBucket(), (error: Error) => {
    assert.match(error.message, /^S3 at http:\/\/127\.0\.0\.1:9 \(S3_ENDPOINT\) doesn't answer: .+$/);
    assert.ok(!error.message.includes("secret"));
    return error.name === "FatalError";
  });
});

/** A bucket whose server does what the test says. */
async function withServer(
  answer: (request: Request, tries: number) => Response | Promise<Response>,
  body: (s3: ReturnType<typeof openS3>, tries: () => number) => Promise<void>,
): Promise<void> {
  let tries = 0;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => answer(request, ++tries),
  );
  try {
    const s3 = openS3(configOf({ S3_ENDPOINT: `http://127.0.0.1:${server.addr.port}` }), {
      silenceMs: 300,
      tries: 3,
    });
    await body(s3, () => tries);
  } finally {
    await server.shutdown();
  }
}

/** Sends a piece, and then nothing more. */
const halfBody = (end: (controller: ReadableStreamDefaultController<Uint8Array>) => void) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new Uint8Array(10));
      end(controller);
    },
  });

Deno.test("S3: a server that is busy or breaks off is asked again, and not for ever", async () => {
  await withServer(
    (_, tries) => tries < 3 ? new Response(null, { status: tries === 1 ? 503 : 429 }) : new Response("text"),
    async (s3, tries) => {
      assert.equal(await s3.readText("a"), "text");
      assert.equal(tries(), 3);
    },
  );
  await withServer(
    (_, tries) =>
      tries === 1
        ? new Response(halfBody((controller) => controller.error(new Error("gone"))))
        : new Response("abc"),
    async (s3) => assert.equal((await s3.hash("a"))?.bytes, 3),
  );
  await withServer(
    () => new Response("<Error><Code>SlowDown</Code></Error>", { status: 503 }),
    async (s3, tries) => {
      await assert.rejects(s3.readText("a"), { name: "FatalError", message: /can't do reading a: SlowDown/ });
      assert.equal(tries(), 3);
    },
  );
  // What S3 refuses isn't asked for again.
  await withServer(() => new Response(null, { status: 403 }), async (s3, tries) => {
    await assert.rejects(s3.readText("a"), { message: /refuses reading a/ });
    assert.equal(tries(), 1);
  });
});

Deno.test("S3: a server that falls silent, before or in an answer, isn't waited for without end", async () => {
  const held: (() => void)[] = [];
  const release = () => held.splice(0).forEach((resolve) => resolve());
  await withServer(
    async () => {
      await new Promise<void>((resolve) => held.push(resolve));
      return new Response(null);
    },
    async (s3) => {
      await assert.rejects(s3.readText("a"), {
        name: "FatalError",
        message: /doesn't answer: no answer for 0\.3 s/,
      });
      release();
    },
  );
  await withServer(() => new Response(halfBody(() => {})), async (s3, tries) => {
    await assert.rejects(s3.hash("a"), {
      name: "FatalError",
      message: /no answer for 0\.3 s \(reading a\)$/,
    });
    assert.equal(tries(), 3);
  });
});

const page = (xml: string) =>
  `<?xml version="1.0" encoding="UTF-8"?>
   <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${xml}</ListBucketResult>`;

Deno.test("S3: a listing has keys and sizes, page after page", async () => {
  const asked: (string | null)[] = [];
  await withServer((request) => {
    const { searchParams } = new URL(request.url);
    asked.push(searchParams.get("continuation-token"));
    assert.equal(searchParams.get("prefix"), "a=1/x &+");
    return new Response(
      asked.length === 1
        ? page(`<IsTruncated>true</IsTruncated>
            <Contents><Key>a%3D1/x+y%2B</Key><Size>12</Size></Contents><Contents><Size>0</Size><Key>&#98;</Key></Contents>
            <NextContinuationToken>t&amp;1</NextContinuationToken>`)
        : page("<IsTruncated>false</IsTruncated><Contents><Key>c</Key><Size>3</Size></Contents>"),
    );
  }, async (s3) => {
    assert.deepEqual(await s3.list("a=1/x &+"), [
      { key: "a=1/x y+", bytes: 12 },
      { key: "b", bytes: 0 },
      { key: "c", bytes: 3 },
    ]);
  });
  assert.deepEqual(asked, [null, "t&1"]);
  await withServer(() => new Response(page("")), async (s3) => assert.deepEqual(await s3.list(""), []));
});

Deno.test("S3: an answer that isn't S3's is one line", async () => {
  const html = "<!doctype html><html><p>Welcome</html>";
  for (const body of [html, "", "{}", "<html/>", "<ListBucketResult><Contents>"]) {
    await withServer(() => new Response(body), async (s3) => {
      await assert.rejects(s3.list(""), {
        name: "FatalError",
        message: /answers a listing of tape with something else: is that the address of an S3\?$/,
      });
    });
  }
  await withServer(() => new Response(html, { status: 403 }), async (s3) => {
    await assert.rejects(s3.readText("a"), {
      message: /refuses reading a \(HTTP 403\): check S3_ACCESS_KEY/,
    });
  });
  await withServer(() => new Response(html, { status: 400 }), async (s3) => {
    await assert.rejects(s3.readText("a"), { message: /can't do reading a: HTTP 400$/ });
  });
});

Deno.test("S3: what was written is read back", async () => {
  let kept = new Uint8Array();
  const keep = async (request: Request) => {
    if (request.method === "PUT") kept = new Uint8Array(await request.arrayBuffer());
    return new Response(request.method === "PUT" ? null : kept);
  };
  await withServer(keep, (s3) => s3.write("a", "text"));
  await withServer(async (request) => {
    const answer = await keep(request);
    kept[0] = 0;
    return answer;
  }, async (s3) => {
    await assert.rejects(s3.write("a", "text"), {
      name: "FatalError",
      message: /was given a and gives back other bytes\.$/,
    });
  });
  await withServer(
    (request) => new Response(null, { status: request.method === "PUT" ? 200 : 404 }),
    async (s3) => {
      await assert.rejects(s3.write("a", "text"), { message: /gives back nothing\.$/ });
    },
  );
});
