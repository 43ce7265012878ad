/**
 * Kafka (Redpanda, Apache Kafka): the client, its addresses, TLS and credentials.
 *
 * @module
 */

import { Kafka, logLevel } from "kafkajs";
import net from "node:net";
import tls from "node:tls";
import "./fetch_decoder.ts";
import "./timers.ts";
import { readCertificates } from "../process/certificates.ts";
import { type Config, type Variable } from "../process/config.ts";
import { ConfigError } from "../core/errors.ts";
import type { Level, Logger } from "../process/log.ts";

/** What `openBroker` reads. */
export const brokerVariables = [
  "KAFKA_BROKERS",
  "KAFKA_SASL_MECHANISM",
  "KAFKA_USERNAME",
  "KAFKA_PASSWORD",
  "KAFKA_TLS",
  "KAFKA_CA_FILE",
  "KAFKA_CERT_FILE",
  "KAFKA_KEY_FILE",
] as const satisfies readonly Variable[];

/**
 * A client for the configured brokers; connects when it is first used.
 *
 * @param onError told each error of the client, one line; most are tried again by itself
 * @throws {ConfigError} when variables contradict one another, or a certificate can't be used
 */
export function openBroker(
  config: Config<(typeof brokerVariables)[number]>,
  clientId: string,
  log: Logger,
  onError?: (message: string) => void,
): Kafka {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_USERNAME: username, KAFKA_PASSWORD: password } = config;
  if (mechanism !== "none" && username === "") {
    throw new ConfigError(`KAFKA_SASL_MECHANISM=${mechanism} needs KAFKA_USERNAME and KAFKA_PASSWORD`);
  }
  return new Kafka({
    clientId: `tapehouse-${clientId}`,
    brokers: config.KAFKA_BROKERS.map(disguiseIpv6),
    ssl: tlsOptions(config),
    // The mechanisms differ for the type checker only.
    ...(mechanism === "none" ? {} : { sasl: { mechanism: mechanism as "plain", username, password } }),
    socketFactory: connectSocket,
    connectionTimeout: 3000,
    retry: { initialRetryTime: 200, maxRetryTime: 2000, retries: 5 },
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => {
      const { message, error, broker, groupId, memberId, topic, partition } = entry.log;
      const isError = entry.level === logLevel.ERROR;
      const level: Level = isError ? "warn" : "debug";
      const fields = { error, broker, group: groupId, member: memberId, topic, partition };
      log[level](
        `kafka: ${message}`,
        Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
      );
      if (isError) onError?.(typeof error === "string" && error !== "" ? error : message);
    },
  });
}

function tlsOptions(config: Config<(typeof brokerVariables)[number]>): tls.ConnectionOptions | boolean {
  if (!config.KAFKA_TLS) {
    for (const name of ["KAFKA_CA_FILE", "KAFKA_CERT_FILE", "KAFKA_KEY_FILE"] as const) {
      if (config[name] !== "") throw new ConfigError(`${name}=${config[name]} needs KAFKA_TLS=true`);
    }
    return false;
  }
  const certificates = readCertificates(
    { ca: "KAFKA_CA_FILE", cert: "KAFKA_CERT_FILE", key: "KAFKA_KEY_FILE" },
    config,
  );
  return Object.keys(certificates).length === 0 ? true : certificates;
}

/** Host and port of an entry of KAFKA_BROKERS; an IPv6 address loses its brackets. */
export function splitAddress(address: string): { hostname: string; port: number } {
  const colon = address.lastIndexOf(":");
  return {
    hostname: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"),
    port: Number(address.slice(colon + 1)),
  };
}

/** kafkajs cuts addresses at their first colon: `[::1]:9092` travels through it as `[;;1]:9092`. */
function disguiseIpv6(address: string): string {
  return address.replace(/^\[(.*)\]/, (bracketed) => bracketed.replaceAll(":", ";"));
}

/** As kafkajs connects, and to IPv6 addresses too. */
function connectSocket({ host: given, port, ssl, onConnect }: {
  host: string;
  port: number;
  ssl: tls.ConnectionOptions;
  onConnect: () => void;
}): net.Socket {
  const host = given.startsWith("[") ? given.slice(1, -1).replaceAll(";", ":") : given;
  const socket = ssl
    ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect);
  return socket.setKeepAlive(true, 60_000);
}
