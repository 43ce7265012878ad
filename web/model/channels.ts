/**
 * Which channels of the stream a view needs, and what to say to the server when the view changes.
 *
 * @module
 */

/** A channel as it stands in a subscription. */
export interface Channel {
  name: "matches" | "ticker" | "candles" | "book" | "anomalies" | "feed_events";
  product_ids: string[];
  interval?: string;
  depth?: number;
}

/** A message to the server. */
interface Request {
  type: "subscribe" | "unsubscribe";
  product_ids: string[];
  channels: Channel[];
}

/** How many levels a side the ladder and the depth chart are drawn from. */
export const bookDepth = 50;

/** The channels of a view: one product in full, the prices of all. */
export function channelsOf(product: string, interval: string, all: readonly string[]): Channel[] {
  const everyone = all.includes(product) || product === "" ? [...all] : [product, ...all];
  const wide: Channel[] = everyone.length === 0 ? [] : [
    { name: "ticker", product_ids: everyone },
    { name: "anomalies", product_ids: everyone },
    { name: "feed_events", product_ids: everyone },
  ];
  if (product === "") return wide;
  return [
    { name: "matches", product_ids: [product] },
    { name: "candles", product_ids: [product], interval },
    { name: "book", product_ids: [product], depth: bookDepth },
    ...wide,
  ];
}

/** What to send so that `wanted` is subscribed where `current` was: what went first, then what came. */
export function changes(current: readonly Channel[], wanted: readonly Channel[]): Request[] {
  const requests: Request[] = [];
  const unwanted = without(current, wanted);
  const come = without(wanted, current);
  if (unwanted.length > 0) requests.push({ type: "unsubscribe", product_ids: [], channels: unwanted });
  if (come.length > 0) requests.push({ type: "subscribe", product_ids: [], channels: come });
  return requests;
}

/** What stands in `channels` and not in `others`, product by product. */
function without(channels: readonly Channel[], others: readonly Channel[]): Channel[] {
  return channels.flatMap((channel) => {
    const known = new Set(
      others.filter((other) => kind(other) === kind(channel)).flatMap(({ product_ids }) => product_ids),
    );
    const left = channel.product_ids.filter((product) => !known.has(product));
    return left.length === 0 ? [] : [{ ...channel, product_ids: left }];
  });
}

function kind({ name, interval, depth }: Channel): string {
  return `${name} ${interval ?? ""} ${depth ?? ""}`;
}
