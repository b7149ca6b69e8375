import type { ConnectionOptions } from '@nats-io/transport-node';
import type { CloudEvent } from 'cloudevents';

/** The end of what is held of a chain. */
export interface Link {
  /** Number of the last event: 20 digits. */
  sequence: string;
  /** Its `ce-hash`. */
  hash: string;
}

/** How far a subscriber has read. Plain JSON; store it together with the event's effect. */
export interface Position extends Link {
  /** Sequence of the last event in the stream; tells a second delivery from a second event. 0 if not known. */
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
   * handed over like all others; see `kindOf`. Their `data` is the body as text,
   * or its bytes where that is not UTF-8.
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
  /** Study number. Without it, the partner's own access events are read. */
  study?: string;
  /** Where to go on. Defaults to START. */
  position?: Position | null;
  /** Ends reading after the event in hand. */
  signal?: AbortSignal;
  /** Told the cause when reading is interrupted, and undefined whenever it begins or goes on. Defaults to a process warning. */
  outage?(cause?: Error): void;
  /**
   * For how many milliseconds the broker may refuse the login, or not have the
   * consumer, before that counts as the end of access. Defaults to 60,000. New
   * logins that come without the study settle it within 2,000, a token endpoint
   * that refuses the client at once. While nobody answers, nothing is refused.
   */
  patience?: number;
  /** Events asked for at a time. Defaults to 100. */
  batch?: number;
  /** Allows secrets and reports in clear beyond this machine. */
  insecure?: boolean;
  /** More of the connection, such as `tls`. */
  connection?: Omit<ConnectionOptions, 'servers' | 'authenticator' | 'user' | 'pass' | 'token'>;
  /** Prefix of the JetStream API in the partner's account. Defaults to `js.signoff`. */
  apiPrefix?: string;
  /** Defaults to `SIGNOFF`. */
  stream?: string;
}

/**
 * Reads events and hands them over one at a time, in the order of the chain.
 * An event is acknowledged when `handle` has returned or its promise resolved.
 *
 * - Each event handed over matches its hash and directly follows the one before.
 * - No event up to the position is acknowledged before the log was seen to hold
 *   the position's event. What contradicts it rejects.
 * - From one position on, each is handed over once. After a crash between
 *   effect and stored position it comes again; store the two together.
 * - Connections, sign-ins and consumers that are away are tried again without end.
 *
 * Resolves when the signal is aborted. Rejects with a SubscriberError, or with
 * what `handle` throws; then the event in hand was not acknowledged.
 */
export function subscribe(options: SubscribeOptions, handle: (message: Message) => void | Promise<void>): Promise<void>;

/** Keeps an access token fresh, for connections and HTTP calls of one's own. */
export class SignIn {
  constructor(options: SignInOptions);
  /** The token as of now; undefined before `token` has resolved. */
  readonly current: string | undefined;
  /** Whether the token was refused, and no other was got since. */
  readonly doubted: boolean;
  /**
   * Gives a token. Rejects with AccessEndedError if the client is refused.
   * While the endpoint is away, gives the token at hand until that expires.
   */
  token(): Promise<string>;
  /** Doubts the token, because it was refused. */
  doubt(): void;
  /** Ends the renewal. */
  close(): void;
}

/** Headers of an event by name, `ce-…`. */
export type Headers = Readonly<Record<string, string>>;

/** The hash that an event must carry as `ce-hash`. */
export function digest(headers: Headers, body: string | Uint8Array): string;

/** Gives the link after an event that follows; throws a SubscriberError otherwise. */
export function follow(link: Link, headers: Headers, body: string | Uint8Array): Link;

/** What the type of an event says. */
export interface Kind {
  /** The type without its prefix, such as `diagnosticreport.signed.v1`. */
  kind: string;
  /** Whether this version of the package knows the kind. */
  known: boolean;
  /** Whether who does not know the kind may act as if the event were not there. */
  optional: boolean;
}

/**
 * Gives the kind of a type; undefined for a malformed one, which is never handed
 * over. An event whose kind is neither known nor optional may take back what was
 * told before: use nothing of its study until a newer version has read it.
 */
export function kindOf(type: string): Kind | undefined;

/** The token of a study number. Throws a TypeError for what is none. */
export function studyToken(study: string): string;

/** Why reading stopped. Trying again does not help. */
export class SubscriberError extends Error {
  readonly code: 'gap' | 'repeat' | 'reorder' | 'altered' | 'ahead' | 'invalid' | 'access-ended';
}
/** Events between the last one held and this one are missing. */
export class GapError extends SubscriberError {}
/** The last event held was published a second time. */
export class RepeatError extends SubscriberError {}
/** An event older than the last one held was published after it. */
export class ReorderError extends SubscriberError {}
/** An event does not match its hash, or does not continue what is held. */
export class AlteredError extends SubscriberError {}
/** What is held is beyond the end of the log. */
export class AheadError extends SubscriberError {}
/** A message is no event of the contract's form. */
export class InvalidEventError extends SubscriberError {}
/** The partner may not, or may no longer, read the study; `cause` is the last refusal. */
export class AccessEndedError extends SubscriberError {}
