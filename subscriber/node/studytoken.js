import { createHash } from 'node:crypto';

const PLAIN = /^[A-Za-z0-9_-]{1,64}$/;
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,200}$/u;
const ALPHABET = '0123456789abcdefghijklmnopqrstuv'; // base32hex, RFC 4648 section 7

/**
 * The token that stands for a study number in subjects, consumers and
 * `ce-study`. Throws a TypeError for what cannot be a study number.
 */
export function studyToken(study) {
  const id = study.normalize('NFC');
  if (!PRINTABLE.test(id) || id !== id.trim() || id.startsWith('_')) {
    throw new TypeError('a study number has 1 to 200 printable characters and starts with no underscore');
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
