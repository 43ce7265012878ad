/**
 * What one connection asked for and what the exchange has said of it: a protocol core that knows nothing of sockets.
 *
 * @module
 */

/** A channel of a product. `productId` is empty for channels without products (`status`). */
export interface Pair {
  channel: string;
  productId: string;
}

/** The message that asks for `pairs`. */
export function subscribeMessage(pairs: readonly Pair[]): string {
  const products = new Map<string, string[]>();
  for (const { channel, productId } of pairs) {
    products.set(channel, [...(products.get(channel) ?? []), ...(productId === "" ? [] : [productId])]);
  }
  const productIds = [...new Set(pairs.map((pair) => pair.productId).filter(Boolean))];
  const channels = [...products].map(([name, ids]) =>
    ids.length === productIds.length || ids.length === 0 ? name : { name, product_ids: ids }
  );
  return JSON.stringify({ type: "subscribe", product_ids: productIds, channels });
}

/** All pairs of `channels` and `productIds`; `status` has no products. */
export function pairsOf(channels: readonly string[], productIds: readonly string[]): Pair[] {
  return channels.flatMap((channel) =>
    channel === "status"
      ? [{ channel, productId: "" }]
      : productIds.map((productId) => ({ channel, productId }))
  );
}

/** A refusal, taken apart: the product or channel it speaks of, when it names one that was asked for. */
export interface Refusal {
  productId?: string;
  channel?: string;
  reason: string;
}

/** The state of a connection's subscription. */
export interface Subscription {
  /** Takes an acknowledgement (`{"type":"subscriptions","channels":[…]}`) and returns the newly acknowledged pairs. */
  acknowledge(frame: unknown): Pair[];
  /** Takes a refusal (`{"type":"error","message":…,"reason":…}`): what it names is no longer asked for. */
  handleRefusal(frame: unknown): Refusal;
  /** What is asked for and not acknowledged yet. */
  pending(): Pair[];
  /** What is acknowledged. */
  acknowledged(): Pair[];
}

/** The exchange acknowledges `level2_batch` by the name of its engine's channel. */
const aliases: Record<string, string> = {
  level2_50: "level2_batch",
  level2: "level2_batch",
  ticker_1000: "ticker_batch",
};

/** Starts with all of `pairs` asked for. */
export function createSubscription(pairs: readonly Pair[]): Subscription {
  const wanted = new Map(pairs.map((pair) => [key(pair), pair]));
  const acknowledged = new Map<string, Pair>();
  return {
    acknowledge(frame) {
      const news: Pair[] = [];
      for (const { name, productIds } of channelsOf(frame)) {
        for (const channel of new Set([name, aliases[name] ?? name])) {
          for (const [id, pair] of wanted) {
            const meant = pair.channel === channel &&
              (productIds === undefined || channel === "status" || productIds.includes(pair.productId));
            if (!meant || acknowledged.has(id)) continue;
            acknowledged.set(key(pair), pair);
            news.push(pair);
          }
        }
      }
      return news;
    },
    handleRefusal(frame) {
      const { message, reason } = frame as { message?: unknown; reason?: unknown };
      const text = [message, reason].filter((part) => typeof part === "string").join(": ");
      const productId = [...wanted.values()].map((pair) => pair.productId)
        .find((id) => id !== "" && names(text, id));
      const channel = productId === undefined
        ? [...wanted.values()].map((pair) => pair.channel).find((name) => names(text, name))
        : undefined;
      for (const [id, pair] of wanted) {
        if (acknowledged.has(id)) continue;
        if (pair.productId === productId || pair.channel === channel) wanted.delete(id);
      }
      return {
        reason: text,
        ...(productId === undefined ? {} : { productId }),
        ...(channel === undefined ? {} : { channel }),
      };
    },
    pending: () => [...wanted].filter(([id]) => !acknowledged.has(id)).map(([, pair]) => pair),
    acknowledged: () => [...acknowledged.values()],
  };
}

function key({ channel, productId }: Pair): string {
  return `${channel} ${productId}`;
}

/** Whole words only: a refusal of ETH-USDT doesn't speak of ETH-USD. */
function names(text: string, word: string): boolean {
  return text.split(/[^A-Za-z0-9_-]+/).includes(word);
}

/** Channels are objects; a bare name, or one without products, means all products. Anything else is skipped. */
function channelsOf(frame: unknown): { name: string; productIds: string[] | undefined }[] {
  const { channels } = frame as { channels?: unknown };
  if (!Array.isArray(channels)) return [];
  return channels.flatMap((channel: unknown) => {
    if (typeof channel === "string") return [{ name: channel, productIds: undefined }];
    const { name, product_ids } = (channel ?? {}) as { name?: unknown; product_ids?: unknown };
    if (typeof name !== "string") return [];
    const productIds = Array.isArray(product_ids)
      ? product_ids.filter((id) => typeof id === "string")
      : undefined;
    return [{ name, productIds }];
  });
}
