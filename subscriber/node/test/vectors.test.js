import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { digest, follow, kindOf, START, studyToken } from '../index.js';
import { InvalidEventError } from '../errors.js';
import { eventHeaders, toEvent } from '../event.js';

const read = (name) => JSON.parse(readFileSync(new URL(`../../../events/testdata/${name}`, import.meta.url), 'utf8'));

const arrived = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));

// judge follows a chain; it gives how many events were accepted and the verdict on the next.
function judge({ after, events }) {
  let link = after;
  for (const [accepted, { headers, body }] of events.entries()) {
    try {
      link = follow(link, eventHeaders(arrived(headers)), Buffer.from(body));
    } catch (err) {
      return { accepted, code: err.code };
    }
  }
  return { accepted: events.length, code: undefined };
}

for (const chain of read('chain.json').chains) {
  test(`${chain.name}: every event is accepted`, () => {
    assert.deepEqual(judge(chain), { accepted: chain.events.length, code: undefined });
    for (const { headers, body } of chain.events) {
      assert.equal(digest(headers, body), headers['ce-hash']);
    }
  });

  test(`${chain.name}: CloudEvents keep attributes and data to the letter`, () => {
    for (const { headers, body } of chain.events) {
      const event = toEvent(eventHeaders(arrived(headers)), Buffer.from(body));
      for (const [name, value] of Object.entries(headers)) {
        assert.equal(event[name.slice('ce-'.length)], value);
      }
      if (headers['ce-datacontenttype'] === 'application/fhir+json' || !kindOf(headers['ce-type']).known) {
        assert.equal(event.data, body);
      } else {
        assert.deepEqual(event.data, JSON.parse(body));
      }
    }
  });
}

for (const chain of read('chain-broken.json').chains) {
  test(`${chain.name}: ${chain.code}`, () => {
    assert.deepEqual(judge(chain), { accepted: chain.accepted, code: chain.code });
  });
}

// first makes the first event of a study.
function first({ type, study }, changes = {}, body = Buffer.from('{}')) {
  const [{ headers }] = read('chain.json').chains[0].events;
  const made = { ...headers, 'ce-type': type, 'ce-study': study, 'ce-sequence': '1'.padStart(20, '0'), 'ce-previoushash': START.hash, ...changes };
  made['ce-hash'] = digest(made, body);
  return { headers: made, body };
}

for (const vector of read('kinds.json').accepted) {
  const { name, type, kind, known, optional } = vector;
  test(`accepted: ${name}, ${type}`, () => {
    const { headers, body } = first(vector);
    follow(START, eventHeaders(arrived(headers)), body);
    assert.deepEqual(kindOf(type), { kind, known, optional });
    assert.equal(toEvent(headers, body).type, type);
  });
}

for (const vector of read('kinds.json').refused) {
  test(`refused: ${vector.name}`, () => {
    assert.throws(() => eventHeaders(arrived(first(vector).headers)), InvalidEventError);
  });
}

for (const [what, type, body, data] of [
  ['JSON that is none', 'application/json', Buffer.from('{"a":'), '{"a":'],
  ['JSON with decimals', 'application/json', Buffer.from('{"a":50.0}'), '{"a":50.0}'],
  ['bytes', 'application/pdf', Buffer.from([0x25, 0xff]), new Uint8Array([0x25, 0xff])],
  ['what could be a whole CloudEvent', 'application/cloudevents+json', Buffer.from('{}'), '{}'],
  ['nothing', 'application/fhir+json', Buffer.alloc(0), ''],
]) {
  test(`an event of a kind that is not known may carry ${what}`, () => {
    const made = first({ type: 'x.diagnosticreport.retracted.v1', study: 'S1' }, { 'ce-datacontenttype': type, 'ce-later-on': '1' }, body);
    const headers = eventHeaders(arrived(made.headers));
    follow(START, headers, body);
    const event = toEvent(headers, body);
    assert.deepEqual(event.data, data);
    assert.equal(event.time, headers['ce-time']);
  });
}

for (const { name, study, token } of read('study-tokens.json').tokens) {
  test(`token of ${name}`, () => assert.equal(studyToken(study), token));
}

for (const { name, study } of read('study-tokens.json').refused) {
  test(`no token of ${name}`, () => assert.throws(() => studyToken(study), TypeError));
}
