/**
 * `deno task dev`: the whole tape on this machine. Starts what isn't configured (Kafka, ClickHouse, and an exchange when
 * Coinbase can't be reached), then the real entrypoints under their real permission sets, and shows how they do.
 *
 * @module
 */

import { createProcessGroup, type ProcessGroup } from "../embedded/process/group.ts";
import { readConfig, type Variable, variables } from "../lib/process/config.ts";
import { stopOnSignal } from "../lib/process/stop_signal.ts";
import { runTask } from "../lib/process/task.ts";
import { announce, assertReadable, chooseMarket, usualHistory } from "./dev/exchange_choice.ts";
import { emptySimulation } from "./dev/simulation.ts";
import { program } from "./dev/options.ts";
import {
  bundlePage,
  endLeftOvers,
  fetchHistory,
  startExchange,
  startServers,
  startServices,
} from "./dev/processes.ts";
import { environment } from "./dev/settings.ts";
import { printUrls, say, watch } from "./dev/terminal.ts";
import { firstCandle, prepare } from "./dev/waiting.ts";

await runTask(async () => {
  const options = program.parse(Deno.args, { from: "user" }).opts();
  if (options.replay === undefined && (options.speed !== undefined || options.once)) {
    program.error("error: --speed and --once need --replay FILE");
  }
  if (options.replay !== undefined) await assertReadable(options.replay);
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  const config = readConfig(Object.keys(variables) as Variable[]);
  const group: ProcessGroup = createProcessGroup(
    stopOnSignal({ onStop: () => say("stopping"), onForce }),
    `${config.TAPEHOUSE_HOME}/logs`,
    say,
  );
  const { signal } = group.stop;
  function endOfTime(): void {
    if (!signal.aborted) say("stopping");
    group.stop.abort();
  }
  function onForce(): void {
    group.kill();
    Deno.exit(130);
  }
  // What is under way: the end waits for it, or it would leave a process that is just being started.
  const work: Promise<unknown>[] = [];
  const begin = <T>(promise: Promise<T>): Promise<T> => {
    work.push(promise);
    return promise;
  };
  try {
    await endLeftOvers(config.TAPEHOUSE_HOME);
    const market = await chooseMarket(options, config);
    announce(market);
    const [servers] = await Promise.all([begin(startServers(config, group)), begin(bundlePage(group))]);
    const env = environment(config, market, servers);
    await emptySimulation(market, env, config, group);
    await prepare(env, group);
    Object.assign(env, await startExchange(market, config, group));
    const metrics = await startServices(env, config, group);
    console.log(`everything is up after ${seconds()}; Ctrl-C stops it`);
    printUrls(env, metrics, group);
    if (options.for !== undefined) setTimeout(endOfTime, options.for);
    firstCandle(env, signal).then(() => {
      if (!signal.aborted) say(`first candle in ClickHouse after ${seconds()}`);
    }).catch(() => {});
    const historyMs = options.history ?? usualHistory(market, options);
    await Promise.all([watch(metrics, group), begin(fetchHistory(env, historyMs, group))]);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    // Whatever went wrong, nothing of ours is left running.
    group.stop.abort();
    await Promise.allSettled(work);
    await group.stopAll();
  }
  if (group.failure) throw group.failure;
  say("stopped");
});
