import { JetStreamApiCodes, JetStreamApiError, JetStreamError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';

import { SubscriberError } from './errors.js';

/** An end of reading that another attempt may cure; `cause` says what it was. */
export class Interruption extends Error {
  constructor(cause) {
    super(cause.message, { cause });
    this.name = 'Interruption';
  }

  /** Whether the broker is there and refuses the login or the consumer. */
  get refused() {
    return isRefusal(this.cause);
  }

  /** Whether it refuses the consumer for certain: the login was granted, without it. */
  get forbidden() {
    return some(this.cause, isForbidden);
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
  return some(err, (cause) => isForbidden(cause)
    || cause instanceof errors.AuthorizationError
    || (cause instanceof JetStreamApiError && cause.code === JetStreamApiCodes.ConsumerNotFound)
    || (cause instanceof JetStreamError && cause.message === 'consumer deleted'));
}

function isForbidden(cause) {
  return cause instanceof errors.PermissionViolationError
    || cause instanceof errors.NoRespondersError; // nobody answers for the consumer
}

// some reports whether an error, or one of its causes, is such a one.
function some(err, is) {
  return err instanceof Error && (is(err) || some(err.cause, is));
}
