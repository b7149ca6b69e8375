import { advance, START, verify } from './chain.js';
import { eventHeaders, toEvent } from './event.js';
import { AheadError, AlteredError, GapError, ReorderError, RepeatError } from './errors.js';

const MAX_REPEATS = 4096;
const ASK = 'ask the publisher whether an older log was restored; if so, have the study granted again and read it from the first event';

/**
 * Puts the messages of a durable consumer into the order of the chain.
 *
 * The broker may deliver a message again, and after an interruption it
 * delivers new ones before those that it had sent already and that were never
 * acknowledged. Neither is an error: the first is recognized by its stream
 * sequence, the second waits until the missing ones have arrived. It is an error if
 * the log itself contradicts the chain.
 *
 * The position may be of another log than the one that the broker has now. So
 * no event up to its number is acknowledged as a repeat before the log was seen
 * to contain the position's event: that one, or the one after it with its hash as
 * the previous one. bookmark.go of the Go package, which does the same, describes
 * what a partner can know of the log.
 *
 * A message has `stream` (its sequence there), `headers` (all values by name),
 * `body`, `pending` (messages behind it when it was sent), `deliveries` (of it,
 * so far) and `earlier` (whether it arrived over a connection before this one).
 */
export class Sequencer {
  #early = new Map(); // messages that wait for earlier events, by stream sequence
  #study;
  #repeats = new Map(); // messages not beyond the position, by stream sequence, until it is confirmed
  #confirmed; // the log was seen to contain the position's event
  #length; // the log has at least that many events, according to the repeats
  #limit; // that many messages can be kept as repeats

  /** Position is the stored position; study the study key of its events. */
  constructor(position, study) {
    this.position = position;
    this.#study = study;
    this.begin();
  }

  /**
   * Notes that there is a new connection: the log may be another one than before.
   * Limit is how many messages the broker sends before it sees one acknowledged.
   */
  begin(limit = MAX_REPEATS) {
    this.#repeats.clear(); // they are delivered again
    this.#confirmed = this.position.sequence === START.sequence;
    this.#length = 0n;
    this.#limit = BigInt(limit > 0 ? Math.min(limit, MAX_REPEATS) : MAX_REPEATS);
  }

  /** How many messages wait for earlier events. */
  get early() {
    return this.#early.size;
  }

  /** How many messages wait, including the repeats. */
  get waiting() {
    return this.#early.size + this.#repeats.size;
  }

  /** Reports whether the message with that stream sequence is one of them. */
  isWaiting(stream) {
    return this.#early.has(stream) || this.#repeats.has(stream);
  }

  /**
   * Decides about a message: 'next' (with `message.event` and `message.position`),
   * 'repeat' or 'wait'. Throws an error if it does not belong there.
   */
  judge(message) {
    const { stream } = message;
    const headers = eventHeaders(message.headers);
    verify(headers, message.body);
    if (headers['ce-study'] !== this.#study) {
      throw new AlteredError(`an event of ${headers['ce-study']} arrived among those of ${this.#study}`);
    }
    this.#compare(headers);
    try {
      message.position = { ...advance(this.position, headers), stream };
    } catch (err) {
      if (err instanceof GapError) {
        this.#early.set(stream, message);
        return 'wait';
      }
      if (!(err instanceof RepeatError || err instanceof ReorderError)) {
        throw err;
      }
      this.#checkOrder(err, headers, stream);
      return this.#repeat(message, headers);
    }
    this.#confirmed ||= !message.earlier; // compare has compared the hashes
    message.event = toEvent(headers, message.body);
    return 'next';
  }

  // compare throws an error if an event contradicts that of the position.
  #compare(headers) {
    const { sequence, hash } = this.position;
    const [last, number] = [BigInt(sequence), BigInt(headers['ce-sequence'])];
    if (last > 0n && number === last && headers['ce-hash'] !== hash) {
      throw this.#contradiction(AlteredError, `on the log event ${number} has hash ${headers['ce-hash']}`);
    }
    if (last > 0n && number === last + 1n && headers['ce-previoushash'] !== hash) {
      throw this.#contradiction(AlteredError, `on the log the previous hash of event ${number} is ${headers['ce-previoushash']}`);
    }
  }

  // checkOrder throws an error if number and stream sequence do not rise together.
  #checkOrder(err, headers, stream) {
    const stored = this.position.stream;
    const number = BigInt(headers['ce-sequence']);
    if (stored === 0) {
      return;
    }
    if (err instanceof RepeatError && stream !== stored) {
      throw this.#contradiction(RepeatError, `it is in the stream twice, as message ${stored} and ${stream}`);
    }
    if (err instanceof ReorderError && stream >= stored) {
      throw this.#contradiction(ReorderError, `as message ${stored}, and on the log event ${number} with hash ${headers['ce-hash']} `
        + `is message ${stream}: it is out of order, or another log than before`);
    }
  }

  // repeat decides about an event up to the position's number.
  #repeat(message, headers) {
    const [last, number] = [BigInt(this.position.sequence), BigInt(headers['ce-sequence'])];
    const length = number + BigInt(message.pending ?? 0);
    this.#length = length > this.#length ? length : this.#length;
    this.#confirmed ||= number === last && !message.earlier; // compare has compared the hashes
    if (this.#confirmed || (number + this.#limit <= last && this.#length >= last)) {
      return 'repeat';
    }
    this.#repeats.set(message.stream, message);
    return 'wait';
  }

  /** Returns the repeats that may be acknowledged because the position was confirmed, each once. */
  settled() {
    if (!this.#confirmed) {
      return [];
    }
    const all = [...this.#repeats.values()];
    this.#repeats.clear();
    return all;
  }

  /**
   * Returns an AheadError if the log ends before the position, according to the
   * state of the consumer. A replica that is behind, or a stream that is being
   * filled again, may look the same. So it has to stand for some time. The
   * proofs are those of beyondEnd in bookmark.go.
   */
  ahead({ config, delivered, ack_floor: floor, num_pending: pending }) {
    if (this.#confirmed || this.#early.size > 0) {
      return undefined;
    }
    const { last, deliveries } = this.#lastRepeat();
    const [number, undelivered, sent] = [BigInt(this.position.sequence), BigInt(pending), BigInt(delivered.consumer_seq)];
    if (last && (last.stream === delivered.stream_seq || deliveries === delivered.consumer_seq - floor.consumer_seq)) {
      const headers = eventHeaders(last.headers);
      const end = BigInt(headers['ce-sequence']) + undelivered;
      if (end < number) {
        return this.#contradiction(AheadError, `the log ends with event ${end}${pending === 0 ? ` with hash ${headers['ce-hash']}` : ''}`);
      }
    }
    if (config.deliver_policy === 'all' && sent + undelivered < number) {
      return this.#contradiction(AheadError, `the log has at most ${sent + undelivered} events`);
    }
    if (pending === 0 && delivered.stream_seq < this.position.stream) {
      return this.#contradiction(AheadError, `the log has no event of the study behind message ${delivered.stream_seq}, `
        + `and this one was message ${this.position.stream}`);
    }
    return undefined;
  }

  #lastRepeat() {
    const all = [...this.#repeats.values()];
    return {
      last: this.#repeats.get(Math.max(...this.#repeats.keys())),
      deliveries: all.reduce((sum, { deliveries }) => sum + deliveries, 0),
    };
  }

  #contradiction(Reason, instead) {
    const { sequence, hash } = this.position;
    return new Reason(`study ${this.#study}: event ${BigInt(sequence)} with hash ${hash} was read, but ${instead}; ${ASK}`);
  }

  /** Moves the position behind a message that is 'next'. */
  accept(message) {
    this.position = message.position;
  }

  /** Returns the waiting message that may now be the next, if there is one. */
  release() {
    const message = this.#earliest();
    if (message === undefined || this.#misses(message)) {
      return undefined;
    }
    this.#early.delete(message.stream);
    return message;
  }

  /** Returns all messages that wait, including the repeats, and forgets them. */
  clear() {
    const all = [...this.#early.values(), ...this.#repeats.values()];
    this.#early.clear();
    this.#repeats.clear();
    return all;
  }

  /** Returns the error for the earliest message that waits: nothing will fill the gap. */
  gap() {
    try {
      advance(this.position, eventHeaders(this.#earliest().headers));
    } catch (err) {
      return err;
    }
    return undefined;
  }

  #earliest() {
    if (this.#early.size === 0) {
      return undefined;
    }
    return this.#early.get(Math.min(...this.#early.keys()));
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
