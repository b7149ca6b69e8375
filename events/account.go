package events

import (
	"strings"
	"time"
)

// What partners are told of the broker. Each partner has an account of its
// own there, without a stream in it; what it may see is imported from the
// service's account.
const (
	PartnerAPIPrefix     = "js.signoff"  // in place of $JS.API
	PartnerImportPrefix  = "$JS.signoff" // what a partner's account maps PartnerAPIPrefix to
	PartnerAccountPrefix = "partner-"    // so that no partner's account is another's, whatever its id
	LoginQueue           = "signoff-doors"
	PutOutSubject        = "signoff.doors.out" // doors tell each other which partners are out
)

// LoginWait is how long the broker waits for the answer to a login before it says that
// the login is refused. Most clients give up before, after 2 s, and come back, where
// two refusals in a row would be the end for them.
const LoginWait = 3 * time.Second

// How many messages a partner may send over all its connections, requests and
// acknowledgements, or be sent: a second for long, and at once. Who is over is put
// out for some time.
const (
	PartnerRate  = 5_000
	PartnerBurst = 10_000
)

// PartnerSubscriptions is how many subscriptions a connection of a partner may have. The
// broker sends, and keeps until it is taken, a copy of each event to each.
const PartnerSubscriptions = 64

// RequestSubjects are all subjects of the service's account to which requests for events
// come: each consumer's own, and both forms of acknowledgement, which may ask for more.
func RequestSubjects() []string {
	return []string{
		"$JS.API.CONSUMER.MSG.NEXT." + Stream + ".*",
		"$JS.ACK." + Stream + ".*.*.*.*.*.*",
		"$JS.ACK.*.*." + Stream + ".*.*.*.*.*.>",
	}
}

// PartnerConsumer is the durable consumer of one study of a partner.
func PartnerConsumer(partner, token string) string { return partner + "=" + token }

// PartnerAccess is the durable consumer that tells a partner of its access.
func PartnerAccess(partner string) string { return partner }

// Account is what a partner's account lets through, and how much of it.
type Account struct {
	Name     string
	Services []AccountService // requests to the service's account
	Streams  []string         // subjects heard from the service's account
	Limits   AccountLimits
}

// AccountService is a subject of the service's account, the one under which the
// partner sends to it, and the one under which the partner's account imports it.
//
// Where the last two differ, the account maps what is sent to Local. Nobody listens
// to Local then, and the broker refuses a request whose answers would go to a subject
// that starts with $JS: so no answer to a partner's request becomes another request.
// A consumer sends nothing to where nobody listens, and forgets who asked for that.
type AccountService struct {
	Subject  string
	Local    string
	Import   string
	Streamed bool // one request may have many answers
}

// AccountLimits bound a partner. Zero connections: nobody gets in.
type AccountLimits struct {
	Connections   int // at one time
	Subscriptions int // of one connection
	Payload       int // bytes of a message it sends
}

// PartnerAccountOf is the account of a partner with what it needs to be told
// of its access and to read the studies with the given tokens.
func PartnerAccountOf(partner string, tokens []string, limits AccountLimits) Account {
	a := Account{Name: PartnerAccountPrefix + partner, Limits: limits}
	a.read(PartnerAccess(partner), PartnerAccessSubject(partner))
	for _, token := range tokens {
		a.read(PartnerConsumer(partner, token), StudySubjects(token))
	}
	return a
}

// ClosedAccount is the account of a partner that may do nothing any more.
func ClosedAccount(partner string) Account { return Account{Name: PartnerAccountPrefix + partner} }

// read lets through what one consumer and its live subject need: to pull, to
// look at it, and both forms of acknowledgement. These have the number of parts
// that the broker gives them and no other: in a longer one of the first form, or
// a shorter one of the second, another consumer's name could stand where the
// broker looks for it in the other form.
func (a *Account) read(consumer, live string) {
	path := Stream + "." + consumer
	request := func(what string, streamed bool) AccountService {
		rest := ".CONSUMER." + what + "." + path
		return AccountService{Subject: "$JS.API" + rest, Local: PartnerAPIPrefix + rest, Import: PartnerImportPrefix + rest, Streamed: streamed}
	}
	acknowledgement := func(subject string) AccountService {
		return AccountService{Subject: subject, Local: subject, Import: subject}
	}
	a.Services = append(a.Services,
		request("MSG.NEXT", true),
		request("INFO", false),
		acknowledgement("$JS.ACK."+path+".*.*.*.*.*"),
		acknowledgement("$JS.ACK.*.*."+path+".*.*.*.*.>"),
	)
	a.Streams = append(a.Streams, live)
}

// MayPublish returns all that a connection of the account may publish to. The broker
// asks about the subject that the account maps to; where it does not map yet, about
// the one that was sent to.
func (a Account) MayPublish() []string {
	subjects := make([]string, 0, 2*len(a.Services))
	for _, s := range a.Services {
		subjects = append(subjects, s.Local)
		if s.Import != s.Local {
			subjects = append(subjects, s.Import)
		}
	}
	return subjects
}

// MaySubscribe returns all that a connection of the account may subscribe to, in
// the form "subject" or "subject queue". What is heard from the service's account
// is heard alone, or in a queue group with the partner's id as the first part
// of its name: groups are shared with all who hear the same, other partners too,
// and each event goes to one member only.
func (a Account) MaySubscribe() []string {
	subjects := []string{"_INBOX.>"}
	partner := strings.TrimPrefix(a.Name, PartnerAccountPrefix)
	for _, s := range a.Streams {
		subjects = append(subjects, s, s+" "+partner, s+" "+partner+".>")
	}
	return subjects
}

// Traffic is how many messages went between a server of the broker and its
// clients since it started.
type Traffic struct {
	Server   string // the server's id, another one after each start
	Accounts map[string]Messages
	Bytes    uint64 // of all messages that it sent
}

// Messages are those that a server received from the clients of an account, and
// those that it sent to them from within the account.
type Messages struct{ Received, Sent uint64 }

// Since counts the messages since an earlier count, in the direction in which
// there were more: a request and its answer are one.
func (m Messages) Since(before Messages) uint64 {
	return max(m.Received-min(before.Received, m.Received), m.Sent-min(before.Sent, m.Sent))
}

// Connection is a partner's connection to the broker.
type Connection struct {
	Server string // the server's id
	ID     uint64 // unique on that server
	User   string // the name that the answer to its login gave it
}

// Backlog is what the broker has for a connection that it does not take.
type Backlog struct {
	Connection
	Account string
	Pending uint64 // bytes
}
