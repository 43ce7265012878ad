/**
 * How the JVMs of tests run: they live for seconds, so they are made to start quickly rather than to run fast.
 *
 * @module
 */

import { startKafka } from "../../embedded/kafka/start.ts";
import { kafkaVersion } from "../../embedded/kafka/install.ts";
import { freePort } from "../../embedded/process/ports.ts";
import { root } from "./tape.ts";

/** A compiler that optimizes for hours never pays. */
const quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/** What the JVMs of tests are told. */
export interface JavaOptions {
  variables: { JAVA_TOOL_OPTIONS: string };
  /** Removes what was written for them. */
  remove(): Promise<void>;
}

/** For a few files. */
export const quickJava: JavaOptions = {
  variables: { JAVA_TOOL_OPTIONS: quick },
  remove: () => Promise.resolve(),
};

/**
 * Runs Kafka once and keeps the classes that it loaded (JDK's class data sharing), so that the next starts cost less. Without
 * Java the options are given all the same: who needs Kafka will say what is missing.
 */
export async function prepareJava(): Promise<JavaOptions> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-java-" });
  const archive = `${home}/kafka.jsa`;
  const before = Deno.env.get("JAVA_TOOL_OPTIONS");
  let isThere = false;
  try {
    Deno.env.set("JAVA_TOOL_OPTIONS", `${quick} -XX:ArchiveClassesAtExit=${archive}`);
    const jars = `${root}.tapehouse/kafka/lib-${kafkaVersion}`;
    const kafka = await startKafka({ home, port: freePort(), jars });
    await kafka.stop();
    isThere = (await Deno.stat(archive)).isFile;
  } catch (error) {
    console.log(`Kafka's classes aren't kept: ${error instanceof Error ? error.message : error}`);
  } finally {
    if (before === undefined) Deno.env.delete("JAVA_TOOL_OPTIONS");
    else Deno.env.set("JAVA_TOOL_OPTIONS", before);
  }
  // Other programs, such as Maven, have other classes: that is no reason for a warning.
  const kept = ` -XX:SharedArchiveFile=${archive} -Xshare:auto -Xlog:disable -Xlog:all=error:stderr`;
  return {
    variables: { JAVA_TOOL_OPTIONS: quick + (isThere ? kept : "") },
    remove: () => Deno.remove(home, { recursive: true }),
  };
}
