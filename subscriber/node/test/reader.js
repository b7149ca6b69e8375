// A subscriber for tests from outside: options as JSON on standard input, each
// event a line on standard output, and at last a line that says how it ended.
import { readFileSync } from 'node:fs';

import { subscribe } from '../index.js';

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const options = JSON.parse(readFileSync(0, 'utf8'));
try {
  await subscribe(
    { ...options, signal: stop.signal, outage: (cause) => print({ outage: cause?.message ?? '' }) },
    ({ event, position }) => print({ position, id: event.id, type: event.type, data: event.data }),
  );
  print({ ended: 'stopped' });
} catch (err) {
  print({ ended: err.code ?? err.name, message: err.message });
}
