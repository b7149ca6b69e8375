import { setTimeout as sleep } from 'node:timers/promises';

import { jetstream } from '@nats-io/jetstream';

import { interruptible, isRefusal, isUnanswered, refusable } from './interruption.js';
import { EXPIRES } from './monitor.js';

// How many messages are requested again at a time, at the most: of the newest, and of the others.
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
  #recalled = 0; // the last of the others that was requested again
  #messages;
  #iterator;
  #pending; // the promise of the next message
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
   * Returns the next message; undefined if none arrived within the timeout, in
   * milliseconds (0: none); null when delivery has stopped and all messages that
   * had arrived were returned.
   */
  async next(timeout = 0) {
    if (this.#pending === undefined) {
      this.#pending = this.#iterator.next();
      this.#pending.catch(() => {}); // the caller that waits for it gets the error; there may be none
    }
    const result = await interruptible(timeout > 0 ? within(timeout, this.#pending) : this.#pending);
    if (result === undefined) {
      return undefined;
    }
    this.#pending = undefined;
    const earlier = this.#earlier > 0;
    this.#earlier -= earlier ? 1 : 0;
    return result.done ? null : { ...adapt(result.value), earlier };
  }

  /** Notes that there is a new connection, and marks messages that arrived over the one before as `earlier`. */
  reconnected() {
    this.#earlier = this.#messages.getPending() + 1; // including the one that may have been taken from the queue
  }

  /** Asks for no more messages. After what has arrived, next throws the error if there is one. */
  stop(err) {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#messages.stop(err);
    }
  }

  /** Returns the state of the consumer. */
  async info() {
    return interruptible(this.#consumer.info());
  }

  /**
   * Has the broker deliver again, at once, the messages whose acknowledgement it
   * waits for, except those that wait here. Which messages are lost is unknown. So
   * more than those are requested again, by negative acknowledgements, of the
   * messages between the acknowledged and the last delivered one: the newest each
   * time, the others in turn. The broker ignores a sequence that is not the
   * consumer's. Returns how many were requested.
   */
  recall({ ack_floor: floor, delivered }, lost, isWaiting) {
    const first = floor.stream_seq + 1;
    const last = delivered.stream_seq;
    let requested = 0;
    const request = (sequence) => {
      if (!isWaiting(sequence)) {
        this.#nc.publish(`$JS.ACK.${this.#path}.1.${sequence}.${delivered.consumer_seq}.0.0`, '-NAK');
        requested += 1;
      }
    };
    const between = last - first + 1;
    for (let i = 0; i < Math.min(2 * lost, NEWEST, between); i += 1) {
      request(last - i);
    }
    for (let i = 0; i < Math.min(4 * lost, OTHERS, between); i += 1) {
      this.#recalled += 1;
      if (this.#recalled < first || this.#recalled > last) {
        this.#recalled = first;
      }
      request(this.#recalled);
    }
    return requested;
  }

  /** Stops if the broker refuses the consumer or nobody answers for it. The client handles other outages. */
  async probe() {
    await refusable(this.#nc, this.#name, this.#consumer.info()).catch((err) => (isRefusal(err) || isUnanswered(err)) && this.stop(err));
  }

  /** Stops, and has these messages and all that still arrive delivered again at once. */
  async close(messages) {
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

// within returns the result of the promise, or undefined after the timeout.
async function within(timeout, promise) {
  const clock = new AbortController();
  try {
    return await Promise.race([promise, sleep(timeout, undefined, { signal: clock.signal })]);
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
