import { advance, verify } from './chain.js';
import { eventHeaders, toEvent } from './event.js';
import { AlteredError, GapError, ReorderError, RepeatError } from './errors.js';

/**
 * Puts the messages of a durable consumer into the order of the chain.
 *
 * The broker may deliver a message again, and after an interruption it
 * delivers new ones before those that it had sent already and that were never
 * acknowledged. Neither is an error: the first is known by its place in the
 * stream, the second is held until the missing ones have come again. What
 * differs from the chain on the log itself is an error.
 *
 * A message has `stream` (its sequence there), `headers` (all values by name)
 * and `body`.
 */
export class Sequencer {
  #held = new Map(); // messages that came too early, by stream sequence
  #study;

  /** Position is what is held of the chain; study the token its events bear. */
  constructor(position, study) {
    this.position = position;
    this.#study = study;
  }

  /** How many messages wait for an earlier one. */
  get held() {
    return this.#held.size;
  }

  /** Whether the message at that place of the stream is one of them. */
  holds(stream) {
    return this.#held.has(stream);
  }

  /**
   * Judges a message: 'next' (with `message.event` and `message.position`),
   * 'known' or 'held'. Throws what is wrong with it.
   */
  judge(message) {
    const { stream } = message;
    const headers = eventHeaders(message.headers);
    verify(headers, message.body);
    if (headers['ce-study'] !== this.#study) {
      throw new AlteredError(`an event of ${headers['ce-study']} came among those of ${this.#study}`);
    }
    try {
      message.position = { ...advance(this.position, headers), stream };
    } catch (err) {
      if (err instanceof GapError) {
        this.#held.set(stream, message);
        return 'held';
      }
      const older = err instanceof RepeatError || err instanceof ReorderError;
      if (older && stream <= this.position.stream) {
        return 'known';
      }
      throw err;
    }
    message.event = toEvent(headers, message.body);
    return 'next';
  }

  /** Moves the position behind a message that was judged 'next'. */
  accept(message) {
    this.position = message.position;
  }

  /** Gives back the held message that may now be the next, if there is one. */
  release() {
    const message = this.#earliest();
    if (message === undefined || this.#misses(message)) {
      return undefined;
    }
    this.#held.delete(message.stream);
    return message;
  }

  /** Gives all that is held, and holds nothing any more. */
  clear() {
    const all = [...this.#held.values()];
    this.#held.clear();
    return all;
  }

  /** The error for the earliest message that is held: nothing will fill the gap. */
  gap() {
    try {
      advance(this.position, eventHeaders(this.#earliest().headers));
    } catch (err) {
      return err;
    }
    return undefined;
  }

  #earliest() {
    if (this.#held.size === 0) {
      return undefined;
    }
    return this.#held.get(Math.min(...this.#held.keys()));
  }

  #misses(message) {
    try {
      advance(this.position, eventHeaders(message.headers));
      return false;
    } catch (err) {
      return err instanceof GapError;
    }
  }
}
