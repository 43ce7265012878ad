/**
 * Kafka → batches that count once: the consumer's side of the protocol in batch_protocol.ts. What becomes of a batch is the
 * handler's business; which messages it holds, its name, and what is committed before and after is decided here.
 *
 * @module
 */

import { FatalError } from "../core/errors.ts";
import { sleep } from "../core/retry.ts";
import { explainBrokerError } from "../kafka/kafka_errors.ts";
import type { BatchHandler, ConsumeOptions } from "./batch.ts";
import { GroupReader } from "./group_reader.ts";
import { retryForever } from "../core/retry_forever.ts";

/**
 * Reads until the signal aborts; idle topics, broker restarts and rebalances are no reason to stop.
 *
 * @throws {FatalError} when the broker refuses the credentials, another program commits under the group's name, or a
 *   partition's log ends before the offset that the group has committed
 */
export async function consume<B>(options: ConsumeOptions<B>, handler: BatchHandler<B>): Promise<void> {
  const { signal, log } = options;
  while (!signal.aborted) {
    const read = () => new GroupReader(options, handler).run();
    const retryOptions = { signal, log, explain: explainBrokerError };
    const crash = await retryForever("the broker can't be used", read, retryOptions).catch((error) => {
      if (!signal.aborted) throw error;
    });
    if (crash === undefined || signal.aborted) return;
    const explained = explainBrokerError(crash);
    if (explained instanceof FatalError) throw explained;
    log.error("reading stopped, starting again", { error: crash });
    await sleep(1000, signal);
  }
}
