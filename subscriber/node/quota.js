import { setTimeout as sleep } from 'node:timers/promises';

// What a partner may send, or be sent on request, over all its connections, less a share for
// other messages.
const RATE = 5_000 * 0.9; // a second
const BURST = 10_000 * 0.8; // at once
const MIN_WAIT = 10; // milliseconds: timers are not precise enough for less

const quotas = new Map();

/** Returns the quota of a partner, shared by all of its subscriptions in this process. */
export function quotaOf(clientId) {
  if (!quotas.has(clientId)) {
    quotas.set(clientId, new Quota());
  }
  return quotas.get(clientId);
}

/** Keeps below the quota of messages above which the publisher suspends a partner. */
export class Quota {
  #now;
  #left = BURST;
  #at;

  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#at = now();
  }

  /** Counts messages; returns for how many milliseconds nothing more should be sent. */
  use(messages = 1) {
    this.#refill();
    this.#left -= messages;
    const wait = -this.#left / RATE * 1000;
    return wait < MIN_WAIT ? 0 : wait;
  }

  /** Counts a message, and waits until it may be sent or the signal is aborted. */
  async wait(signal) {
    const wait = this.use();
    if (wait > 0) {
      await sleep(wait, undefined, { signal }).catch(() => {});
    }
  }

  /** Whether more is left than the messages that arrive need. */
  get hasSpare() {
    this.#refill();
    return this.#left > BURST / 2;
  }

  #refill() {
    const now = this.#now();
    this.#left = Math.min(BURST, this.#left + (now - this.#at) / 1000 * RATE);
    this.#at = now;
  }
}
