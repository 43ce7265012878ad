import assert from "node:assert/strict";
import { makeCertificates, type TestCertificates } from "../../tests/support/certificates.ts";
import { readCertificates, tlsRefusal } from "./certificates.ts";
import { type Variable } from "./config.ts";
import { ConfigError } from "../core/errors.ts";

const names = { ca: "KAFKA_CA_FILE", cert: "KAFKA_CERT_FILE", key: "KAFKA_KEY_FILE" } as const;
let folder: string;
let made: TestCertificates;

Deno.test.beforeAll(async () => {
  folder = await Deno.makeTempDir();
  made = await makeCertificates(folder);
  await Deno.writeTextFile(`${folder}/empty.pem`, "");
  await Deno.writeTextFile(
    `${folder}/broken.pem`,
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
  );
  await Deno.writeTextFile(`${folder}/locked.key`, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
});
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

Deno.test("certificates: what is configured is read, what isn't is absent", async () => {
  assert.deepEqual(
    readCertificates(names, { KAFKA_CA_FILE: "", KAFKA_CERT_FILE: "", KAFKA_KEY_FILE: "" }),
    {},
  );
  const ca = await Deno.readTextFile(made.ca);
  assert.deepEqual(readCertificates(names, { KAFKA_CA_FILE: made.ca }), { ca });
  const { client } = made;
  assert.deepEqual(
    readCertificates(names, {
      KAFKA_CA_FILE: made.ca,
      KAFKA_CERT_FILE: client.cert,
      KAFKA_KEY_FILE: client.key,
    }),
    { ca, cert: await Deno.readTextFile(client.cert), key: await Deno.readTextFile(client.key) },
  );
  // Key and certificate may share a file.
  assert.equal(
    readCertificates(names, { KAFKA_CERT_FILE: client.both, KAFKA_KEY_FILE: client.both }).cert,
    await Deno.readTextFile(client.both),
  );
});

Deno.test("certificates: a file that can't be used is told by variable, path and reason", () => {
  const { client, server, expired, ca } = made;
  const cases: [Partial<Record<Variable, string>>, string][] = [
    [{ KAFKA_CA_FILE: `${folder}/none.pem` }, `KAFKA_CA_FILE=${folder}/none.pem: no such file`],
    [{ KAFKA_CA_FILE: folder }, `KAFKA_CA_FILE=${folder}: expected a file, found a folder`],
    [
      { KAFKA_CA_FILE: `${folder}/empty.pem` },
      `KAFKA_CA_FILE=${folder}/empty.pem: expected PEM certificates (-----BEGIN CERTIFICATE-----)`,
    ],
    [
      { KAFKA_CA_FILE: `${folder}/broken.pem` },
      `KAFKA_CA_FILE=${folder}/broken.pem: expected PEM certificates (-----BEGIN CERTIFICATE-----)`,
    ],
    [
      { KAFKA_CERT_FILE: client.cert },
      "KAFKA_CERT_FILE and KAFKA_KEY_FILE need each other: set both or none",
    ],
    [{ KAFKA_KEY_FILE: client.key }, "KAFKA_CERT_FILE and KAFKA_KEY_FILE need each other: set both or none"],
    [
      { KAFKA_CERT_FILE: client.cert, KAFKA_KEY_FILE: ca },
      `KAFKA_KEY_FILE=${ca}: expected a PEM key (-----BEGIN PRIVATE KEY-----)`,
    ],
    [
      { KAFKA_CERT_FILE: client.cert, KAFKA_KEY_FILE: server.key },
      `KAFKA_KEY_FILE=${server.key}: not the key of the certificate in KAFKA_CERT_FILE=${client.cert}`,
    ],
    [
      { KAFKA_CERT_FILE: client.cert, KAFKA_KEY_FILE: `${folder}/locked.key` },
      `KAFKA_KEY_FILE=${folder}/locked.key: the key is encrypted; expected one without a passphrase, readable by this user alone`,
    ],
  ];
  for (const [files, expected] of cases) {
    assert.throws(() => readCertificates(names, files), new ConfigError(expected));
  }
  assert.throws(
    () => readCertificates(names, { KAFKA_CERT_FILE: expired.cert, KAFKA_KEY_FILE: expired.key }),
    /^ConfigError: KAFKA_CERT_FILE=.*: expired on /,
  );
});

Deno.test("certificates: a failed connection is a refusal only where waiting can't help", () => {
  const refusal = (code: string, message = "") =>
    tlsRefusal(Object.assign(new Error(message), { code }), { ...names, address: "KAFKA_BROKERS" });
  assert.match(refusal("UNABLE_TO_VERIFY_LEAF_SIGNATURE")!.text, /set KAFKA_CA_FILE/);
  assert.match(refusal("SELF_SIGNED_CERT_IN_CHAIN")!.text, /set KAFKA_CA_FILE/);
  assert.equal(refusal("CERT_HAS_EXPIRED")!.configuration, false);
  assert.match(
    refusal(
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "Hostname/IP does not match certificate's altnames: Host: a. is not in b",
    )!
      .text,
    /KAFKA_BROKERS must say a name that it carries \(Host: a. is not in b\)/,
  );
  assert.match(refusal("", "received fatal alert: BadCertificate")!.text, /look at KAFKA_CERT_FILE/);
  for (const code of ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENOTFOUND"]) {
    assert.equal(refusal(code), undefined, code);
  }
});
