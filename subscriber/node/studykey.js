import { createHash } from 'node:crypto';

const PLAIN = /^[A-Za-z0-9_-]{1,64}$/;
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,200}$/u;
const ALPHABET = '0123456789abcdefghijklmnopqrstuv'; // base32hex, RFC 4648 section 7

/**
 * Returns the study key of a study: its form in subjects, consumers and `ce-study`.
 * Throws a TypeError for what cannot be a study.
 */
export function studyToken(study) {
  const id = study.normalize('NFC');
  if (!PRINTABLE.test(id) || id !== id.trim() || id.startsWith('_')) {
    throw new TypeError('study: must have 1 to 200 printable characters, no blank at either end and no underscore at the start');
  }
  if (PLAIN.test(id) && !id.startsWith('x-') && !id.startsWith('h-')) {
    return id;
  }
  const encoded = `x-${base32hex(Buffer.from(id))}`;
  return encoded.length <= 64 ? encoded : `h-${base32hex(createHash('sha256').update(id).digest())}`;
}

function base32hex(bytes) {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) {
      text += ALPHABET[(value >> (bits - 5)) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text;
}
