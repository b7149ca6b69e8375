/** One connection of a partner, from its login to its end. */
import { setTimeout as sleep } from 'node:timers/promises';

import { connect, errors, tokenAuthenticator, usernamePasswordAuthenticator } from '@nats-io/transport-node';

import { Delivery } from './delivery.js';
import { tlsOptions } from './encryption.js';
import { Interruption, interruptible } from './interruption.js';
import { Monitor } from './monitor.js';
import { quotaOf } from './quota.js';
import { reveal } from './signin.js';

const TIMEOUT = 5_000; // milliseconds, as all times here
const AHEAD = 5_000; // how long a position must be ahead of the log before that is an error
const PATIENT = { timeout: TIMEOUT, maxReconnectAttempts: -1, reconnectTimeWait: 250, reconnectJitter: 250, reconnectJitterTLS: 250 };

/**
 * Connects as the partner: with an access token, or without a SignIn with client id
 * and secret. After interruptions the client connects again by itself, unless
 * it is refused twice.
 */
export async function login(settings, signIn) {
  const { servers, connection, clientId, clientSecret } = settings;
  const security = tlsOptions(settings);
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

/** Closes a connection after everything was sent. */
export async function logout(nc) {
  if (!nc.isClosed()) {
    await Promise.race([nc.flush(), sleep(TIMEOUT, undefined, { ref: false })]).catch(() => {});
    await nc.close();
  }
}

/**
 * Reads until the signal is aborted, and then returns. Throws an Interruption
 * when the delivery ends, and any error of the sequencer or of `handle`.
 * Acknowledges what was handled, and has the rest delivered again.
 */
export async function read(nc, settings, consumer, sequencer, handle) {
  const { signal, outage, clientId } = settings;
  const delivery = await Delivery.open(nc, settings, consumer);
  sequencer.begin(delivery.limit);
  const monitor = new Monitor();
  const quota = quotaOf(clientId);
  const stop = () => delivery.stop();
  signal.addEventListener('abort', stop);
  watch(nc, delivery, sequencer, monitor, outage).catch((err) => delivery.stop(err));
  let message;
  try {
    outage();
    while (!signal.aborted) {
      message = sequencer.release() ?? await delivery.next(monitor.timeout(sequencer.waiting));
      if (message === undefined) {
        await check(delivery, sequencer, monitor, quota, settings);
      } else if (message === null) {
        await ended(nc, signal);
      } else if (!signal.aborted) {
        await deliver(message, sequencer, handle);
        message = undefined;
        monitor.hurry();
        await quota.wait(signal);
      }
    }
  } finally {
    signal.removeEventListener('abort', stop);
    const unfinished = message ? [message] : [];
    await delivery.close([...unfinished, ...sequencer.clear()]).catch(() => {}); // else the broker delivers after the ack wait
  }
}

async function deliver(message, sequencer, handle) {
  const verdict = sequencer.judge(message);
  sequencer.settled().forEach((repeat) => repeat.ack());
  if (verdict === 'wait') {
    return;
  }
  if (verdict === 'next') {
    await handle({ event: message.event, position: message.position });
    sequencer.accept(message);
  }
  message.ack();
}

// check asks the broker what is outstanding, when nothing has arrived for some time. It
// throws an error if the position is ahead of the log, or if nothing will fill a gap, and
// requests again what was sent to a lost connection, unless the messages that arrive need
// the quota.
async function check(delivery, sequencer, monitor, quota, { patience }) {
  const info = await delivery.info().catch((err) => {
    if (sequencer.early > 0) {
      throw err;
    }
  });
  const lost = info ? info.num_ack_pending - sequencer.waiting : 0;
  monitor.noteLost(lost > 0);
  const ahead = info && sequencer.ahead(info);
  if (monitor.noteAhead(ahead !== undefined) >= Math.min(patience, AHEAD) && ahead) {
    throw ahead;
  }
  if (lost <= 0 && sequencer.early > 0) {
    throw sequencer.gap();
  }
  if (lost > 0 && quota.hasSpare) {
    quota.use(delivery.recall(info, lost, (stream) => sequencer.isWaiting(stream)));
  }
}

async function ended(nc, signal) {
  if (!signal.aborted) {
    const cause = await Promise.race([nc.closed(), sleep(TIMEOUT, undefined, { ref: false })]);
    throw new Interruption(cause ?? new Error('the delivery ended'));
  }
}

// watch reports outages that the client waits for, and checks after them whether the
// partner may still read.
async function watch(nc, delivery, sequencer, monitor, outage) {
  for await (const { type, error } of nc.status()) {
    if (type === 'disconnect') {
      outage(new Interruption(new Error('the connection to the broker was lost')));
    }
    if (type === 'reconnect') {
      delivery.reconnected();
      sequencer.begin(delivery.limit);
      monitor.begin();
      outage();
    }
    if (type === 'reconnect' || error instanceof errors.PermissionViolationError) {
      await delivery.probe();
    }
  }
}
