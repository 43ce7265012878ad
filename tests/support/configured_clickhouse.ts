/**
 * The embedded ClickHouse with a server configuration of the test's own. chDB reads `config.xml` of its working directory,
 * as `clickhouse local` does.
 *
 * @module
 */

import "./clean_environment.ts";
import { type RunningClickHouse, startClickHouse } from "../../embedded/clickhouse/start.ts";
import { freePort } from "../../embedded/process/ports.ts";

/** A server in a temporary folder, which `stop` removes. */
export type ConfiguredClickHouse = Pick<RunningClickHouse, "url" | "env" | "headers" | "stop"> & {
  home: string;
};

/**
 * Starts it.
 *
 * @param server what stands in `<clickhouse>`; `HOME` there becomes the temporary folder
 * @param profile settings of every user, as XML
 */
export async function startConfiguredClickHouse(
  server: string,
  profile = "",
): Promise<ConfiguredClickHouse> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-" });
  const directory = `${home}/clickhouse/empty`;
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(
    `${home}/users.xml`,
    `<clickhouse><profiles><default>${profile}</default></profiles><users><default><password></password>
<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users>
<quotas><default/></quotas></clickhouse>`,
  );
  await Deno.writeTextFile(
    `${directory}/config.xml`,
    `<clickhouse><users_config>${home}/users.xml</users_config>${
      server.replaceAll("HOME", home)
    }</clickhouse>`,
  );
  const process = await startClickHouse({ home, port: freePort(), logFile: `${home}/clickhouse.log` });
  return {
    ...process,
    home,
    async stop() {
      await process.stop();
      await Deno.remove(home, { recursive: true });
    },
  };
}
