import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import test from 'node:test';

import { AccessEndedError, SignIn } from '../index.js';

// endpoint is a token endpoint that answers as told, and keeps what it was asked.
async function endpoint(t, answer) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let form = '';
    for await (const chunk of request) {
      form += chunk;
    }
    asked.push(Object.fromEntries(new URLSearchParams(form)));
    const { status = 200, headers = {}, body } = answer(asked.length);
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { asked, tokenURL: `http://127.0.0.1:${server.address().port}/token` };
}

const grant = (n, life = 3600) => ({ body: { access_token: `token-${n}`, token_type: 'Bearer', expires_in: life } });

function signIn(t, tokenURL, clientSecret = 's3cret') {
  const s = new SignIn({ tokenURL, clientId: 'acme', clientSecret });
  t.after(() => s.close());
  return s;
}

test('a token is asked for once, with the client credentials in the body', async (t) => {
  const { asked, tokenURL } = await endpoint(t, grant);
  const s = signIn(t, tokenURL, async () => 's3cret');
  assert.deepEqual(await Promise.all([s.token(), s.token()]), ['token-1', 'token-1']);
  assert.equal(await s.token(), 'token-1');
  assert.equal(s.current, 'token-1');
  assert.deepEqual(asked, [{ client_id: 'acme', client_secret: 's3cret', grant_type: 'client_credentials', scope: 'full' }]);
});

test('a token is renewed before it expires', async (t) => {
  const renewed = Promise.withResolvers?.() ?? withResolvers();
  const { tokenURL } = await endpoint(t, (n) => { if (n === 3) { renewed.resolve(); } return grant(n, n < 3 ? 0.05 : 3600); });
  const s = signIn(t, tokenURL);
  await s.token();
  await keepAlive(renewed.promise);
  assert.match(s.current, /^token-[23]$/);
});

function withResolvers() {
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
}

// keepAlive waits for what timers do that do not keep the process alive.
async function keepAlive(promise) {
  const timer = setInterval(() => {}, 1000);
  await promise.finally(() => clearInterval(timer));
}

test('a token that was refused is asked for anew', async (t) => {
  const { tokenURL } = await endpoint(t, grant);
  const s = signIn(t, tokenURL);
  await s.token();
  s.doubt();
  assert.equal(await s.token(), 'token-2');
});

test('a token that was refused is used on while the endpoint is away, until it expires', async (t) => {
  const { tokenURL } = await endpoint(t, (n) => (n === 1 ? grant(n, 60) : { status: 503, body: {} }));
  const s = signIn(t, tokenURL);
  await s.token();
  s.doubt();
  assert.equal(await s.token(), 'token-1');
  assert.equal(s.doubted, true);
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 });
  await assert.rejects(s.token(), /503/);
});

test('a token that was refused does not outlast the client', async (t) => {
  const { tokenURL } = await endpoint(t, (n) => (n === 1 ? grant(n) : { status: 401, body: { error: 'invalid_client' } }));
  const s = signIn(t, tokenURL);
  await s.token();
  s.doubt();
  await assert.rejects(s.token(), AccessEndedError);
});

test('a client that is refused has no access any more', async (t) => {
  const { tokenURL } = await endpoint(t, () => ({ status: 401, body: { error: 'invalid_client' } }));
  await assert.rejects(signIn(t, tokenURL).token(), AccessEndedError);
});

for (const [what, answer] of Object.entries({
  'an endpoint that is away': { status: 503, body: {} },
  'an endpoint that wants fewer requests': { status: 429, body: { error: 'temporarily_unavailable' } },
  'an answer without a token': { body: { expires_in: 3600 } },
  'an answer without a lifetime': { body: { access_token: 'x' } },
  'a redirection, which would take the secret elsewhere': { status: 307, headers: { location: '/elsewhere' }, body: {} },
})) {
  test(`${what} is no end of access, and tells no secret`, async (t) => {
    const { tokenURL, asked } = await endpoint(t, () => answer);
    await assert.rejects(signIn(t, tokenURL).token(), (err) => {
      assert.ok(!(err instanceof AccessEndedError));
      assert.doesNotMatch(`${err.stack} ${err.cause?.stack}`, /s3cret/);
      return true;
    });
    assert.equal(asked.length, 1);
  });
}
