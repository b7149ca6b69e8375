import { AccessEndedError } from './errors.js';

const TIMEOUT = 10_000;
const RETRY = 5_000;
const LONGEST = 2 ** 31 - 1; // of a timer, in milliseconds

/**
 * Gets access tokens from the token endpoint (OAuth 2.0 client credentials), and
 * renews them in time. A NATS authenticator, which cannot wait, uses `current`:
 *
 *     await signIn.token();
 *     await connect({ authenticator: tokenAuthenticator(() => signIn.current) });
 */
export class SignIn {
  #url;
  #clientId;
  #clientSecret;
  #request;
  #timer;
  #closed = false;
  #expires = 0;

  /** The current access token; undefined before the first one. */
  current;

  /** Whether it was refused, and there is no other one since. */
  doubted = false;

  /** clientSecret is a string, or a function that returns it or a promise of it. */
  constructor({ tokenURL, clientId, clientSecret }) {
    this.#url = tokenURL;
    this.#clientId = clientId;
    this.#clientSecret = clientSecret;
  }

  /**
   * Returns the current access token, or requests one if there is none or it was
   * refused. Throws an AccessEndedError when the client is refused. While the endpoint
   * is unreachable it returns the current token until that expires, even if it was
   * refused: the broker also refuses a valid one while its callout is not answered.
   * After that it throws another Error.
   */
  async token() {
    const valid = () => Date.now() < this.#expires;
    if (valid() && !this.doubted) {
      return this.current;
    }
    return this.#renew().catch((err) => {
      if (err instanceof AccessEndedError || !valid()) {
        throw err;
      }
      return this.current;
    });
  }

  /** Notes that the token was refused; the next call of token requests another one. */
  doubt() {
    this.doubted = true;
  }

  /** Ends the renewal. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #renew() {
    this.#request ??= this.#ask().finally(() => { this.#request = undefined; });
    return this.#request;
  }

  async #ask() {
    const response = await fetch(this.#url, {
      method: 'POST',
      body: new URLSearchParams({
        client_id: this.#clientId,
        client_secret: await reveal(this.#clientSecret),
        grant_type: 'client_credentials',
        scope: 'full',
      }),
      redirect: 'error', // the secret is sent nowhere else
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const body = await response.json().catch(() => ({}));
    if (body.error === 'invalid_client') {
      throw new AccessEndedError(`the token endpoint refuses client ${this.#clientId} or its secret; ask the publisher for the current one`);
    }
    if (!response.ok || typeof body.access_token !== 'string' || !(body.expires_in > 0)) {
      throw new Error(`the token endpoint answered ${response.status} ${body.error ?? ''}`.trim());
    }
    this.current = body.access_token;
    this.doubted = false;
    this.#expires = Date.now() + body.expires_in * 1000;
    this.#renewAfter(body.expires_in * 800); // milliseconds: 80 % of its lifetime
    return this.current;
  }

  #renewAfter(delay) {
    clearTimeout(this.#timer);
    if (this.#closed) {
      return;
    }
    this.#timer = setTimeout(
      () => this.#renew().catch(() => this.#renewAfter(RETRY)),
      Math.min(delay, LONGEST),
    ).unref();
  }
}

/** Returns a secret, or the result of the function that fetches it. */
export async function reveal(secret) {
  return typeof secret === 'function' ? secret() : secret;
}
