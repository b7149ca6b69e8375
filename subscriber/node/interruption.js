import { JetStreamApiCodes, JetStreamApiError, JetStreamError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';

import { SubscriberError } from './errors.js';

/** An end of reading that another attempt may cure; `cause` says what it was. */
export class Interruption extends Error {
  constructor(cause) {
    super(cause.message, { cause });
    this.name = 'Interruption';
  }

  /**
   * Whether the broker is there and refuses: the login, the subject, or the
   * consumer, which is gone or not the partner's.
   */
  get refused() {
    return isRefusal(this.cause);
  }
}

/** Gives what a promise gives. What it throws becomes an Interruption, unless no attempt can cure it. */
export async function interruptible(promise) {
  try {
    return await promise;
  } catch (err) {
    throw err instanceof SubscriberError ? err : new Interruption(err);
  }
}

export function isRefusal(err) {
  return err instanceof errors.AuthorizationError
    || err instanceof errors.PermissionViolationError
    || err instanceof errors.NoRespondersError // nobody answers for the consumer
    || (err instanceof JetStreamApiError && err.code === JetStreamApiCodes.ConsumerNotFound)
    || (err instanceof JetStreamError && err.message === 'consumer deleted')
    || (err.cause instanceof Error && isRefusal(err.cause));
}
