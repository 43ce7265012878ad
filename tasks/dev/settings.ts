/**
 * What the services of `deno task dev` are told.
 *
 * @module
 */

import { freePort } from "../../embedded/process/ports.ts";
import { isSet, lookup, simulatedNames, type Variable, variables } from "../../lib/process/config.ts";
import { isSimulated, type Market } from "./exchange_choice.ts";
import type { AllConfig, Environment } from "./configuration.ts";

/** What the entrypoints are told of Kafka and ClickHouse. */
export interface Servers {
  kafka: string;
  clickhouse: Environment;
}

/** What the entrypoints are told. */
export function environment(config: AllConfig, market: Market, servers: Servers): Environment {
  const env: Environment = {
    // All that the person has set: the services may not read a .env of every folder.
    ...configured(),
    // Killed and started again, the consumer takes over from itself.
    KAFKA_MEMBER: config.KAFKA_MEMBER || `dev-${Deno.hostname().replaceAll(/[^A-Za-z0-9_.-]/g, "_")}`,
    // The embedded broker allows it, others may not: so soon another consumer has the partitions of a killed one.
    ...(isSet("KAFKA_BROKERS") || isSet("KAFKA_SESSION_MS") ? {} : { KAFKA_SESSION_MS: "2500" }),
    // One consumer reads all: more partitions would only make smaller inserts of the same messages.
    ...(isSet("KAFKA_BROKERS") || isSet("KAFKA_PARTITIONS") ? {} : { KAFKA_PARTITIONS: "1" }),
    KAFKA_BROKERS: servers.kafka,
    ...servers.clickhouse,
    // A port that somebody chose is not exchanged for another.
    API_PORT: String(isSet("API_PORT") ? config.API_PORT : freePort(config.API_PORT)),
  };
  return isSimulated(market) ? { ...env, FEED_SOURCE: market.kind, ...simulatedNames(config) } : env;
}

/** The variables that are set, in the environment or in `.env`. */
function configured(): Environment {
  const text = lookup();
  const names = Object.keys(variables) as Variable[];
  return Object.fromEntries(names.flatMap((name) => text(name) ? [[name, text(name)!]] : []));
}
