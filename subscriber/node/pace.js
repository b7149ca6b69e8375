import { setTimeout as sleep } from 'node:timers/promises';

// What a partner may send, or be sent because it asks, over all its connections; less some for
// other messages than these.
const RATE = 5_000 * 0.9; // a second
const BURST = 10_000 * 0.8; // at once
const NAP = 10; // milliseconds, the shortest wait: timers are no finer than one

const paces = new Map();

/** The pace of a partner, shared by all that this process reads for it. */
export function paceOf(clientId) {
  if (!paces.has(clientId)) {
    paces.set(clientId, new Pace());
  }
  return paces.get(clientId);
}

/** Keeps below what the publisher puts a partner out for. */
export class Pace {
  #now;
  #left = BURST;
  #at;

  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#at = now();
  }

  /** Counts messages; gives for how many milliseconds nothing more should be sent. */
  spend(messages = 1) {
    this.#refill();
    this.#left -= messages;
    const wait = -this.#left / RATE * 1000;
    return wait < NAP ? 0 : wait;
  }

  /** Counts a message, and waits until it may be sent or the signal is aborted. */
  async turn(signal) {
    const wait = this.spend();
    if (wait > 0) {
      await sleep(wait, undefined, { signal }).catch(() => {});
    }
  }

  /** Whether there is more left than is needed for messages that arrive. */
  get spare() {
    this.#refill();
    return this.#left > BURST / 2;
  }

  #refill() {
    const now = this.#now();
    this.#left = Math.min(BURST, this.#left + (now - this.#at) / 1000 * RATE);
    this.#at = now;
  }
}
