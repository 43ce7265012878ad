/**
 * Certificates for connections: PEM files that variables name, read and checked before anything connects.
 *
 * @module
 */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { type Variable } from "./config.ts";
import { ConfigError } from "../core/errors.ts";

/** Which variables name the files. */
export interface CertificateVariables {
  ca: Variable;
  cert: Variable;
  key: Variable;
}

/** PEM texts; what isn't configured is absent. */
export interface Certificates {
  /** Authorities that are trusted besides the public ones. */
  ca?: string;
  /** What we prove with who we are; always together with `key`. */
  cert?: string;
  key?: string;
}

/** Why trying again can't help. */
export interface Refusal {
  /** One line: what was wrong and what to do. */
  text: string;
  /** Our own variables are wrong, not the other side. */
  configuration: boolean;
}

/** Folders that the services' permission sets let them read. */
const readable = "certs, /etc/tapehouse, /etc/ssl, /run/secrets and /run/credentials";

/**
 * Reads what is configured.
 *
 * @param files variable → path; empty where it isn't set
 * @throws {ConfigError} a file is missing, may not be read or isn't PEM, the certificate has expired, or the key isn't its
 */
export function readCertificates(
  names: CertificateVariables,
  files: Readonly<Partial<Record<Variable, unknown>>>,
): Certificates {
  const read = (name: Variable) => files[name] ? readPem(name, String(files[name])) : undefined;
  const ca = read(names.ca);
  if (ca !== undefined) parseCertificates(names.ca, files, ca);
  const cert = read(names.cert);
  const key = read(names.key);
  if (cert === undefined && key === undefined) return ca === undefined ? {} : { ca };
  if (cert === undefined || key === undefined) {
    throw new ConfigError(`${names.cert} and ${names.key} need each other: set both or none`);
  }
  const own = parseCertificates(names.cert, files, cert)[0]!;
  const parsed = parseKey(names.key, files, key);
  if (!own.checkPrivateKey(parsed)) {
    throw new ConfigError(
      `${names.key}=${files[names.key]}: not the key of the certificate in ${names.cert}=${
        files[names.cert]
      }`,
    );
  }
  if (Date.parse(own.validTo) < Date.now()) {
    throw new ConfigError(`${names.cert}=${files[names.cert]}: expired on ${own.validTo}`);
  }
  return {
    ...(ca === undefined ? {} : { ca }),
    cert,
    key: String(parsed.export({ type: "pkcs8", format: "pem" })),
  };
}

function readPem(name: Variable, path: string): string {
  // Asked first: on a terminal Deno would otherwise ask the person.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    throw new ConfigError(
      `${name}=${path}: services may read ${readable}; put the file there, or see docs/kafka.md`,
    );
  }
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "no such file"
      : error instanceof Deno.errors.PermissionDenied
      ? "this user may not read it"
      : error instanceof Deno.errors.IsADirectory || path.endsWith("/")
      ? "expected a file, found a folder"
      : (error as Error).message;
    throw new ConfigError(`${name}=${path}: ${reason}`);
  }
}

function parseCertificates(
  name: Variable,
  files: Readonly<Partial<Record<Variable, unknown>>>,
  text: string,
): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length === 0) throw new Error("none");
    return blocks.map((block) => new X509Certificate(block));
  } catch {
    throw new ConfigError(`${name}=${files[name]}: expected PEM certificates (-----BEGIN CERTIFICATE-----)`);
  }
}

function parseKey(
  name: Variable,
  files: Readonly<Partial<Record<Variable, unknown>>>,
  text: string,
): KeyObject {
  if (/ENCRYPTED/.test(text)) {
    throw new ConfigError(
      `${name}=${
        files[name]
      }: the key is encrypted; expected one without a passphrase, readable by this user alone`,
    );
  }
  try {
    // Beside the certificate it may share its file with.
    const block = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^-]*-----END \1-----/.exec(text);
    return createPrivateKey(block?.[0] ?? text);
  } catch {
    throw new ConfigError(`${name}=${files[name]}: expected a PEM key (-----BEGIN PRIVATE KEY-----)`);
  }
}

/**
 * What a failed TLS connection means; undefined when it failed for another reason, which may pass by itself.
 *
 * @param error with Node's code of it
 * @returns a text that goes on after the server's address
 */
export function tlsRefusal(
  error: Error & { code?: unknown },
  names: CertificateVariables & { address: Variable },
): Refusal | undefined {
  const code = typeof error.code === "string" ? error.code : "";
  if (/^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_SIGNATURE_|CERT_UNTRUSTED|INVALID_CA)/.test(code)) {
    return {
      text: "its certificate isn't signed by an authority that is trusted here: " +
        `set ${names.ca} to the certificate of the one that signed it.`,
      configuration: true,
    };
  }
  if (code === "CERT_HAS_EXPIRED") return { text: "its certificate has expired.", configuration: false };
  if (code === "CERT_NOT_YET_VALID") {
    return {
      text: "its certificate isn't valid yet, or this machine's clock is wrong.",
      configuration: false,
    };
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return {
      text: `its certificate is for another name: ${names.address} must say a name that it carries ` +
        `(${error.message.replace(/^.*altnames: /, "").replace(/[.: ]*$/, "")}).`,
      configuration: true,
    };
  }
  if (/WRONG_VERSION_NUMBER/.test(code)) {
    return {
      text:
        `it doesn't speak TLS at this port: ${names.address} must name its TLS port, or TLS be turned off.`,
      configuration: true,
    };
  }
  // A server that misses our certificate says so after the handshake, in an alert.
  if (
    /CERTIFICATE_REQUIRED|BAD_CERTIFICATE|ALERT_UNKNOWN_CA|HANDSHAKE_FAILURE/.test(code) ||
    /fatal alert: (Certificate|BadCertificate|UnknownCA|AccessDenied|HandshakeFailure)/i.test(error.message)
  ) {
    return {
      text: `it asks for a certificate of ours, or refuses it: look at ${names.cert} and ${names.key}.`,
      configuration: true,
    };
  }
  return undefined;
}
