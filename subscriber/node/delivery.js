import { setTimeout as sleep } from 'node:timers/promises';

import { jetstream } from '@nats-io/jetstream';

import { interruptible, isRefusal } from './interruption.js';

/**
 * The messages of a durable consumer on one connection. Of the JetStream API
 * it uses only what a partner may: CONSUMER.INFO, CONSUMER.MSG.NEXT and acks.
 */
export class Delivery {
  #consumer;
  #messages;
  #iterator;
  #coming; // the promise of the next message
  #stopped = false;

  static async open(nc, { apiPrefix, stream, batch }, name) {
    const delivery = new Delivery();
    const js = jetstream(nc, { apiPrefix });
    delivery.#consumer = await interruptible(js.consumers.get(stream, name));
    delivery.#messages = await delivery.#consumer.consume({ max_messages: batch, abort_on_missing_resource: true });
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
    const result = await interruptible(limit > 0 ? Promise.race([this.#coming, sleep(limit)]) : this.#coming);
    if (result === undefined) {
      return undefined;
    }
    this.#coming = undefined;
    return result.done ? null : adapt(result.value);
  }

  /** Asks for no more messages. After what has arrived, next throws the error if there is one. */
  stop(err) {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#messages.stop(err);
    }
  }

  /** How many messages the broker has delivered, to anyone, and waits for to be acknowledged. */
  async unacknowledged() {
    const info = await interruptible(this.#consumer.info());
    return info.num_ack_pending;
  }

  /** Stops if the broker refuses the consumer. Outages are left to the client. */
  async probe() {
    await this.#consumer.info().catch((err) => isRefusal(err) && this.stop(err));
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

function adapt(message) {
  return {
    stream: message.seq,
    headers: message.headers?.toRecord() ?? {},
    body: message.data,
    ack: () => message.ack(),
    nak: () => message.nak(),
  };
}
