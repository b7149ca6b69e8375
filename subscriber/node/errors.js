/**
 * Reasons for which reading stops. Tell them apart by class, or by `code`. None
 * goes away by trying again.
 */
export class SubscriberError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Events between the last one held and this one are missing. */
export class GapError extends SubscriberError {
  constructor(message) {
    super('gap', message);
  }
}

/** The last event held was published a second time. */
export class RepeatError extends SubscriberError {
  constructor(message) {
    super('repeat', message);
  }
}

/** An event older than the last one held was published after it. */
export class ReorderError extends SubscriberError {
  constructor(message) {
    super('reorder', message);
  }
}

/** An event does not match its hash, or does not continue the chain that is held. */
export class AlteredError extends SubscriberError {
  constructor(message) {
    super('altered', message);
  }
}

/** What is held is beyond the end of the log, as when the publisher has restored an older one. */
export class AheadError extends SubscriberError {
  constructor(message) {
    super('ahead', message);
  }
}

/** A message is no event of the contract's form. */
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
