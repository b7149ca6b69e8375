import { advance, START, verify } from './chain.js';
import { eventHeaders, toEvent } from './event.js';
import { AheadError, AlteredError, GapError, ReorderError, RepeatError } from './errors.js';

const REMEMBERED = 4096; // repeats, at the most
const ASK = 'ask the publisher whether an older log was restored; if so, have the study granted again and read it from the first event';

/**
 * Puts the messages of a durable consumer into the order of the chain.
 *
 * The broker may deliver a message again, and after an interruption it
 * delivers new ones before those that it had sent already and that were never
 * acknowledged. Neither is an error: the first is known by its place in the
 * stream, the second is held until the missing ones have come again. What
 * differs from the chain on the log itself is an error.
 *
 * The position may be of another log than the one that the broker has now. So
 * no event up to its number is acknowledged as a repeat before the log was seen
 * to hold the position's event: that one, or the one after it with its hash as
 * the previous one. What a partner can know of the log is said in bookmark.go of
 * the Go package, which does the same.
 *
 * A message has `stream` (its sequence there), `headers` (all values by name),
 * `body`, `pending` (messages behind it when it was sent), `deliveries` (of it,
 * so far) and `earlier` (whether it came over a connection before this one).
 */
export class Sequencer {
  #held = new Map(); // messages that came too early, by stream sequence
  #study;
  #repeats = new Map(); // messages not beyond the position, by stream sequence, until it is confirmed
  #confirmed; // the log was seen to hold the position's event
  #length; // so many events the log has at least, as those of the repeats say
  #limit; // so many messages can be kept as repeats

  /** Position is what is held of the chain; study the token its events bear. */
  constructor(position, study) {
    this.position = position;
    this.#study = study;
    this.begin();
  }

  /**
   * Notes that there is a new connection: the log may be another one than before.
   * Limit is how many messages the broker sends before it sees one acknowledged.
   */
  begin(limit = REMEMBERED) {
    this.#repeats.clear(); // they come again
    this.#confirmed = this.position.sequence === START.sequence;
    this.#length = 0n;
    this.#limit = BigInt(limit > 0 ? Math.min(limit, REMEMBERED) : REMEMBERED);
  }

  /** How many messages wait for an earlier one. */
  get held() {
    return this.#held.size;
  }

  /** How many messages wait, with the repeats. */
  get kept() {
    return this.#held.size + this.#repeats.size;
  }

  /** Whether the message at that place of the stream is one of them. */
  holds(stream) {
    return this.#held.has(stream) || this.#repeats.has(stream);
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
    this.#agree(headers);
    try {
      message.position = { ...advance(this.position, headers), stream };
    } catch (err) {
      if (err instanceof GapError) {
        this.#held.set(stream, message);
        return 'held';
      }
      if (!(err instanceof RepeatError || err instanceof ReorderError)) {
        throw err;
      }
      this.#inOrder(err, headers, stream);
      return this.#repeat(message, headers);
    }
    this.#confirmed ||= !message.earlier; // agree has compared the hashes
    message.event = toEvent(headers, message.body);
    return 'next';
  }

  // agree throws what another event in place of the position's one says.
  #agree(headers) {
    const { sequence, hash } = this.position;
    const [held, number] = [BigInt(sequence), BigInt(headers['ce-sequence'])];
    if (held > 0n && number === held && headers['ce-hash'] !== hash) {
      throw this.#contradiction(AlteredError, `on the log event ${number} has hash ${headers['ce-hash']}`);
    }
    if (held > 0n && number === held + 1n && headers['ce-previoushash'] !== hash) {
      throw this.#contradiction(AlteredError, `on the log the previous hash of event ${number} is ${headers['ce-previoushash']}`);
    }
  }

  // inOrder throws what an event says whose place in the stream does not suit its number.
  #inOrder(err, headers, stream) {
    const place = this.position.stream;
    const number = BigInt(headers['ce-sequence']);
    if (place === 0) {
      return;
    }
    if (err instanceof RepeatError && stream !== place) {
      throw this.#contradiction(RepeatError, `it is in the stream twice, as message ${place} and ${stream}`);
    }
    if (err instanceof ReorderError && stream >= place) {
      throw this.#contradiction(ReorderError, `as message ${place}, and on the log event ${number} with hash ${headers['ce-hash']} `
        + `is message ${stream}: it is out of order, or another log than before`);
    }
  }

  // repeat judges an event whose number is not beyond the position's.
  #repeat(message, headers) {
    const [held, number] = [BigInt(this.position.sequence), BigInt(headers['ce-sequence'])];
    const length = number + BigInt(message.pending ?? 0);
    this.#length = length > this.#length ? length : this.#length;
    this.#confirmed ||= number === held && !message.earlier; // agree has compared the hashes
    if (this.#confirmed || (number + this.#limit <= held && this.#length >= held)) {
      return 'known';
    }
    this.#repeats.set(message.stream, message);
    return 'held';
  }

  /** Gives the repeats that may be acknowledged because the position has been confirmed, each once. */
  settled() {
    if (!this.#confirmed) {
      return [];
    }
    const all = [...this.#repeats.values()];
    this.#repeats.clear();
    return all;
  }

  /**
   * Gives the AheadError if the log ends before the position, going by what the
   * broker knows of the consumer. A replica that is behind may say so too, or a
   * stream that is being filled again. So it has to stand for some time. The
   * proofs are those of beyondEnd in bookmark.go.
   */
  ahead({ config, delivered, ack_floor: floor, num_pending: pending }) {
    if (this.#confirmed || this.#held.size > 0) {
      return undefined;
    }
    const { last, deliveries } = this.#lastRepeat();
    const [held, undelivered, sent] = [BigInt(this.position.sequence), BigInt(pending), BigInt(delivered.consumer_seq)];
    if (last && (last.stream === delivered.stream_seq || deliveries === delivered.consumer_seq - floor.consumer_seq)) {
      const headers = eventHeaders(last.headers);
      const end = BigInt(headers['ce-sequence']) + undelivered;
      if (end < held) {
        return this.#contradiction(AheadError, `the log ends with event ${end}${pending === 0 ? ` with hash ${headers['ce-hash']}` : ''}`);
      }
    }
    if (config.deliver_policy === 'all' && sent + undelivered < held) {
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

  /** Gives all that is held, with the repeats, and holds nothing any more. */
  clear() {
    const all = [...this.#held.values(), ...this.#repeats.values()];
    this.#held.clear();
    this.#repeats.clear();
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
