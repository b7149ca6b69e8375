import { Backoff } from './backoff.js';
import { isPosition, START } from './chain.js';
import { AccessEndedError } from './errors.js';
import { Interruption } from './interruption.js';
import { Sequencer } from './sequencer.js';
import { login, logout, read } from './session.js';
import { SignIn } from './signin.js';
import { studyToken } from './studytoken.js';

const CERTAIN = 5_000; // milliseconds of being forbidden that settle it

/**
 * Reads the events of a study, or without `study` those of the partner's own
 * access, and hands each to `handle`: one at a time, in order, none missing,
 * none twice, none altered. Options and guarantees are in index.d.ts.
 *
 * Returns when `signal` is aborted. Waits without end for a broker that is
 * away. Throws a SubscriberError, or what `handle` throws.
 */
export async function subscribe(options, handle) {
  const settings = complete(options);
  const { consumer, study } = subscription(settings);
  const sequencer = new Sequencer(settings.position, study);
  const signIn = settings.tokenURL ? new SignIn(settings) : undefined;
  const backoff = new Backoff();
  settings.outage = telling(settings.outage, backoff);
  try {
    while (!settings.signal.aborted) {
      await attempt(settings, consumer, signIn, sequencer, handle)
        .catch((err) => interrupted(err, settings, consumer, signIn, backoff));
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
    throw new TypeError('position is none that was handed over with an event');
  }
  return { position: from, signal, outage, patience, batch, apiPrefix, stream, ...required };
}

function warn(cause) {
  if (cause !== undefined) {
    process.emitWarning(`sign-off events cannot be read at present: ${cause.message}`);
  }
}

function subscription({ clientId, study }) {
  if (study == null) {
    return { consumer: clientId, study: `_partner/${clientId}` };
  }
  const token = studyToken(study);
  return { consumer: `${clientId}=${token}`, study: token };
}

function telling(outage, backoff) {
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

// interrupted waits, or throws what waiting does not change.
async function interrupted(err, { signal, patience, outage }, consumer, signIn, backoff) {
  if (!(err instanceof Interruption)) {
    throw err;
  }
  const certain = err.forbidden || (err.refused && !signIn?.doubted);
  if (err.refused) {
    signIn?.doubt();
  }
  if (backoff.failed(certain) > (err.forbidden ? Math.min(patience, CERTAIN) : patience)) {
    throw new AccessEndedError(`${consumer} may not be read: access ended, or was never granted`, { cause: err.cause });
  }
  outage(err);
  await backoff.pause(signal);
}
