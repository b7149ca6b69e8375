import assert from 'node:assert/strict';
import test from 'node:test';

import { AheadError, AlteredError, digest, GapError, InvalidEventError, ReorderError, RepeatError, START, subscribe } from '../index.js';
import { Sequencer } from '../sequencer.js';

const padded = (n) => String(n).padStart(20, '0');

// chain makes messages 1 … n of a study, three places apart in the stream.
function chain(n, study = 'S1') {
  const messages = [];
  let previous = START.hash;
  for (let number = 1; number <= n; number += 1) {
    messages.push(seal({ study, number, previous, stream: number * 3 }));
    previous = messages.at(-1).headers['ce-hash'][0];
  }
  return messages;
}

function seal({ study, number, previous, stream, id = `id-${number}` }) {
  const body = Buffer.from(`{"number":${number}}`);
  const attributes = {
    'ce-specversion': '1.0', 'ce-id': id, 'ce-source': `/signoff/ResearchStudy/${study}`,
    'ce-type': 'org.mskcc.crit.diagnosticreport.signed.v1', 'ce-subject': `DiagnosticReport/${number}/_history/${number}`,
    'ce-time': '2026-01-31T12:00:01.000123Z', 'ce-datacontenttype': 'application/fhir+json', 'ce-study': study,
    'ce-sequence': padded(number), 'ce-partitionkey': `${study}/1`, 'ce-previoushash': previous,
  };
  attributes['ce-hash'] = digest(attributes, body);
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, [value]]));
  return { stream, headers, body };
}

const copy = (message, changes) => ({ ...message, headers: { ...message.headers }, ...changes });

// deliver takes messages as they arrive, and returns the numbers of those that are next.
function deliver(sequencer, messages) {
  const handed = [];
  const queue = [...messages];
  for (;;) {
    const message = sequencer.release() ?? queue.shift();
    if (message === undefined) {
      return handed;
    }
    if (sequencer.judge(message) === 'next') {
      handed.push(Number(message.event.sequence));
      sequencer.accept(message);
    }
  }
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('what comes in order is handed over', () => {
  const sequencer = new Sequencer(START, 'S1');
  const messages = chain(5);
  assert.deepEqual(deliver(sequencer, messages), numbers(1, 5));
  assert.deepEqual(sequencer.position, { sequence: padded(5), hash: messages[4].headers['ce-hash'][0], stream: 15 });
});

test('every order of delivery, with repeats, leads to the order of the chain', () => {
  const messages = chain(5);
  for (const order of permutations([0, 1, 2, 3, 4])) {
    const sequencer = new Sequencer(START, 'S1');
    const delivered = [...order, ...order].map((i) => copy(messages[i]));
    assert.deepEqual(deliver(sequencer, delivered), numbers(1, 5), `order ${order}`);
    assert.equal(sequencer.early, 0);
  }
});

function permutations(list) {
  return list.length < 2 ? [list] : list.flatMap((first) => permutations(list.filter((x) => x !== first)).map((rest) => [first, ...rest]));
}

test('from a stored position nothing is handed over again', () => {
  const messages = chain(6);
  const first = new Sequencer(START, 'S1');
  deliver(first, messages.slice(0, 4));
  const stored = JSON.parse(JSON.stringify(first.position));
  assert.deepEqual(deliver(new Sequencer(stored, 'S1'), messages), numbers(5, 6));
});

test('repeats are acknowledged once the log was seen to hold the position', () => {
  const messages = chain(6);
  const at = (n) => ({ sequence: padded(n), hash: messages[n - 1].headers['ce-hash'][0], stream: n * 3 });
  for (const [shown, verdict] of [[messages[3], 'repeat'], [messages[4], 'next']]) {
    const sequencer = new Sequencer(at(4), 'S1');
    assert.deepEqual(messages.slice(0, 3).map((message) => sequencer.judge(copy(message))), ['wait', 'wait', 'wait']);
    assert.equal(sequencer.waiting, 3);
    assert.deepEqual(sequencer.settled(), []);
    assert.equal(sequencer.judge(copy(shown)), verdict);
    assert.deepEqual(sequencer.settled().map(({ stream }) => stream), [3, 6, 9]);
    assert.deepEqual(sequencer.settled(), []);
    assert.equal(sequencer.judge(copy(messages[0])), 'repeat');
    sequencer.begin(); // on a new connection the log may be another one
    assert.equal(sequencer.judge(copy(messages[0])), 'wait');
    assert.equal(sequencer.judge(copy(shown, { earlier: true })), verdict === 'next' ? 'next' : 'wait');
    assert.deepEqual(sequencer.settled(), []);
  }
});

test('repeats too far before the position to be kept are acknowledged if the log is long enough', () => {
  const messages = chain(6);
  const position = { sequence: padded(5), hash: messages[4].headers['ce-hash'][0], stream: 15 };
  for (const [pending, verdict] of [[4, 'repeat'], [3, 'wait']]) {
    const sequencer = new Sequencer(position, 'S1');
    sequencer.begin(3);
    assert.equal(sequencer.judge(copy(messages[0], { pending })), verdict);
    assert.equal(sequencer.judge(copy(messages[2], { pending: 0 })), 'wait');
  }
});

test('a position ahead of the log is distinguished from one that nothing contradicts', () => {
  const messages = chain(6);
  const hash = messages[4].headers['ce-hash'][0];
  const ahead = (position, kept, info) => {
    const sequencer = new Sequencer(position, 'S1');
    kept.forEach((message) => sequencer.judge(copy(message, { pending: 0, deliveries: 1 })));
    const [sent, place, acked, floor, pending, from = 'all'] = info;
    return sequencer.ahead({
      config: { deliver_policy: from },
      delivered: { consumer_seq: sent, stream_seq: place },
      ack_floor: { consumer_seq: acked, stream_seq: floor },
      num_pending: pending,
    });
  };
  const five = { sequence: padded(5), hash, stream: 15 };
  const unplaced = { ...five, stream: 0 };
  const four = messages.slice(0, 4);
  for (const [what, err] of [
    ['log ends with event 4 with hash', ahead(five, four, [4, 12, 0, 0, 0])],
    ['log ends with event 4 with hash', ahead(unplaced, four, [4, 12, 0, 0, 0, 'by_start_sequence'])],
    ['log ends with event 4 with hash', ahead(unplaced, four, [9, 40, 5, 0, 0, 'by_start_sequence'])],
    ['log ends with event 4;', ahead(five, four.slice(0, 2), [2, 6, 0, 0, 2])],
    ['log has at most 4 events', ahead(five, [], [1, 40, 1, 40, 3])],
    ['no event of the study behind message 14', ahead(five, [], [9, 14, 9, 14, 0, 'by_start_sequence'])],
  ]) {
    assert.ok(err instanceof AheadError, what);
    assert.match(err.message, new RegExp(`study S1: event 5 with hash ${hash} was read, but .*${what}.*ask the publisher`));
  }
  for (const none of [
    ahead(five, four.slice(0, 2), [2, 6, 0, 0, 3]), // three are on their way
    ahead(five, four, [6, 15, 0, 0, 0]), // another one was delivered
    ahead(five, [], [5, 15, 5, 15, 0]),
    ahead(five, [], [9, 14, 9, 14, 1, 'by_start_sequence']),
    ahead(unplaced, [], [9, 14, 9, 14, 0]),
    ahead(five, [messages[4]], [1, 15, 0, 0, 0]), // it is seen
    ahead(START, [], [0, 0, 0, 0, 0]),
  ]) {
    assert.equal(none, undefined);
  }
});

test('later events wait for a missing one, which is a gap when nothing can fill it', () => {
  const sequencer = new Sequencer(START, 'S1');
  const messages = chain(5);
  assert.deepEqual(deliver(sequencer, [messages[0], messages[4], messages[3]]), [1]);
  assert.equal(sequencer.early, 2);
  const gap = sequencer.gap();
  assert.ok(gap instanceof GapError);
  assert.match(gap.message, /event 4 of S1 came after 1/);
  assert.deepEqual(deliver(sequencer, messages.slice(1, 3)), numbers(2, 5));
});

test('an event published a second time is a repeat, not a second delivery', () => {
  const messages = chain(3);
  const sequencer = new Sequencer(START, 'S1');
  deliver(sequencer, messages);
  assert.equal(sequencer.judge(copy(messages[2])), 'repeat');
  assert.throws(() => sequencer.judge(copy(messages[2], { stream: 10 })), RepeatError);
});

test('an older event published later is a reorder', () => {
  const messages = chain(3);
  const sequencer = new Sequencer(START, 'S1');
  deliver(sequencer, messages);
  assert.throws(() => sequencer.judge(copy(messages[0], { stream: 10 })), ReorderError);
});

test('an event that is not what it was is altered, even if it was handled already', () => {
  const messages = chain(3);
  const sequencer = new Sequencer(START, 'S1');
  deliver(sequencer, messages.slice(0, 2));
  const body = Buffer.from('{"number":4}');
  assert.throws(() => sequencer.judge(copy(messages[2], { body })), AlteredError);
  assert.throws(() => sequencer.judge(copy(messages[0], { body })), AlteredError);
  const other = seal({ study: 'S1', number: 2, previous: messages[0].headers['ce-hash'][0], stream: 6, id: 'other' });
  assert.throws(() => sequencer.judge(other), AlteredError);
});

test('a stored position of another chain is noticed', () => {
  const sequencer = new Sequencer({ sequence: padded(2), hash: 'f'.repeat(64), stream: 6 }, 'S1');
  assert.throws(() => deliver(sequencer, chain(3).slice(2)), AlteredError);
});

test('a stored position that is not one is refused before anything is read', async () => {
  for (const position of [{}, { ...START, sequence: '1' }, { ...START, hash: '' }, { ...START, stream: 3 }, { ...START, hash: 'a'.repeat(64) }, { ...START, sequence: padded(1), stream: -1 }, { sequence: START.sequence, hash: START.hash }]) {
    await assert.rejects(subscribe({ servers: '127.0.0.1:1', clientId: 'acme', clientSecret: '', study: 'S1', position }, () => {}), TypeError);
  }
});

test('an event of another study is refused', () => {
  assert.throws(() => new Sequencer(START, 'S1').judge(chain(1, 'S2')[0]), AlteredError);
});

for (const [what, change] of Object.entries({
  'an attribute that is missing': (headers) => { delete headers['ce-source']; },
  'an attribute that is there twice': (headers) => { headers['ce-id'] = ['a', 'b']; },
  'another version of CloudEvents': (headers) => { headers['ce-specversion'] = ['0.3']; },
  'a short number': (headers) => { headers['ce-sequence'] = ['1']; },
  'the number 0': (headers) => { headers['ce-sequence'] = [padded(0)]; },
  'a hash in capitals': (headers) => { headers['ce-hash'] = ['A'.repeat(64)]; },
  'characters that encodings change': (headers) => { headers['ce-type'] = ['a%20b']; },
  'a name in capitals': (headers) => { headers['Ce-Id'] = headers['ce-id']; delete headers['ce-id']; },
})) {
  test(`${what} is no event`, () => {
    const [message] = chain(1);
    change(message.headers);
    assert.throws(() => new Sequencer(START, 'S1').judge(message), InvalidEventError);
  });
}

test('a body that is not UTF-8 is no event, however well it is hashed', () => {
  const [message] = chain(1);
  message.body = Buffer.from([0x7b, 0xff, 0x7d]);
  const headers = Object.fromEntries(Object.entries(message.headers).map(([name, [value]]) => [name, value]));
  message.headers['ce-hash'] = [digest(headers, message.body)];
  assert.throws(() => new Sequencer(START, 'S1').judge(message), InvalidEventError);
});
