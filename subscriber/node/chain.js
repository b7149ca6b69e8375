/**
 * The chain of a study: whether an event is unaltered since it was published,
 * and directly follows the one before. Works on the headers as they arrived,
 * by name, and the bytes of the body; does not depend on NATS.
 */
import { createHash } from 'node:crypto';

import { AlteredError, GapError, ReorderError, RepeatError } from './errors.js';

/** The position before a study's first event. */
export const START = Object.freeze({ sequence: '0'.repeat(20), hash: '0'.repeat(64), stream: 0 });

/** Reports whether a value is a position. */
export function isPosition({ sequence, hash, stream }) {
  const valid = /^\d{20}$/.test(sequence) && /^[0-9a-f]{64}$/.test(hash) && Number.isSafeInteger(stream) && stream >= 0;
  return valid && (sequence !== START.sequence || (hash === START.hash && stream === START.stream));
}

// In the order in which they are hashed; the digest of the body comes last.
const COVERED = [
  'id', 'source', 'type', 'subject', 'time', 'datacontenttype',
  'study', 'sequence', 'partitionkey', 'previoushash',
];

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** Returns the hash that an event must have as `ce-hash`. */
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
 * Returns the chain head `{sequence, hash}` after the event; throws if the event
 * does not directly follow the given one. Its own hash must have been verified.
 */
export function advance(head, headers) {
  const sequence = headers['ce-sequence']; // 20 digits: the order of texts is the order of numbers
  const hash = headers['ce-hash'];
  if (sequence === successor(head.sequence)) {
    if (headers['ce-previoushash'] !== head.hash) {
      throw new AlteredError(`event ${place(headers)} does not continue the hash of the event before`);
    }
    return { sequence, hash };
  }
  if (sequence > head.sequence) {
    throw new GapError(`event ${place(headers)} came after ${BigInt(head.sequence)}; those between are missing`);
  }
  if (sequence < head.sequence) {
    throw new ReorderError(`event ${place(headers)} came after ${BigInt(head.sequence)}`);
  }
  if (hash === head.hash) {
    throw new RepeatError(`event ${place(headers)} was published again`);
  }
  throw new AlteredError(`there are two different events ${place(headers)}`);
}

/** Verifies the event, and returns the chain head after it. */
export function follow(head, headers, body) {
  verify(headers, body);
  return advance(head, headers);
}

const successor = (sequence) => String(BigInt(sequence) + 1n).padStart(20, '0');

const place = (headers) => `${BigInt(headers['ce-sequence'])} of ${headers['ce-study']}`;
