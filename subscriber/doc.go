// Package subscriber is the client with which a partner reads sign-off events. It
// delivers the events of a study in order and verifies, for each event delivered,
// that none before it is missing, repeated or altered.
//
// A Partner is a connection with the client credentials of a partner, made by
// Dial. Follow delivers the events of one study to a Follower, as CloudEvents
// with the report as data. CatchUp does the same and returns when there are no
// more. FollowAccess delivers which studies are granted and revoked. Tail returns
// how many events are outstanding.
//
// # Guarantees
//
// The log is the events of a study that the publisher's stream has now. A Bookmark
// names the last event that was handled. It is confirmed once the log was seen to
// contain that event. A repeat is a delivery of an event up to the Bookmark.
//
// A Follower that stores its Bookmark together with what it makes of an event
// gets each event exactly once, in the order of the study's numbers, also after
// crashes, lost connections and redeliveries. Before an event is delivered, its
// hash was computed from its content, its number is the next one, and its previous
// hash is that of the event before.
//
// A repeat is compared with what is known of the event and skipped. It is acknowledged
// once the Bookmark is confirmed, or if it is very far before the Bookmark and the log
// is long enough. An event that arrives too early waits for the missing
// ones, until the broker has nothing left that could be one of them. Messages that
// the broker has sent to a lost connection are requested again.
//
// If the events do not belong there, Follow returns an error with one of the codes
// events.Gap, events.Repeat, events.Reorder, events.Altered and events.Ahead (of
// the log, as after an older one was restored), or ErrAccessEnded. No event is
// skipped. While publisher, network or token endpoint are unreachable, it waits
// without limit.
//
// A newer publisher may write events of kinds that this version does not know.
// They are checked and delivered like all others; see Delivery.
//
// # Limits
//
// The package stores nothing and changes nothing at the publisher. It cannot
// detect that the stored Bookmark is older than what was acknowledged before the
// next event arrives: that is a Gap then. Nor, if everything was acknowledged, that
// the log continues differently behind the Bookmark: that is Altered then.
// bookmark.go describes what a partner can know of the log.
//
// # Contract
//
// Any other client can use this contract as well:
//
//   - The token endpoint issues an access token for client id and secret (OAuth
//     2.0 client credentials, RFC 6749 section 4.4, scope "full"). It is the
//     token of the NATS connection. When it expires the server closes the
//     connection, and the client connects again with the next one.
//   - The stream is called SIGNOFF; its API has the prefix "js.signoff"
//     instead of "$JS.API". Of it a partner may use CONSUMER.INFO and
//     CONSUMER.MSG.NEXT of its own consumers, and acknowledge.
//   - The consumers exist already: durable, pull, with explicit
//     acknowledgement and unlimited deliveries. "{partner}={study key}" has the
//     events of a study (subjects crit.v1.{study key}.>) from the first on;
//     "{partner}" has the partner's own announcements of access (subject
//     crit.partner.{partner}.access). events.StudyKey returns the key of a study.
//   - Over all its connections, a partner may send, or be sent on request,
//     events.PartnerRate messages a second and events.PartnerBurst at once. Above
//     that quota its connections are closed, and new ones refused for some seconds.
//     A Partner stays below it. A consumer accepts 32 waiting requests, each for a
//     minute at most. A connection has events.PartnerSubscriptions subscriptions,
//     enough for 60 studies with one Partner. If a partner does not read what it
//     is sent, its slowest connections are closed.
//   - Each message is a CloudEvent in binary mode (NATS binding 1.0.3-wip), with
//     number and hash as events.Event.Digest defines them; announcements are
//     numbered and chained like the events of a study.
//   - Core subscriptions to the same subjects receive the events live. That is a
//     hint; the consumer is the record.
package subscriber
