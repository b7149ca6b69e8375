package tenancy

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// AccountPrefix starts the name of each partner's account, so that none has the
// name of an account of the service, whatever the partner's id.
const AccountPrefix = "partner-"

// importPrefix is what a partner's account maps events.PartnerAPIPrefix to.
const importPrefix = "$JS.signoff"

// AnswerWithin is how long a server waits for the answer to a request that crosses
// accounts, unless the request is Streamed.
const AnswerWithin = 10 * time.Second

// Account is what a partner's account lets through, and how much of it. The service's
// account exports each service and stream to the accounts that import it.
type Account struct {
	Name     string
	Services []Service // requests to the service's account
	Streams  []string  // subjects of the service's account whose messages it receives
	Mapping  Mapping   // zero where there are no services
	Limits   Limits
}

// Service is a subject of the service's account, the one that the partner sends to,
// and the one under which the partner's account imports it.
//
// Where Local and Import differ, the account maps Local to Import. Then nobody subscribes
// to Local, and a consumer sends nothing to a reply subject without subscribers. The server
// refuses a reply subject that starts with $JS, as Import does. So no answer to a partner's
// request becomes another request.
type Service struct {
	Subject  string // in the service's account
	Local    string // the partner sends to it
	Import   string // in the partner's account
	Streamed bool   // one request may have many answers
}

// Mapping is a subject that an account maps to another. Both end with a wildcard.
type Mapping struct{ From, To string }

// Limits bound what a partner may have. With zero connections all its logins fail.
type Limits struct {
	Connections   int // at one time
	Subscriptions int // of one connection
	Payload       int // bytes of a message it sends
}

// DefaultLimits are 16 connections, each with events.PartnerSubscriptions subscriptions
// and messages of 16 KiB.
func DefaultLimits() Limits {
	return Limits{Connections: 16, Subscriptions: events.PartnerSubscriptions, Payload: 16 << 10}
}

// AccountOf returns the account of a partner with its access consumer and a consumer
// for each study with one of the keys.
func AccountOf(partner string, keys []string, limits Limits) Account {
	a := Account{Name: AccountPrefix + partner, Limits: limits}
	a.Mapping = Mapping{From: events.PartnerAPIPrefix + ".>", To: importPrefix + ".>"}
	for _, c := range Consumers(partner, keys) {
		a.allow(c)
	}
	return a
}

// ClosedAccount returns an account of the partner that lets nothing through and allows no
// connections.
func ClosedAccount(partner string) Account { return Account{Name: AccountPrefix + partner} }

// allow adds what one consumer and its live subject need: requests for events and for
// its state, and both forms of acknowledgement.
//
// The server tells the two forms apart by their number of parts: the first has nine, the
// second eleven or more. The patterns here match exactly these numbers. Otherwise a partner
// could send a subject that matches one form and that the server reads as the other, with
// the name of another consumer in it.
func (a *Account) allow(c Consumer) {
	path := events.Stream + "." + c.Name
	request := func(what string, streamed bool) Service {
		rest := ".CONSUMER." + what + "." + path
		return Service{Subject: "$JS.API" + rest, Local: events.PartnerAPIPrefix + rest, Import: importPrefix + rest, Streamed: streamed}
	}
	acknowledgement := func(subject string) Service {
		return Service{Subject: subject, Local: subject, Import: subject}
	}
	a.Services = append(a.Services,
		request("MSG.NEXT", true),
		request("INFO", false),
		acknowledgement("$JS.ACK."+path+".*.*.*.*.*"),
		acknowledgement("$JS.ACK.*.*."+path+".*.*.*.*.>"),
	)
	a.Streams = append(a.Streams, c.Subject)
}

// RequestSubjects returns all subjects of the service's account on which requests for
// events arrive: those to each consumer, and both forms of acknowledgement, which may
// ask for more events.
func RequestSubjects() []string {
	return []string{
		"$JS.API.CONSUMER.MSG.NEXT." + events.Stream + ".*",
		"$JS.ACK." + events.Stream + ".*.*.*.*.*.*",
		"$JS.ACK.*.*." + events.Stream + ".*.*.*.*.*.>",
	}
}
