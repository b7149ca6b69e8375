export { START, digest, follow } from './chain.js';
export {
  AccessEndedError,
  AheadError,
  AlteredError,
  GapError,
  InvalidEventError,
  ReorderError,
  RepeatError,
  SubscriberError,
} from './errors.js';
export { kindOf } from './kind.js';
export { SignIn } from './signin.js';
export { studyToken } from './studykey.js';
export { subscribe } from './subscribe.js';
