/**
 * Reasons for which reading stops. Distinguish them by class, or by `code`. Trying
 * again does not help.
 */
export class SubscriberError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Events between the last stored one and this one are missing. */
export class GapError extends SubscriberError {
  constructor(message) {
    super('gap', message);
  }
}

/** The last stored event was published a second time. */
export class RepeatError extends SubscriberError {
  constructor(message) {
    super('repeat', message);
  }
}

/** An event older than the last stored one was published after it. */
export class ReorderError extends SubscriberError {
  constructor(message) {
    super('reorder', message);
  }
}

/** An event does not match its hash, or does not continue the stored chain. */
export class AlteredError extends SubscriberError {
  constructor(message) {
    super('altered', message);
  }
}

/** The position is beyond the end of the log, as after the publisher has restored an older one. */
export class AheadError extends SubscriberError {
  constructor(message) {
    super('ahead', message);
  }
}

/** A message is not an event in the form of the contract. */
export class InvalidEventError extends SubscriberError {
  constructor(message, options) {
    super('invalid', message, options);
  }
}

/** The partner may not, or may no longer, read the study. `cause` is the last refusal. */
export class AccessEndedError extends SubscriberError {
  constructor(message, options) {
    super('access-ended', message, options);
  }
}
