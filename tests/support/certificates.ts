/**
 * Authorities and certificates for tests, made by openssl.
 *
 * @module
 */

/** PEM files of a folder of their own. */
export interface TestCertificates {
  folder: string;
  /** Signed everything below. */
  ca: string;
  /** Signed nothing. */
  otherCa: string;
  /** For 127.0.0.1 and localhost. */
  server: Pair;
  /** For another name. */
  elsewhere: Pair;
  expired: Pair;
  client: Pair;
}

/** A certificate, its key, and both in one file, as Kafka takes them. */
export interface Pair {
  cert: string;
  key: string;
  both: string;
}

/** Makes them all, in about a second. */
export async function makeCertificates(folder: string): Promise<TestCertificates> {
  const path = (name: string) => `${folder}/${name}`;
  await Deno.mkdir(folder, { recursive: true });
  await Promise.all(["ca", "other-ca"].map((name) =>
    openssl(
      ...["req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name}`],
      ...["-keyout", path(`${name}.key`), "-out", path(`${name}.pem`)],
    )
  ));
  /** @param days -1: it has ended already */
  const sign = async (name: string, names: string, days = 2): Promise<Pair> => {
    const pair = { cert: path(`${name}.pem`), key: path(`${name}.key`), both: path(`${name}-both.pem`) };
    const request = path(`${name}.csr`);
    await Deno.writeTextFile(path(`${name}.ext`), `subjectAltName=${names}\n`);
    await openssl("req", ...newKey, "-subj", `/CN=${name}`, "-keyout", pair.key, "-out", request);
    await openssl(
      ...["x509", "-req", "-in", request, "-CA", path("ca.pem"), "-CAkey", path("ca.key")],
      ...["-set_serial", String(++serial), "-days", String(days)],
      ...["-extfile", path(`${name}.ext`), "-out", pair.cert],
    );
    await Deno.writeTextFile(
      pair.both,
      await Deno.readTextFile(pair.key) + await Deno.readTextFile(pair.cert),
    );
    return pair;
  };
  const here = "DNS:localhost,IP:127.0.0.1";
  const [server, elsewhere, expired, client] = await Promise.all([
    sign("server", here),
    sign("elsewhere", "DNS:elsewhere.example"),
    sign("expired", here, -1),
    sign("client", "DNS:client.example"),
  ]);
  return {
    folder,
    ca: path("ca.pem"),
    otherCa: path("other-ca.pem"),
    server,
    elsewhere,
    expired,
    client,
  };
}

const newKey = ["-newkey", "rsa:2048", "-nodes"];
let serial = 0;

async function openssl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args }).output();
  if (!success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
