import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { digest, follow, studyToken } from '../index.js';
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
      if (headers['ce-datacontenttype'] === 'application/fhir+json') {
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

for (const { name, study, token } of read('study-tokens.json').tokens) {
  test(`token of ${name}`, () => assert.equal(studyToken(study), token));
}

for (const { name, study } of read('study-tokens.json').refused) {
  test(`no token of ${name}`, () => assert.throws(() => studyToken(study), TypeError));
}
