/**
 * From a NATS message to a CloudEvent: binary mode of the NATS binding
 * (1.0.3-wip), the attributes as headers `ce-…`, the body as it was signed.
 */
import { CloudEvent, HTTP } from 'cloudevents';

import { InvalidEventError } from './errors.js';
import { belongs, kindOf } from './kind.js';

const REQUIRED = [
  'ce-specversion', 'ce-id', 'ce-source', 'ce-type', 'ce-subject', 'ce-time', 'ce-datacontenttype',
  'ce-study', 'ce-sequence', 'ce-partitionkey', 'ce-previoushash', 'ce-hash',
];
const VALUE = /^[\x21\x23\x24\x26-\x7e]{1,1024}$/; // printable ASCII without space, quote and percent
const SEQUENCE = /^(?!0{20})\d{20}$/;
const HASH = /^[0-9a-f]{64}$/;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Returns the headers of an event from those of a message: `all` has the values of
 * each name. Other headers are left out.
 */
export function eventHeaders(all) {
  const headers = {};
  for (const [name, values] of Object.entries(all)) {
    if (!name.startsWith('ce-')) {
      continue;
    }
    if (values.length !== 1 || !VALUE.test(values[0])) {
      throw new InvalidEventError(`header ${name} must occur once, with printable ASCII characters other than quote and percent`);
    }
    headers[name] = values[0];
  }
  check(headers);
  return headers;
}

function check(headers) {
  for (const name of REQUIRED) {
    if (headers[name] === undefined) {
      throw new InvalidEventError(`header ${name} is missing`);
    }
  }
  if (headers['ce-specversion'] !== '1.0') {
    throw new InvalidEventError('ce-specversion is not 1.0');
  }
  if (!SEQUENCE.test(headers['ce-sequence'])) {
    throw new InvalidEventError('ce-sequence must be a number of 20 digits, from 1');
  }
  if (!HASH.test(headers['ce-hash']) || !HASH.test(headers['ce-previoushash'])) {
    throw new InvalidEventError('ce-hash or ce-previoushash is not 64 hexadecimal digits');
  }
  const type = kindOf(headers['ce-type']);
  if (type === undefined) {
    throw new InvalidEventError(`ce-type ${headers['ce-type']} is malformed`);
  }
  if (!belongs(type.kind, headers['ce-study'])) {
    throw new InvalidEventError(`ce-study ${headers['ce-study']} is malformed, or has no events of the kind ${type.kind}`);
  }
}

/**
 * Returns the CloudEvent. FHIR data stays the text that was signed: parsing it
 * would lose digits of its decimals. The data of an unknown kind stays text as
 * well, or bytes if it is not UTF-8.
 */
export function toEvent(headers, body) {
  try {
    if (!kindOf(headers['ce-type']).known) {
      return new CloudEvent({ ...attributes(headers), data: textOf(body) });
    }
    const event = HTTP.toEvent({ headers, body: utf8.decode(body) });
    return event.cloneWith({ time: headers['ce-time'] }); // toEvent truncates it to milliseconds; the clone is validated
  } catch (cause) {
    throw new InvalidEventError('a message is not a CloudEvent', { cause });
  }
}

// attributes returns the attributes whose names are valid in the SDK.
function attributes(headers) {
  const named = Object.entries(headers).map(([name, value]) => [name.slice('ce-'.length), value]);
  return Object.fromEntries(named.filter(([name]) => /^[a-z0-9]+$/.test(name)));
}

function textOf(body) {
  try {
    return utf8.decode(body);
  } catch {
    return new Uint8Array(body);
  }
}
