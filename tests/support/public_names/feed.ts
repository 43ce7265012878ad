/**
 * What others read in the topics: the headers of a message, and the events of the feed.
 *
 * @module
 */

import { toKafkaRecord } from "../../../lib/feed/kafka_record.ts";
import { feedEventSchema } from "../../../lib/feed/messages.ts";
import { fieldsOfZod } from "./json_fields.ts";

/** `header name`, `feed_event event=name` and `feed_event field`. */
export function topicNames(): string[] {
  const { message } = toKafkaRecord(
    { kind: "frame", type: "match", receivedAt: 0, connection: "c", data: "{}" },
    { topic: "t", level2Topic: "l", source: "feed" },
  );
  const fields = fieldsOfZod(feedEventSchema);
  return [
    ...Object.keys(message.headers ?? {}).map((header) => `header ${header}`),
    ...fields.map((field) => `feed_event ${field}`),
  ];
}
