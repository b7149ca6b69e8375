// Appends a study's events to a file, each exactly once: the line that holds
// the event holds the position too, so both are written or neither is.
import { appendFileSync, readFileSync, truncateSync } from 'node:fs';

import { START, subscribe } from 'signoff-subscriber';

const { SIGNOFF_NATS, SIGNOFF_TOKEN_URL, SIGNOFF_CLIENT_ID, SIGNOFF_SECRET_FILE, SIGNOFF_STUDY, SIGNOFF_FILE } = process.env;

appendFileSync(SIGNOFF_FILE, '');
const text = readFileSync(SIGNOFF_FILE, 'utf8');
const whole = text.slice(0, text.lastIndexOf('\n') + 1); // a crash may have cut off the last line
truncateSync(SIGNOFF_FILE, Buffer.byteLength(whole));
const last = whole.trimEnd().split('\n').at(-1);

await subscribe({
  servers: SIGNOFF_NATS,
  tokenURL: SIGNOFF_TOKEN_URL,
  clientId: SIGNOFF_CLIENT_ID,
  clientSecret: () => readFileSync(SIGNOFF_SECRET_FILE, 'utf8').trim(),
  study: SIGNOFF_STUDY,
  position: last ? JSON.parse(last).position : START,
}, ({ event, position }) => {
  appendFileSync(SIGNOFF_FILE, `${JSON.stringify({ position, type: event.type, data: event.data })}\n`);
});
