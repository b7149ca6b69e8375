import { JetStreamApiCodes, JetStreamApiError, JetStreamError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';

import { SubscriberError } from './errors.js';

/** An error after which reading is tried again; `cause` is the original one. */
export class Interruption extends Error {
  constructor(cause) {
    super(cause.message, { cause });
    this.name = 'Interruption';
  }

  /** Whether the broker refuses the login or the consumer. */
  get refused() {
    return isRefusal(this.cause);
  }

  /** Whether it refuses the login. */
  get loginRefused() {
    return some(this.cause, (cause) => cause instanceof errors.AuthorizationError);
  }

  /** Whether it does not permit requests about the consumer: the login came without the study. */
  get forbidden() {
    return some(this.cause, isForbidden);
  }
}

/** Returns the result of a promise. An error becomes an Interruption, unless another attempt does not help. */
export async function interruptible(promise) {
  try {
    return await promise;
  } catch (err) {
    throw err instanceof SubscriberError ? err : new Interruption(err);
  }
}

/**
 * Reports whether the broker refuses access. The consumer is also missing while the
 * publisher creates it again, so a refusal has to last for some time.
 */
export function isRefusal(err) {
  return some(err, (cause) => isForbidden(cause)
    || cause instanceof errors.AuthorizationError
    || (cause instanceof JetStreamApiError && cause.code === JetStreamApiCodes.ConsumerNotFound)
    || (cause instanceof JetStreamError && cause.message === 'consumer deleted'));
}

/** Reports whether nobody answers for the consumer, as while the broker or the publisher starts. That is an outage. */
export function isUnanswered(err) {
  return some(err, (cause) => cause instanceof errors.NoRespondersError);
}

/**
 * Waits for a request about a consumer, and fails as soon as the broker refuses
 * one. The client cannot relate that error to the request, because it names the
 * subject that the partner's account maps the request to, and would wait until the
 * request times out.
 */
export async function refusable(nc, consumer, request) {
  const status = nc.status();
  const refused = (async () => {
    for await (const { error } of status) {
      if (isForbidden(error) && error.subject.split('.').includes(consumer)) {
        throw error;
      }
    }
    return request; // the status was closed
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

// some reports whether the predicate holds for an error or one of its causes.
function some(err, is) {
  return err instanceof Error && (is(err) || some(err.cause, is));
}
