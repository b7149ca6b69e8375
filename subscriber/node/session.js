/** One connection of a partner: from login to its end. */
import { setTimeout as sleep } from 'node:timers/promises';

import { connect, errors, tokenAuthenticator, usernamePasswordAuthenticator } from '@nats-io/transport-node';

import { Delivery } from './delivery.js';
import { encrypted } from './insecure.js';
import { Interruption, interruptible } from './interruption.js';
import { paceOf } from './pace.js';
import { reveal } from './signin.js';
import { Vigil } from './vigil.js';

const TIMEOUT = 5_000; // milliseconds, as all times here
const AHEAD = 5_000; // for how long a position must be ahead of the log before that is an error
const PATIENT = { timeout: TIMEOUT, maxReconnectAttempts: -1, reconnectTimeWait: 250, reconnectJitter: 250, reconnectJitterTLS: 250 };

/**
 * Connects as the partner: with a token, or without a SignIn with client id
 * and secret. After interruptions the client connects again by itself, unless
 * it is refused twice.
 */
export async function login(settings, signIn) {
  const { servers, connection, clientId, clientSecret } = settings;
  const security = encrypted(settings);
  const authenticator = await interruptible(signIn ? byToken(signIn) : bySecret(clientId, clientSecret));
  const name = `signoff-subscriber ${clientId}`;
  return interruptible(connect({ name, ...PATIENT, ...security, ...connection, servers, authenticator }));
}

async function byToken(signIn) {
  await signIn.token();
  return tokenAuthenticator(() => signIn.current);
}

async function bySecret(clientId, clientSecret) {
  return usernamePasswordAuthenticator(clientId, await reveal(clientSecret));
}

/** Ends a connection after what it has still to send. */
export async function logout(nc) {
  if (!nc.isClosed()) {
    await Promise.race([nc.flush(), sleep(TIMEOUT, undefined, { ref: false })]).catch(() => {});
    await nc.close();
  }
}

/**
 * Reads until the signal is aborted, and then returns. Throws an Interruption
 * when the delivery ends, what the sequencer finds wrong, and what `handle`
 * throws. Acknowledges what was handled, and gives back what was not.
 */
export async function read(nc, settings, consumer, sequencer, handle) {
  const { signal, outage, clientId } = settings;
  const delivery = await Delivery.open(nc, settings, consumer);
  sequencer.begin(delivery.limit);
  const vigil = new Vigil();
  const pace = paceOf(clientId);
  const stop = () => delivery.stop();
  signal.addEventListener('abort', stop);
  watch(nc, delivery, sequencer, vigil, outage).catch((err) => delivery.stop(err));
  let message;
  try {
    outage();
    while (!signal.aborted) {
      message = sequencer.release() ?? await delivery.next(vigil.limit(sequencer.kept));
      if (message === undefined) {
        await look(delivery, sequencer, vigil, pace, settings);
      } else if (message === null) {
        await ended(nc, signal);
      } else if (!signal.aborted) {
        await take(message, sequencer, handle);
        message = undefined;
        vigil.soon();
        await pace.turn(signal);
      }
    }
  } finally {
    signal.removeEventListener('abort', stop);
    const unfinished = message ? [message] : [];
    await delivery.giveBack([...unfinished, ...sequencer.clear()]).catch(() => {}); // the broker does it, in time
  }
}

async function take(message, sequencer, handle) {
  const verdict = sequencer.judge(message);
  sequencer.settled().forEach((repeat) => repeat.ack());
  if (verdict === 'held') {
    return;
  }
  if (verdict === 'next') {
    await handle({ event: message.event, position: message.position });
    sequencer.accept(message);
  }
  message.ack();
}

// look asks the broker what it waits for, when nothing has come for some time. It
// throws that the position is ahead of the log, or the gap that nothing will fill, and
// recalls what was sent elsewhere, unless what may be sent is needed for messages that
// arrive.
async function look(delivery, sequencer, vigil, pace, { patience }) {
  const info = await delivery.info().catch((err) => {
    if (sequencer.held > 0) {
      throw err;
    }
  });
  const lost = info ? info.num_ack_pending - sequencer.kept : 0;
  vigil.note(lost > 0);
  const ahead = info && sequencer.ahead(info);
  if (vigil.doubt(ahead !== undefined) >= Math.min(patience, AHEAD) && ahead) {
    throw ahead;
  }
  if (lost <= 0 && sequencer.held > 0) {
    throw sequencer.gap();
  }
  if (lost > 0 && pace.spare) {
    pace.spend(delivery.recall(info, lost, (stream) => sequencer.holds(stream)));
  }
}

async function ended(nc, signal) {
  if (!signal.aborted) {
    const cause = await Promise.race([nc.closed(), sleep(TIMEOUT, undefined, { ref: false })]);
    throw new Interruption(cause ?? new Error('the delivery ended'));
  }
}

// watch tells of outages that the client bridges, and looks whether the
// partner may still read after them.
async function watch(nc, delivery, sequencer, vigil, outage) {
  for await (const { type, error } of nc.status()) {
    if (type === 'disconnect') {
      outage(new Interruption(new Error('the connection to the broker was lost')));
    }
    if (type === 'reconnect') {
      delivery.reconnected();
      sequencer.begin(delivery.limit);
      vigil.begin();
      outage();
    }
    if (type === 'reconnect' || error instanceof errors.PermissionViolationError) {
      await delivery.probe();
    }
  }
}
