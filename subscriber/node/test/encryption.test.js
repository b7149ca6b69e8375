import assert from 'node:assert/strict';
import test from 'node:test';

import { tlsOptions } from '../encryption.js';

test('beyond this machine the connection must be encrypted', () => {
  assert.deepEqual(tlsOptions({ servers: 'nats.example.org:4222' }), { tls: {} });
  assert.deepEqual(tlsOptions({ servers: ['127.0.0.1:4222', 'nats://nats.example.org'] }), { tls: {} });
  assert.deepEqual(tlsOptions({ servers: 'nats://127.0.0.1.example.org' }), { tls: {} });
});

test('within it, or with the option insecure, it need not be', () => {
  for (const servers of ['127.0.0.1:4222', 'nats://localhost:4222', ['nats://[::1]:4222', '127.0.0.2']]) {
    assert.deepEqual(tlsOptions({ servers, tokenURL: 'http://127.0.0.1:8080/token' }), {});
  }
  assert.deepEqual(tlsOptions({ servers: 'nats', tokenURL: 'http://signoff:8080/token', insecure: true }), {});
});

test('a secret is not sent in clear', () => {
  assert.throws(() => tlsOptions({ servers: 'localhost', tokenURL: 'http://signoff.example.org/token' }), /https/);
  tlsOptions({ servers: 'localhost', tokenURL: 'https://signoff.example.org/token' });
});
