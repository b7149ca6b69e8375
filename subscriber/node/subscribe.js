import { Backoff } from './backoff.js';
import { isPosition, START } from './chain.js';
import { AccessEndedError } from './errors.js';
import { Interruption } from './interruption.js';
import { Sequencer } from './sequencer.js';
import { login, logout, read } from './session.js';
import { SignIn } from './signin.js';
import { studyToken } from './studykey.js';

// For how many milliseconds new logins must come without the study before access counts as
// ended: a grant takes effect at the server a moment after it was announced.
const REFUSED = 2_000;

/**
 * Reads the events of a study, or without `study` those of the partner's own
 * access, and passes each to `handle`: one at a time, in order, none missing,
 * none twice, none altered. Options and guarantees are in index.d.ts.
 *
 * Returns when `signal` is aborted. Waits without limit for a broker that is
 * unreachable. Throws a SubscriberError, or any error of `handle`.
 */
export async function subscribe(options, handle) {
  const settings = complete(options);
  const { consumer, study, name } = subscription(settings);
  const sequencer = new Sequencer(settings.position, study);
  const signIn = settings.tokenURL ? new SignIn(settings) : undefined;
  const backoff = new Backoff();
  settings.outage = reporting(settings.outage, backoff);
  try {
    while (!settings.signal.aborted) {
      await attempt(settings, consumer, signIn, sequencer, handle)
        .catch((err) => interrupted(err, settings, name, signIn, backoff));
    }
  } finally {
    signIn?.close();
  }
}

function complete({
  position,
  signal = new AbortController().signal,
  outage = warn,
  patience = 60_000,
  batch = 100,
  apiPrefix = 'js.signoff',
  stream = 'SIGNOFF',
  ...required
}) {
  const from = position ?? START;
  if (!isPosition(from)) {
    throw new TypeError('position: must be the position of an event that was delivered, or START');
  }
  return { position: from, signal, outage, patience, batch, apiPrefix, stream, ...required };
}

function warn(cause) {
  if (cause !== undefined) {
    process.emitWarning(`sign-off events cannot be read at present; trying again: ${cause.message}`);
  }
}

function subscription({ clientId, study }) {
  if (study == null) {
    const own = `_partner/${clientId}`;
    return { consumer: clientId, study: own, name: own };
  }
  const key = studyToken(study);
  return { consumer: `${clientId}=${key}`, study: key, name: study };
}

function reporting(outage, backoff) {
  return (cause) => {
    if (cause === undefined) {
      backoff.reset();
    }
    outage(cause);
  };
}

async function attempt(settings, consumer, signIn, sequencer, handle) {
  const nc = await login(settings, signIn);
  try {
    await read(nc, settings, consumer, sequencer, handle);
  } finally {
    await logout(nc);
  }
}

// interrupted waits, or throws an error if waiting does not help. There are two kinds of refusals.
// If the broker does not permit the request for the consumer, this login came without the study: it
// is not granted. If it permits that and there is no such consumer, the study is granted and the
// publisher is about to create the consumer again: that is waited for.
async function interrupted(err, { signal, patience, outage, clientId }, study, signIn, backoff) {
  if (!(err instanceof Interruption)) {
    throw err;
  }
  const certain = err.forbidden || (err.refused && !signIn?.doubted);
  if (err.refused) {
    signIn?.doubt();
  }
  if (backoff.failed(certain) > (err.forbidden ? Math.min(patience, REFUSED) : patience)) {
    const refusal = err.loginRefused ? `the broker refuses the login of ${clientId}; ask the publisher`
      : `study ${study} is not granted to ${clientId}; ask the publisher, or correct the study number`;
    throw new AccessEndedError(refusal, { cause: err.cause });
  }
  if (!err.forbidden) {
    outage(err); // a refused request is none: the next login decides
  }
  await backoff.pause(signal);
}
