/** The lists that are watched: all of their items first and after any doubt, then what changes. */

import type { Clock } from "./clock.ts";
import type { GatewayError } from "./errors.ts";
import type { Reply } from "./requests.ts";
import type { Topic, Topics, Update } from "./wire.ts";

/** All items after any doubt, else one item's newest state. */
export type WatchUpdate<T extends Topic> =
  | { items: Topics[T][] }
  | { item: Topics[T] & { removed?: boolean } };
export type WatchListener<T extends Topic> = (update: WatchUpdate<T>) => void;

export interface WatchLink {
  readonly clock: Clock;
  isLive(): boolean;
  watch(topic: Topic, reply: Reply): void;
  unwatch(topic: Topic): void;
}

type AnyListener = (update: { items: unknown[] } | { item: unknown }) => void;

const RETRY_MS = 2_000;

export class Watches {
  readonly #link: WatchLink;
  readonly #listeners = new Map<Topic, Set<AnyListener>>();
  readonly #retries = new Map<Topic, () => void>();

  constructor(link: WatchLink) {
    this.#link = link;
  }

  /** Whoever comes later has all told the items again. */
  add<T extends Topic>(topic: T, listener: WatchListener<T>): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    listeners.add(listener as AnyListener);
    this.#listeners.set(topic, listeners);
    if (this.#link.isLive()) this.#watch(topic);
    return () => this.#remove(topic, listener as AnyListener);
  }

  updated({ topic, items, item }: Update): void {
    if (items !== undefined) this.#tell(topic, { items });
    else if (item !== undefined) this.#tell(topic, { item });
  }

  reconnected(): void {
    for (const topic of this.#listeners.keys()) this.#watch(topic);
  }

  disconnected(): void {
    for (const topic of this.#listeners.keys()) this.#stopRetry(topic);
  }

  #remove(topic: Topic, listener: AnyListener): void {
    const listeners = this.#listeners.get(topic);
    if (listeners === undefined || !listeners.delete(listener) || listeners.size > 0) return;
    this.#listeners.delete(topic);
    this.#stopRetry(topic);
    this.#link.unwatch(topic);
  }

  #tell(topic: Topic, update: { items: unknown[] } | { item: unknown }): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener(update);
  }

  #watch(topic: Topic): void {
    this.#stopRetry(topic);
    this.#link.watch(topic, {
      result: (result) => this.#tell(topic, result as { items: unknown[] }),
      error: (error) => this.#refused(topic, error),
    });
  }

  #refused(topic: Topic, error: GatewayError): void {
    if (!error.retryable || !this.#listeners.has(topic) || !this.#link.isLive()) return;
    this.#retries.set(
      topic,
      this.#link.clock.after(RETRY_MS, () => this.#watch(topic)),
    );
  }

  #stopRetry(topic: Topic): void {
    this.#retries.get(topic)?.();
    this.#retries.delete(topic);
  }
}
