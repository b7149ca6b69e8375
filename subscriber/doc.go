// Package subscriber reads the log of sign-off events in order and proves, for
// each event handed over, that none before it is missing, repeated or altered.
//
// # For partners
//
// A Partner is a connection with the client credentials of a partner, made by
// Dial. Follow hands the events of one study over to a Follower, as CloudEvents
// with the report as data; CatchUp ends when there are no more; FollowAccess
// tells which studies are granted and revoked; Tail tells what is outstanding.
//
// What it guarantees: a Follower that stores its Bookmark together with what
// it makes of an event gets each event once, in the order of the study's
// numbers, whatever is killed, disconnected or delivered again. Before an event
// is handed over its hash was computed from its content, its number is the next
// and its previous hash that of the event before. What comes again is compared
// with what is held and passed over; it is acknowledged once the log was seen to
// hold the event of the Bookmark, and not before. What comes early waits for
// what is missing, until the broker has nothing left that could be it; what the
// broker has sent elsewhere, as to a connection that was lost, is asked for
// again. Otherwise Follow ends with an error whose code tells events.Gap,
// events.Repeat, events.Reorder, events.Altered and events.Ahead (of the log, as
// after an older one was restored) apart, or with ErrAccessEnded; nothing is
// skipped. While publisher, network or token endpoint are away, it waits,
// without end.
//
// A newer publisher may write events of kinds that this version does not know.
// They are checked and handed over like all others, and end nothing; see Delivery.
//
// What it does not do: it keeps nothing, it changes nothing at the publisher,
// and it cannot tell that the stored Bookmark is older than what was
// acknowledged before the next event arrives: that is a Gap then. Nor, if all was
// acknowledged, that the log has gone on otherwise behind the Bookmark: that is
// Altered then. What can be known of the log is said in bookmark.go.
//
// It rests on this contract, which any other client can use as well:
//
//   - The token endpoint issues an access token for client id and secret (OAuth
//     2.0 client credentials, RFC 6749 section 4.4, scope "full"). It is the
//     token of the NATS connection. When it expires the server closes the
//     connection, and the client comes back with the next one.
//   - The stream is called SIGNOFF; its API is at the prefix "js.signoff"
//     instead of "$JS.API". Of it a partner may ask CONSUMER.INFO and
//     CONSUMER.MSG.NEXT of its own consumers, and acknowledge.
//   - The consumers exist already: durable, pull, with explicit
//     acknowledgement and unlimited deliveries. "{partner}={study key}" has the
//     events of a study (subjects crit.v1.{study key}.>) from the first on;
//     "{partner}" has the partner's own announcements of access (subject
//     crit.partner.{partner}.access). events.StudyToken makes the token.
//   - A partner may send so many messages, or be sent because it asks, over all
//     its connections: events.PartnerRate a second, events.PartnerBurst at once.
//     Who is over is not let in for some seconds. One Partner keeps below it.
//     At a consumer 32 requests may wait, for a minute at most. A connection has
//     events.PartnerSubscriptions subscriptions: room for 60 studies with one Partner.
//     The slowest connections of a partner that does not read what it is sent are closed.
//   - Each message is a CloudEvent in binary mode (NATS binding 1.0.3-wip), with
//     number and hash as events.Event.Digest defines them; announcements are
//     numbered and chained like the events of a study.
//   - The same subjects carry the events live to core subscribers. That is a
//     hint; the consumer is the record.
//
// # For the publisher's own read models
//
// What it guarantees: a Handler gets every event of the stream once per stored
// position, in stream order, in batches of what is available. An event is
// handed over only if its stream sequence is the next one, its hash matches
// its content, and its number and previous hash continue its study's chain.
// When the stream is not the one that was read before, or an event does not
// follow, Run ends with an error that says so; nothing is skipped. While the
// broker is away, Run waits.
//
// A Subscriber keeps nothing itself: position and chains are the Handler's,
// which stores them together with what it makes of the events.
package subscriber
