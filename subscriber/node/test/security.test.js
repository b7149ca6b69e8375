import assert from 'node:assert/strict';
import test from 'node:test';

import { encrypted } from '../insecure.js';

test('beyond this machine the connection must be encrypted', () => {
  assert.deepEqual(encrypted({ servers: 'nats.example.org:4222' }), { tls: {} });
  assert.deepEqual(encrypted({ servers: ['127.0.0.1:4222', 'nats://nats.example.org'] }), { tls: {} });
  assert.deepEqual(encrypted({ servers: 'nats://127.0.0.1.example.org' }), { tls: {} });
});

test('within it, or where it is said, it need not', () => {
  for (const servers of ['127.0.0.1:4222', 'nats://localhost:4222', ['nats://[::1]:4222', '127.0.0.2']]) {
    assert.deepEqual(encrypted({ servers, tokenURL: 'http://127.0.0.1:8080/token' }), {});
  }
  assert.deepEqual(encrypted({ servers: 'nats', tokenURL: 'http://signoff:8080/token', insecure: true }), {});
});

test('a secret is not sent in clear', () => {
  assert.throws(() => encrypted({ servers: 'localhost', tokenURL: 'http://signoff.example.org/token' }), /https/);
  encrypted({ servers: 'localhost', tokenURL: 'https://signoff.example.org/token' });
});
