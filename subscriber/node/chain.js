/**
 * The chain of a study: whether an event is what it was when it was published,
 * and directly follows the one before. Works on the headers as they arrived,
 * by name, and the bytes of the body; knows nothing of NATS.
 */
import { createHash } from 'node:crypto';

import { AlteredError, GapError, ReorderError, RepeatError } from './errors.js';

/** The place before a study's first event. */
export const START = Object.freeze({ sequence: '0'.repeat(20), hash: '0'.repeat(64), stream: 0 });

/** Whether a value that was stored somewhere is a position. */
export function isPosition({ sequence, hash, stream }) {
  const whole = /^\d{20}$/.test(sequence) && /^[0-9a-f]{64}$/.test(hash) && Number.isSafeInteger(stream) && stream >= 0;
  return whole && (sequence !== START.sequence || (hash === START.hash && stream === START.stream));
}

// In the order in which they are hashed; the digest of the body comes last.
const COVERED = [
  'id', 'source', 'type', 'subject', 'time', 'datacontenttype',
  'study', 'sequence', 'partitionkey', 'previoushash',
];

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** The hash that an event must carry as `ce-hash`. */
export function digest(headers, body) {
  let text = 'signoff-event/1\n';
  for (const name of COVERED) {
    text += `${name}=${headers[`ce-${name}`] ?? ''}\n`;
  }
  return sha256(`${text}datadigest=${sha256(body)}\n`);
}

/** Throws an AlteredError unless the event matches its own hash. */
export function verify(headers, body) {
  if (digest(headers, body) !== headers['ce-hash']) {
    throw new AlteredError(`event ${place(headers)} does not match its hash`);
  }
}

/**
 * Throws what keeps the event from being the next after the link `{sequence,
 * hash}`; gives the link after it. Its own hash must have been verified.
 */
export function advance(link, headers) {
  const sequence = headers['ce-sequence']; // 20 digits: the order of texts is the order of numbers
  const hash = headers['ce-hash'];
  if (sequence === successor(link.sequence)) {
    if (headers['ce-previoushash'] !== link.hash) {
      throw new AlteredError(`event ${place(headers)} does not continue the hash of the event before`);
    }
    return { sequence, hash };
  }
  if (sequence > link.sequence) {
    throw new GapError(`event ${place(headers)} came after ${BigInt(link.sequence)}; those between are missing`);
  }
  if (sequence < link.sequence) {
    throw new ReorderError(`event ${place(headers)} came after ${BigInt(link.sequence)}`);
  }
  if (hash === link.hash) {
    throw new RepeatError(`event ${place(headers)} came again`);
  }
  throw new AlteredError(`another event ${place(headers)}`);
}

/** Verifies the event and advances the link by it. */
export function follow(link, headers, body) {
  verify(headers, body);
  return advance(link, headers);
}

const successor = (sequence) => String(BigInt(sequence) + 1n).padStart(20, '0');

const place = (headers) => `${BigInt(headers['ce-sequence'])} of ${headers['ce-study']}`;
