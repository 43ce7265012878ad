/**
 * What a client follows: how topics are added, start with their present state or with what was missed, and go.
 *
 * @module
 */

import type { Hub, StreamMessage } from "./hub.ts";
import type { Outbox } from "./outbox.ts";
import { describeTopics, firstLine, matches, type Request, type Topic, topicKey } from "./client_messages.ts";

/** How much a client may follow. */
export interface FollowLimits {
  /** Topics of one socket. */
  topics: number;
  /** Candles and books of one client over all its sockets: they are computed, each interval and depth by itself. */
  computed: number;
}

/** What there is to follow. */
export interface TopicSource {
  /** Why a product can't be followed; undefined when it can. */
  refusal(product: string): Promise<string | undefined>;
  /**
   * Sees to it that a topic is computed, and stays so until the function that this returns is called, or it is followed.
   *
   * @returns why not, when that can't be
   */
  hold(topic: Topic, client: string): (() => void) | string;
  /**
   * What a topic starts with: at once where it is known, else a promise of a function that says it when it is called.
   * `tell` sends an error meanwhile.
   */
  opening(
    topic: Topic,
    client: string,
    tell: (reason: string) => void,
  ): StreamMessage[] | Promise<() => StreamMessage[]>;
  /** The number since which every message of a topic was published; Infinity when it isn't alive. */
  aliveSince(topic: Topic): number;
}

/** What the sockets of one client have in common. */
export class Owner {
  sockets = 0;
  /** Computed topics, and how many of the sockets follow each. */
  readonly #computed = new Map<string, number>();

  constructor(readonly name: string) {}

  /** Whether a computed topic of this key would be one too many. */
  isFull(key: string, limit: number): boolean {
    return !this.#computed.has(key) && this.#computed.size >= limit;
  }

  add(key: string): void {
    this.#computed.set(key, (this.#computed.get(key) ?? 0) + 1);
  }

  remove(key: string): void {
    const left = (this.#computed.get(key) ?? 1) - 1;
    if (left > 0) this.#computed.set(key, left);
    else this.#computed.delete(key);
  }
}

/** What the topics of a client need. */
export interface ClientTopicsOptions {
  hub: Hub;
  source: TopicSource;
  limits: FollowLimits;
  simulated: boolean;
  owner: Owner;
  outbox: Outbox;
  /** What is followed has changed. */
  onChange(): void;
  /** The client reads too slowly to get what it missed. */
  onSlow(reason: string): void;
}

type Subscribe = Request & { type: "subscribe" };
type Unsubscribe = Request & { type: "unsubscribe" };

/** What one socket follows. */
export class ClientTopics {
  readonly #options: ClientTopicsOptions;
  readonly #outbox: Outbox;
  readonly #owner: Owner;
  readonly #topics = new Map<string, Topic>();
  /** Of `#topics`, those that have started. */
  readonly #active = new Set<string>();

  constructor(options: ClientTopicsOptions) {
    this.#options = options;
    this.#outbox = options.outbox;
    this.#owner = options.owner;
  }

  get size(): number {
    return this.#topics.size;
  }

  /** Adds topics, and resolves when they have started or wait for ClickHouse. */
  async subscribe(request: Subscribe): Promise<void> {
    const refused = await this.#findRefused(request);
    if (this.#outbox.isMuted) return;
    const held: (() => void)[] = [];
    try {
      const { added, errors } = this.#addTopics(request, refused, held);
      this.#outbox.wantsBatch = request.batch ?? this.#outbox.wantsBatch;
      this.#outbox.tell(errors.map((reason) => ({ type: "error", message: "Failed to subscribe", reason })));
      await this.#start(added, request.resume);
    } finally {
      for (const release of held) release();
    }
  }

  /** Removes the topics that agree with a filter. */
  unsubscribe({ filters }: Unsubscribe): void {
    for (const topic of [...this.#topics.values()]) {
      if (filters.some((filter) => matches(filter, topic))) this.#remove(topic);
    }
    this.#outbox.follow(this.#active);
    this.#acknowledge(false);
  }

  /** Nothing is followed any more. */
  clear(): void {
    for (const topic of this.#topics.values()) this.#remove(topic);
  }

  /** Products that can't be followed, and why. */
  async #findRefused({ topics }: Subscribe): Promise<Map<string, string>> {
    const refused = new Map<string, string>();
    for (const product of new Set(topics.map(({ productId }) => productId))) {
      const reason = product === "" ? undefined : await this.#options.source.refusal(product);
      if (reason !== undefined) refused.set(product, reason);
    }
    return refused;
  }

  /** Adds what can be followed. Computed topics are kept from being let go of until all of `held` was called. */
  #addTopics(
    { topics }: Subscribe,
    refused: ReadonlyMap<string, string>,
    held: (() => void)[],
  ): { added: Topic[]; errors: string[] } {
    const { limits } = this.#options;
    const errors = new Set(refused.values());
    const added: Topic[] = [];
    for (const topic of topics) {
      if (refused.has(topic.productId) || this.#topics.has(topicKey(topic))) continue;
      if (this.#topics.size >= limits.topics) {
        errors.add(`too many subscriptions: at most ${limits.topics}`);
        break;
      }
      const place = isComputed(topic) ? this.#hold(topic) : () => {};
      if (typeof place === "string") {
        errors.add(place);
        continue;
      }
      held.push(place);
      this.#add(topic);
      added.push(topic);
    }
    return { added, errors: [...errors] };
  }

  #hold(topic: Topic): (() => void) | string {
    const { limits, source } = this.#options;
    return this.#owner.isFull(topicKey(topic), limits.computed)
      ? `too many candles and books: at most ${limits.computed} together`
      : source.hold(topic, this.#owner.name);
  }

  #add(topic: Topic): void {
    const key = topicKey(topic);
    this.#topics.set(key, topic);
    if (isComputed(topic)) this.#owner.add(key);
  }

  #remove(topic: Topic): void {
    const key = topicKey(topic);
    this.#topics.delete(key);
    this.#active.delete(key);
    if (isComputed(topic)) this.#owner.remove(key);
  }

  /** Says all that is followed now. */
  #acknowledge(resumed: boolean): void {
    const { hub: { stream, seq }, simulated } = this.#options;
    const channels = describeTopics(this.#topics.values());
    this.#outbox.tell([{ type: "subscriptions", stream, seq, resumed, simulated, channels }]);
    this.#options.onChange();
  }

  /** Says what is followed; then what was missed of the new topics, where that is wanted and known, else their openings. */
  async #start(added: readonly Topic[], resume: Subscribe["resume"]): Promise<void> {
    const { hub, source } = this.#options;
    const keys = new Set(added.map(topicKey));
    const resumed = resume !== undefined && hub.covers(resume.stream, resume.seq, keys) &&
      added.every((topic) => source.aliveSince(topic) <= resume.seq);
    this.#acknowledge(resumed);
    if (!resumed) this.#open(added);
    else if (await this.#outbox.replay(resume.seq, keys)) this.#activate(added);
    else if (!this.#outbox.isMuted) this.#options.onSlow("what was missed is no longer remembered");
  }

  /** Nothing waits until the topics are active: what is sent now and what is published after it leave nothing out. */
  #open(added: readonly Topic[]): void {
    const known: Topic[] = [];
    const openings: object[] = [];
    const later: [Topic, Promise<() => StreamMessage[]>][] = [];
    for (const topic of added) {
      const tell = (reason: string) => this.#tellTrouble(topic, reason);
      const opening = this.#options.source.opening(topic, this.#owner.name, tell);
      if (opening instanceof Promise) later.push([topic, opening]);
      else {
        openings.push(...this.#numbered(opening));
        known.push(topic);
      }
    }
    this.#outbox.tell(openings);
    this.#activate(known);
    for (const [topic, opening] of later) {
      opening.catch((error) => {
        this.#tellTrouble(topic, firstLine(error));
        return () => [];
      }).then((say) => this.#activateLater(topic, say));
    }
  }

  /** The topic can start: its present state, taken at this moment, then all that follows. */
  async #activateLater(topic: Topic, say: () => StreamMessage[]): Promise<void> {
    // Many large snapshots at once are no reason to call a client slow.
    await this.#outbox.untilRead();
    // It may have unsubscribed, and even subscribed again, meanwhile.
    if (this.#outbox.isMuted || this.#topics.get(topicKey(topic)) !== topic) return;
    this.#outbox.tell(this.#numbered(say()));
    this.#activate([topic]);
  }

  #activate(topics: readonly Topic[]): void {
    for (const topic of topics) this.#active.add(topicKey(topic));
    this.#outbox.follow(this.#active);
  }

  #tellTrouble(topic: Topic, reason: string): void {
    if (this.#topics.get(topicKey(topic)) !== topic) return;
    const { channel, productId } = topic;
    const error = { type: "error", message: "No snapshot yet", reason, channel, product_id: productId };
    this.#outbox.tell([error]);
  }

  /** A snapshot holds all up to the newest number. */
  #numbered(messages: readonly StreamMessage[]): object[] {
    return messages.map(({ type, fields }) => ({ type, seq: this.#options.hub.seq, ...fields }));
  }
}

function isComputed({ channel }: Topic): boolean {
  return channel === "candles" || channel === "book";
}
