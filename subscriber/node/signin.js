import { AccessEndedError } from './errors.js';

const TIMEOUT = 10_000;
const RETRY = 5_000;
const LONGEST = 2 ** 31 - 1; // of a timer, in milliseconds

/**
 * Keeps an access token of the token endpoint (OAuth 2.0 client credentials)
 * fresh. A NATS authenticator, which cannot wait, takes `current`:
 *
 *     await signIn.token();
 *     await connect({ authenticator: tokenAuthenticator(() => signIn.current) });
 */
export class SignIn {
  #url;
  #clientId;
  #clientSecret;
  #asking;
  #timer;
  #closed = false;
  #expires = 0;

  /** The token as of now; undefined before the first one was got. */
  current;

  /** Whether it was refused, and no other was got since. */
  doubted = false;

  /** clientSecret is a string, or a function that gives it or a promise of it. */
  constructor({ tokenURL, clientId, clientSecret }) {
    this.#url = tokenURL;
    this.#clientId = clientId;
    this.#clientSecret = clientSecret;
  }

  /**
   * Gives a token, asking for one if there is none, or none but one in doubt.
   * Throws an AccessEndedError when the client is refused. While the endpoint
   * is away it gives the token at hand until that expires, because the broker
   * also refuses a good one when nobody tells it whose it is; then it throws
   * another Error.
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

  /** Doubts the token, because it was refused. */
  doubt() {
    this.doubted = true;
  }

  /** Ends the renewal. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #renew() {
    this.#asking ??= this.#ask().finally(() => { this.#asking = undefined; });
    return this.#asking;
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
      redirect: 'error', // the secret goes nowhere else
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const answer = await response.json().catch(() => ({}));
    if (answer.error === 'invalid_client') {
      throw new AccessEndedError(`the token endpoint refuses ${this.#clientId}`);
    }
    if (!response.ok || typeof answer.access_token !== 'string' || !(answer.expires_in > 0)) {
      throw new Error(`the token endpoint answered ${response.status} ${answer.error ?? ''}`.trim());
    }
    this.current = answer.access_token;
    this.doubted = false;
    this.#expires = Date.now() + answer.expires_in * 1000;
    this.#renewAfter(answer.expires_in * 800); // milliseconds: 80 % of its life
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

/** Gives a secret that is there, or that a function fetches. */
export async function reveal(secret) {
  return typeof secret === 'function' ? secret() : secret;
}
