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

  /** Whether it refuses the login. */
  get unknown() {
    return some(this.cause, (cause) => cause instanceof errors.AuthorizationError);
  }

  /** Whether it does not permit to ask for the consumer: the login came without the study. */
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

/**
 * Whether the broker refuses. There is no consumer while the publisher makes it
 * anew, so that has to last for some time.
 */
export function isRefusal(err) {
  return some(err, (cause) => isForbidden(cause)
    || cause instanceof errors.AuthorizationError
    || (cause instanceof JetStreamApiError && cause.code === JetStreamApiCodes.ConsumerNotFound)
    || (cause instanceof JetStreamError && cause.message === 'consumer deleted'));
}

/** Whether nobody answers for the consumer, as while the broker or the publisher starts. That is an outage. */
export function isUnanswered(err) {
  return some(err, (cause) => cause instanceof errors.NoRespondersError);
}

/**
 * Waits for a request about a consumer, and fails as soon as the broker refuses
 * one. The broker names the subject that the partner's account maps the request
 * to, by which the client does not find the request, and would wait until it
 * times out.
 */
export async function refusable(nc, consumer, request) {
  const status = nc.status();
  const refused = (async () => {
    for await (const { error } of status) {
      if (isForbidden(error) && error.subject.split('.').includes(consumer)) {
        throw error;
      }
    }
    return request; // the watch was stopped
  })();
  try {
    return await Promise.race([request, refused]);
  } finally {
    status.stop();
    refused.catch(() => {});
  }
}

function isForbidden(cause) {
  return cause instanceof errors.PermissionViolationError;
}

// some reports whether an error, or one of its causes, is such a one.
function some(err, is) {
  return err instanceof Error && (is(err) || some(err.cause, is));
}
