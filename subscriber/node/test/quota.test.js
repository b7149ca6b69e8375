import assert from 'node:assert/strict';
import test from 'node:test';

import { Quota, quotaOf } from '../quota.js';

test('a burst is sent at once, and then no more than the publisher permits', () => {
  let now = 0;
  const quota = new Quota(() => now);
  const allowed = () => 10_000 + now / 1000 * 5_000;
  let sent = 0;
  while (now < 60_000) {
    const wait = quota.use();
    now += wait;
    sent += 1;
    assert.ok(sent <= allowed(), `${sent} messages after ${now} ms`);
    if (now === 0) {
      assert.equal(wait, 0);
    }
  }
  assert.ok(sent > 0.8 * allowed(), `only ${sent} messages in a minute`);
});

test('messages that arrive have precedence over those that are requested again', () => {
  let now = 0;
  const quota = new Quota(() => now);
  assert.ok(quota.hasSpare);
  quota.use(7_000);
  assert.ok(!quota.hasSpare);
  now += 1_000;
  assert.ok(quota.hasSpare);
});

test('waiting for the quota ends when the signal is aborted', async () => {
  const quota = new Quota();
  quota.use(1_000_000);
  await quota.wait(AbortSignal.abort());
});

test('all readers of a partner share one quota', () => {
  assert.equal(quotaOf('acme'), quotaOf('acme'));
  assert.notEqual(quotaOf('acme'), quotaOf('other'));
});
