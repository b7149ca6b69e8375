/** For how long a request for messages stays at the broker, in milliseconds. */
export const EXPIRES = 10_000;

const GRACE = 2_000;
const FIRST = 50;
const LONGEST = 1_000;
const INTERVAL = 10_000; // when no connection was lost
const QUIET = 200; // without a message, before a gap is looked into

/**
 * Tells when to ask the broker what is outstanding: soon and often after a
 * connection, because the broker may send messages to the one before until its
 * requests expire. On a cluster the server that holds the consumer is not the
 * one that knows that it is gone. Times are in milliseconds.
 */
export class Vigil {
  #until;
  #pause;
  #losses = 0; // in a row
  #doubted; // since when

  constructor() {
    this.begin();
  }

  /** Notes that there is a new connection. */
  begin() {
    this.#until = Date.now() + EXPIRES + GRACE;
    this.soon();
  }

  /** Has the broker be asked soon, and then less and less often. */
  soon() {
    this.#pause = FIRST;
  }

  /** Notes whether something was lost; then the broker is asked soon again. */
  note(lost) {
    this.#losses = lost ? this.#losses + 1 : 0;
    if (this.#losses === 1) {
      this.soon();
    }
  }

  /** Notes whether the position seems to be ahead of the log; gives for how long it has seemed so. */
  doubt(ahead) {
    this.#doubted = ahead ? this.#doubted ?? Date.now() : undefined;
    return ahead ? Date.now() - this.#doubted : 0;
  }

  /** How long to wait for a message while so many are held. */
  limit(held) {
    if (held === 0 && this.#doubted === undefined && this.#losses === 0 && Date.now() > this.#until) {
      return INTERVAL;
    }
    const pause = this.#pause;
    this.#pause = Math.min(pause * 2, LONGEST);
    return held > 0 ? Math.max(pause, QUIET) : pause;
  }
}
