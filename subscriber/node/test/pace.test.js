import assert from 'node:assert/strict';
import test from 'node:test';

import { Pace, paceOf } from '../pace.js';

test('a burst goes at once, and then no more than the publisher allows', () => {
  let now = 0;
  const pace = new Pace(() => now);
  const allowed = () => 10_000 + now / 1000 * 5_000;
  let sent = 0;
  while (now < 60_000) {
    const wait = pace.spend();
    now += wait;
    sent += 1;
    assert.ok(sent <= allowed(), `${sent} messages after ${now} ms`);
    if (now === 0) {
      assert.equal(wait, 0);
    }
  }
  assert.ok(sent > 0.8 * allowed(), `only ${sent} messages in a minute`);
});

test('what is recalled is spared for messages that arrive', () => {
  let now = 0;
  const pace = new Pace(() => now);
  assert.ok(pace.spare);
  pace.spend(7_000);
  assert.ok(!pace.spare);
  now += 1_000;
  assert.ok(pace.spare);
});

test('who waits for its turn stops waiting when the signal is aborted', async () => {
  const pace = new Pace();
  pace.spend(1_000_000);
  await pace.turn(AbortSignal.abort());
});

test('all readers of a partner share one pace', () => {
  assert.equal(paceOf('acme'), paceOf('acme'));
  assert.notEqual(paceOf('acme'), paceOf('other'));
});
