/**
 * Who is in a consumer group now.
 *
 * @module
 */

import type { Admin } from "kafkajs";
import { FatalError } from "../core/errors.ts";

/**
 * What a running consumer stores meanwhile, another writer into the same database wouldn't know, and would store again.
 *
 * @param advice what to do, such as `stop consumer.ts first`
 * @throws {FatalError} when the group has members
 */
export async function assertNoConsumer(
  admin: Admin,
  { group, database, advice }: { group: string; database: string; advice: string },
): Promise<void> {
  const { groups } = await admin.describeGroups([group]);
  if ((groups[0]?.members.length ?? 0) === 0) return;
  throw new FatalError(`A consumer (group ${group}) writes this topic into ${database} now: ${advice}.`);
}
