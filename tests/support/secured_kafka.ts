/**
 * A Kafka as clusters in production are set up: passwords (SCRAM, PLAIN) over TLS, client certificates, rights.
 *
 * @module
 */

import { type RunningKafka, startKafka } from "../../embedded/kafka/start.ts";
import type { ClusterOptions } from "../../embedded/kafka/properties.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import type { TestCertificates } from "./certificates.ts";
import { root } from "./tape.ts";

/** Its addresses, each for KAFKA_BROKERS. */
export interface SecuredKafka extends RunningKafka {
  /** SASL over TLS. */
  sasl: string;
  /** TLS with a certificate of the client's. */
  mutual: string;
  /** SASL over TLS with a certificate that has ended, and with one for another name. */
  expired: string;
  elsewhere: string;
}

/** User → password; at first they may do nothing. */
export const users = {
  producer: "producer's secret",
  consumer: "consumer's secret",
  nobody: "nobody's secret",
};

/** Starts it. On the open listener everybody may do everything. */
export async function startSecuredKafka(
  home: string,
  certificates: TestCertificates,
  properties: ClusterOptions["properties"] = {},
): Promise<SecuredKafka> {
  const port = freePort();
  const listeners = {
    SECURED: { port: freePort(), protocol: "SASL_SSL" },
    MUTUAL: { port: freePort(), protocol: "SSL" },
    EXPIRED: { port: freePort(), protocol: "SASL_SSL" },
    ELSEWHERE: { port: freePort(), protocol: "SASL_SSL" },
  };
  const login = "org.apache.kafka.common.security";
  const pem = (name: string, file: string) => ({
    [`listener.name.${name}.ssl.keystore.type`]: "PEM",
    [`listener.name.${name}.ssl.keystore.location`]: file,
    [`listener.name.${name}.ssl.truststore.type`]: "PEM",
    [`listener.name.${name}.ssl.truststore.location`]: certificates.ca,
  });
  const sasl = (name: string) => ({
    [`listener.name.${name}.sasl.enabled.mechanisms`]: "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    [`listener.name.${name}.plain.sasl.jaas.config`]: `${login}.plain.PlainLoginModule required ${
      Object.entries(users).map(([user, password]) => `user_${user}="${password}"`).join(" ")
    };`,
    [`listener.name.${name}.scram-sha-256.sasl.jaas.config`]: `${login}.scram.ScramLoginModule required;`,
    [`listener.name.${name}.scram-sha-512.sasl.jaas.config`]: `${login}.scram.ScramLoginModule required;`,
  });
  const running = await startKafka({
    home,
    port,
    jars: `${root}.tapehouse/kafka/lib-${kafkaVersion}`,
    cluster: {
      listeners,
      properties: {
        ...pem("secured", certificates.server.both),
        ...pem("mutual", certificates.server.both),
        ...pem("expired", certificates.expired.both),
        ...pem("elsewhere", certificates.elsewhere.both),
        "listener.name.mutual.ssl.client.auth": "required",
        ...sasl("secured"),
        ...sasl("expired"),
        ...sasl("elsewhere"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        ...properties,
      },
      formatArguments: Object.entries(users).flatMap(([user, password]) =>
        ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((mechanism) => [
          "--add-scram",
          `${mechanism}=[name=${user},password=${password}]`,
        ])
      ),
    },
  });
  const at = (name: keyof typeof listeners) => `127.0.0.1:${listeners[name].port}`;
  return {
    ...running,
    sasl: at("SECURED"),
    mutual: at("MUTUAL"),
    expired: at("EXPIRED"),
    elsewhere: at("ELSEWHERE"),
  };
}
