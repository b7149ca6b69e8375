import { setTimeout as sleep } from 'node:timers/promises';

const FIRST = 100;
const LONGEST = 5_000;

/** Pauses that grow while attempts fail. Times are in milliseconds. */
export class Backoff {
  #next = FIRST;
  #refusedSince;

  /** Starts again with the shortest pause, because an attempt succeeded. */
  reset() {
    this.#next = FIRST;
    this.#refusedSince = undefined;
  }

  /** Notes that an attempt failed; returns for how long attempts have been refused without a break. */
  failed(refused) {
    this.#refusedSince = refused ? this.#refusedSince ?? Date.now() : undefined;
    return refused ? Date.now() - this.#refusedSince : 0;
  }

  /** Waits for the pause, or until the signal is aborted. */
  async pause(signal) {
    const time = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(this.#next * 2, LONGEST);
    await sleep(time, undefined, { signal }).catch(() => {});
  }
}
