/** For how long a request for messages stays at the broker, in milliseconds. */
export const EXPIRES = 10_000;

const GRACE = 2_000;
const FIRST = 50;
const LONGEST = 1_000;
const INTERVAL = 10_000; // when no connection was lost
const MIN_EARLY = 200; // without a message, before the cause of a gap is looked for

/**
 * Determines when to ask the broker what is outstanding: soon and often after a
 * connection, because the broker may send messages to the connection before until
 * its requests expire. On a cluster the server that runs the consumer is not the
 * one that the connection was lost to. Times are in milliseconds.
 */
export class Monitor {
  #until;
  #pause;
  #losses = 0; // in a row
  #aheadSince;

  constructor() {
    this.begin();
  }

  /** Notes that there is a new connection. */
  begin() {
    this.#until = Date.now() + EXPIRES + GRACE;
    this.hurry();
  }

  /** Makes the next check soon; the following ones come later and later. */
  hurry() {
    this.#pause = FIRST;
  }

  /** Notes whether messages were lost; the first time, the next check is soon. */
  noteLost(lost) {
    this.#losses = lost ? this.#losses + 1 : 0;
    if (this.#losses === 1) {
      this.hurry();
    }
  }

  /** Notes whether the position seems to be ahead of the log; returns for how long it has seemed so. */
  noteAhead(ahead) {
    this.#aheadSince = ahead ? this.#aheadSince ?? Date.now() : undefined;
    return ahead ? Date.now() - this.#aheadSince : 0;
  }

  /** Returns how long to wait for a message while so many others wait for it. */
  timeout(waiting) {
    if (waiting === 0 && this.#aheadSince === undefined && this.#losses === 0 && Date.now() > this.#until) {
      return INTERVAL;
    }
    const pause = this.#pause;
    this.#pause = Math.min(pause * 2, LONGEST);
    return waiting > 0 ? Math.max(pause, MIN_EARLY) : pause;
  }
}
