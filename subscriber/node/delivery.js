import { setTimeout as sleep } from 'node:timers/promises';

import { jetstream } from '@nats-io/jetstream';

import { interruptible, isRefusal, isUnanswered, refusable } from './interruption.js';
import { EXPIRES } from './vigil.js';

// How many messages are recalled at one time, at the most: of the newest, and of the others.
const NEWEST = 50;
const OTHERS = 100;

/**
 * The messages of a durable consumer on one connection. Of the JetStream API
 * it uses only what a partner may: CONSUMER.INFO, CONSUMER.MSG.NEXT and acks.
 */
export class Delivery {
  #nc;
  #name; // of the consumer
  #path; // the same with its stream
  #consumer;
  #recalled = 0; // the message whose turn it was last
  #messages;
  #iterator;
  #coming; // the promise of the next message
  #stopped = false;
  #earlier = 0; // messages in the queue that came over the connection before

  /** How many messages the broker sends before it sees one acknowledged. */
  limit;

  static async open(nc, { apiPrefix, stream, batch }, name) {
    const delivery = new Delivery();
    delivery.#nc = nc;
    delivery.#name = name;
    delivery.#path = `${stream}.${name}`;
    const js = jetstream(nc, { apiPrefix });
    delivery.#consumer = await interruptible(refusable(nc, name, js.consumers.get(stream, name)));
    delivery.limit = (await delivery.#consumer.info(true)).config.max_ack_pending;
    delivery.#messages = await delivery.#consumer.consume({ max_messages: batch, expires: EXPIRES, abort_on_missing_resource: true });
    delivery.#iterator = delivery.#messages[Symbol.asyncIterator]();
    delivery.#watch();
    return delivery;
  }

  /**
   * Gives the next message; undefined if none came within the limit, in
   * milliseconds (0: none); null when delivery has stopped and all that had
   * arrived was given.
   */
  async next(limit = 0) {
    if (this.#coming === undefined) {
      this.#coming = this.#iterator.next();
      this.#coming.catch(() => {}); // whoever waits for it is told; nobody may be by then
    }
    const result = await interruptible(limit > 0 ? within(limit, this.#coming) : this.#coming);
    if (result === undefined) {
      return undefined;
    }
    this.#coming = undefined;
    const earlier = this.#earlier > 0;
    this.#earlier -= earlier ? 1 : 0;
    return result.done ? null : { ...adapt(result.value), earlier };
  }

  /** Notes that there is a new connection, and marks messages that came over the one before as `earlier`. */
  reconnected() {
    this.#earlier = this.#messages.getPending() + 1; // with the one that may have been taken from the queue
  }

  /** Asks for no more messages. After what has arrived, next throws the error if there is one. */
  stop(err) {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#messages.stop(err);
    }
  }

  /** What the broker knows of the consumer. */
  async info() {
    return interruptible(this.#consumer.info());
  }

  /**
   * Has what the broker waits for be delivered once more, at once, except what
   * is held here. Which messages these are is not known. So more than are lost
   * are given back of those between the acknowledged and the last one delivered:
   * the newest each time, the others by turns. The broker ignores what is not the
   * consumer's. Gives how many were given back.
   */
  recall({ ack_floor: floor, delivered }, lost, holds) {
    const first = floor.stream_seq + 1;
    const last = delivered.stream_seq;
    let given = 0;
    const giveBack = (sequence) => {
      if (!holds(sequence)) {
        this.#nc.publish(`$JS.ACK.${this.#path}.1.${sequence}.${delivered.consumer_seq}.0.0`, '-NAK');
        given += 1;
      }
    };
    const between = last - first + 1;
    for (let i = 0; i < Math.min(2 * lost, NEWEST, between); i += 1) {
      giveBack(last - i);
    }
    for (let i = 0; i < Math.min(4 * lost, OTHERS, between); i += 1) {
      this.#recalled += 1;
      if (this.#recalled < first || this.#recalled > last) {
        this.#recalled = first;
      }
      giveBack(this.#recalled);
    }
    return given;
  }

  /** Stops if the broker refuses the consumer or nobody answers for it. Other outages are left to the client. */
  async probe() {
    await refusable(this.#nc, this.#name, this.#consumer.info()).catch((err) => (isRefusal(err) || isUnanswered(err)) && this.stop(err));
  }

  /** Stops, and gives these messages and all that come back, to be delivered again at once. */
  async giveBack(messages) {
    this.stop();
    messages.forEach((message) => message.nak());
    for (let message = await this.next(); message !== null; message = await this.next()) {
      message.nak();
    }
  }

  async #watch() {
    for await (const { type } of this.#messages.status()) {
      if (type === 'no_responders' || type === 'heartbeats_missed') {
        await this.probe();
      }
    }
  }
}

// within gives what the promise gives, or undefined when the time is over.
async function within(limit, promise) {
  const clock = new AbortController();
  try {
    return await Promise.race([promise, sleep(limit, undefined, { signal: clock.signal })]);
  } finally {
    clock.abort();
  }
}

function adapt(message) {
  return {
    stream: message.seq,
    headers: message.headers?.toRecord() ?? {},
    body: message.data,
    pending: message.info.pending, // messages behind it when it was sent
    deliveries: message.info.deliveryCount, // of it, so far
    ack: () => message.ack(),
    nak: () => message.nak(),
  };
}
