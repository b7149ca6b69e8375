import type { ConnectionOptions } from '@nats-io/transport-node';
import type { CloudEvent } from 'cloudevents';

/** A chain head: the last event of a study so far. */
export interface Link {
  /** Study number of the event: 20 digits. */
  sequence: string;
  /** Its `ce-hash`. */
  hash: string;
}

/** How far a subscriber has read. Plain JSON; store it together with the event's effect. */
export interface Position extends Link {
  /** Stream sequence of the event; distinguishes a second delivery from a second event. 0 if unknown. */
  stream: number;
}

/** The position before a study's first event. */
export const START: Readonly<Position>;

export interface Message {
  /**
   * The event. `data` of a report is its FHIR JSON as text, byte for byte as
   * it was signed; `time` has all six decimals (`JSON.stringify` cuts them).
   *
   * A newer publisher may write kinds that this package does not know. They are
   * delivered like all others; see `kindOf`. Their `data` is the body as text,
   * or its bytes if that is not UTF-8.
   */
  event: CloudEvent<unknown>;
  /** The position behind the event. */
  position: Position;
}

/** A secret, or a function that fetches it each time it is needed. */
export type Secret = string | (() => string | Promise<string>);

export interface SignInOptions {
  /** The token endpoint. */
  tokenURL: string;
  /** The partner's id. */
  clientId: string;
  clientSecret: Secret;
}

export interface SubscribeOptions extends Omit<SignInOptions, 'tokenURL'> {
  /** Addresses of the NATS servers. */
  servers: string | string[];
  /** Without it, client id and secret are the NATS user and password. */
  tokenURL?: string;
  /** The study. Without it, the partner's own access events are read. */
  study?: string;
  /** The position to continue behind. Defaults to START. */
  position?: Position | null;
  /** Ends reading after the event that is being handled. */
  signal?: AbortSignal;
  /** Called with the cause when reading is interrupted, and with undefined whenever it begins or continues. Defaults to a process warning. */
  outage?(cause?: Error): void;
  /**
   * For how many milliseconds the broker may refuse the login, or not have the
   * consumer, before access counts as ended. Defaults to 60,000. If new logins come
   * without the study it is 2,000, and if the token endpoint refuses the client it
   * is 0. While nobody answers, access has not ended.
   */
  patience?: number;
  /** Events requested at a time. Defaults to 100. */
  batch?: number;
  /** Permits secrets and reports in clear beyond this machine. */
  insecure?: boolean;
  /** More options of the connection, such as `tls`. */
  connection?: Omit<ConnectionOptions, 'servers' | 'authenticator' | 'user' | 'pass' | 'token'>;
  /** Prefix of the JetStream API in the partner's account. Defaults to `js.signoff`. */
  apiPrefix?: string;
  /** Defaults to `SIGNOFF`. */
  stream?: string;
}

/**
 * Reads events and passes them to `handle` one at a time, in the order of the chain.
 * An event is acknowledged when `handle` has returned or its promise resolved.
 *
 * - Each event delivered matches its hash and directly follows the one before.
 * - No event up to the position is acknowledged before the log was seen to contain
 *   the position's event. If the log contradicts it, the promise rejects.
 * - Each event behind the position is delivered once. After a crash between effect and
 *   stored position it is delivered again; store the two together.
 * - Connections, sign-ins and consumers that are unavailable are tried again without limit.
 *
 * Resolves when the signal is aborted. Rejects with a SubscriberError, or with
 * any error of `handle`; then the event being handled was not acknowledged.
 */
export function subscribe(options: SubscribeOptions, handle: (message: Message) => void | Promise<void>): Promise<void>;

/** Gets access tokens and renews them in time, for your own connections and HTTP calls. */
export class SignIn {
  constructor(options: SignInOptions);
  /** The current access token; undefined before `token` has resolved. */
  readonly current: string | undefined;
  /** Whether the token was refused, and there is no other one since. */
  readonly doubted: boolean;
  /**
   * Returns an access token. Rejects with AccessEndedError if the client is refused.
   * While the endpoint is unreachable, returns the current token until that expires.
   */
  token(): Promise<string>;
  /** Notes that the token was refused; the next call of `token` requests another one. */
  doubt(): void;
  /** Ends the renewal. */
  close(): void;
}

/** Headers of an event by name, `ce-…`. */
export type Headers = Readonly<Record<string, string>>;

/** Returns the hash that an event must have as `ce-hash`. */
export function digest(headers: Headers, body: string | Uint8Array): string;

/** Returns the chain head after an event that directly follows; throws a SubscriberError otherwise. */
export function follow(head: Link, headers: Headers, body: string | Uint8Array): Link;

/** The kind of an event. */
export interface Kind {
  /** The type without its prefix, such as `diagnosticreport.signed.v1`. */
  kind: string;
  /** Whether this version of the package knows the kind. */
  known: boolean;
  /** Whether a program that does not know the kind may skip the event. */
  optional: boolean;
}

/**
 * Returns the kind of a type; undefined for a malformed one, which is never
 * delivered. An event whose kind is neither known nor optional may revoke what
 * earlier events said: use nothing of its study until a newer version has read it.
 */
export function kindOf(type: string): Kind | undefined;

/** Returns the study key of a study. Throws a TypeError for what cannot be a study. */
export function studyToken(study: string): string;

/** Why reading stopped. Trying again does not help. */
export class SubscriberError extends Error {
  readonly code: 'gap' | 'repeat' | 'reorder' | 'altered' | 'ahead' | 'invalid' | 'access-ended';
}
/** Events between the last stored one and this one are missing. */
export class GapError extends SubscriberError {}
/** The last stored event was published a second time. */
export class RepeatError extends SubscriberError {}
/** An event older than the last stored one was published after it. */
export class ReorderError extends SubscriberError {}
/** An event does not match its hash, or does not continue the stored chain. */
export class AlteredError extends SubscriberError {}
/** The position is beyond the end of the log. */
export class AheadError extends SubscriberError {}
/** A message is not an event in the form of the contract. */
export class InvalidEventError extends SubscriberError {}
/** The partner may not, or may no longer, read the study; `cause` is the last refusal. */
export class AccessEndedError extends SubscriberError {}
