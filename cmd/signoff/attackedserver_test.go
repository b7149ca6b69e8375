package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// The studies of the attacked server. The attacker may see only the first.
const (
	mine       = "MINE"
	mineAccent = "\u00c9tude-1" // composed, as studies are
	theirs     = "THEIRS"
	rivals     = "RIVAL-42" // the subject of every report of another's study
	leaked     = "TRIAL-77" // in each of these reports, and in no request
)

// theirStudies are those of the other partner, with names that a careless
// comparison takes for the attacker's.
var theirStudies = []string{theirs, "mine", "MINE,THEIRS", "MINE\\,THEIRS", "MINE 1", "\u00c9tude-2", "MINE/1", "MINE&page=1"}

// attackedServer is the whole program with two partners: an attacker, and another partner
// whose reports it wants. Its log is kept.
type attackedServer struct {
	t        *testing.T
	p        *server.Server
	log      lockedBuffer
	attacker *partnerClient
	other    *partnerClient
	secrets  map[string]string // what must be seen nowhere: value to what it is
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startAttackedServer starts the program. When the test ends, the log is searched for every
// secret.
func startAttackedServer(t *testing.T) *attackedServer {
	t.Helper()
	s := &attackedServer{t: t, secrets: map[string]string{testPassword: "the PI's password"}}
	t.Cleanup(s.searchLog) // after the program has ended
	dir := t.TempDir()
	s.p, _ = startWith(t, dir, loopback(), slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	addPI(t, dir, "pi", append([]string{mine, mineAccent}, theirStudies...)...)
	s.publish("m-1", mine, 1, "OWN-1", "T")
	s.publish("m-2", mine, 2, "OWN-2", "T")
	s.publish("m-3", mineAccent, 1, "OWN-3", "T")
	for i, study := range theirStudies {
		s.publish(fmt.Sprint("t-", i), study, 1, rivals, leaked)
		s.publish(fmt.Sprint("t2-", i), study, 2, rivals, leaked)
		s.publish(fmt.Sprint("gone-", i), study, 3, rivals, leaked)
		if _, err := s.p.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: "pi", Meaning: "I withdraw this assessment.", ID: fmt.Sprint("gone-", i), Reason: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	s.attacker = s.partner("acme", mine, mineAccent)
	s.other = s.partner("rival", theirStudies...)
	awaitCaughtUp(t, s.p)
	s.honest()
	return s
}

// publish has an assessment signed.
func (s *attackedServer) publish(id, study string, caseID int32, subject, trial string) {
	s.t.Helper()
	_, err := registerAndSign(s.t.Context(), s.p.Outbox, events.Assessment{
		ID: id, Study: study, SponsorStudy: "S", TrialName: trial, Criteria: events.Criteria,
		Case: events.Case{ID: caseID, Revision: 1}, Revision: 1,
		Name: events.Baseline, Subject: subject, Effective: "2026-01-02", Conclusion: "No",
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *attackedServer) partner(id string, studies ...string) *partnerClient {
	s.t.Helper()
	secret, err := s.p.Outbox.Accounts().AddPartner(s.t.Context(), "test", id, "", studies)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &partnerClient{t: s.t, p: s.p, id: id}
	c.token = c.signIn(secret)
	s.secrets[secret] = "the client secret of " + id
	s.secrets[c.token] = "the access token of " + id
	return c
}

// secret notes something that must not be seen anywhere.
func (s *attackedServer) secret(what, value string) string {
	s.secrets[value] = what
	return value
}

// natsUser returns the part of the operator's NATS credentials that begins so.
func (s *attackedServer) natsUser(begins string) string {
	s.t.Helper()
	creds, err := os.ReadFile(s.p.Dir.OperatorCreds())
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(creds)) {
		if strings.HasPrefix(line, begins) {
			return strings.TrimSpace(line)
		}
	}
	s.t.Fatalf("the credentials have no line that begins with %s", begins)
	return ""
}

// honest checks that both partners still get their own pages.
func (s *attackedServer) honest() {
	s.t.Helper()
	if reports, total := s.attacker.pages("/DiagnosticReport?researchstudy=" + mine); total != 2 || len(reports) != 2 {
		s.t.Fatalf("the attacker's own study has %d reports", total)
	}
	if reports, total := s.other.pages("/DiagnosticReport?researchstudy=" + theirs); total != 2 || len(reports) != 2 {
		s.t.Fatalf("the other's study has %d reports", total)
	}
}

// header is one line of a request's header, as it is sent.
type header struct{ name, value string }

// asAttacker returns the header lines of an authorised request of the attacker.
func (s *attackedServer) asAttacker() []header {
	return []header{{"Authorization", "Bearer " + s.attacker.token}, {"x-partnerid", s.attacker.id}}
}

// attack is a request, byte for byte.
type attack struct {
	method  string // default GET
	target  string
	headers []header
	body    string
}

// response is the answer without the request's id, which differs from one request to the
// next.
type response struct {
	status int
	header http.Header
	body   string
	more   string // what the server sent after the first answer
}

var (
	requestIDs = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	base       = "/msk-apim/external/v2/crit/blaze/api"
)

// send sends the attack over a new connection and checks that the answer contains no report
// of the other partner, no secret and no internal text.
func (s *attackedServer) send(t *testing.T, a attack) response {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", s.p.APIListener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	method := a.method
	if method == "" {
		method = http.MethodGet
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", method, a.target)
	for _, h := range append([]header{{"Host", "example.org"}, {"Connection", "close"}}, a.headers...) {
		fmt.Fprintf(&text, "%s: %s\r\n", h.name, h.value)
	}
	go func() { _, _ = conn.Write([]byte(text.String() + "\r\n" + a.body)) }() // the server may answer before all is sent
	return s.receive(t, conn, method)
}

func (s *attackedServer) receive(t *testing.T, conn net.Conn, method string) response {
	t.Helper()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	more, _ := io.ReadAll(r) // the connection may be reset where not all of the request was read
	got := response{res.StatusCode, res.Header, requestIDs.ReplaceAllString(string(body), "ID"), string(more)}
	s.harmless(t, got)
	return got
}

func (s *attackedServer) harmless(t *testing.T, r response) {
	t.Helper()
	var headers strings.Builder
	_ = r.header.Write(&headers)
	all := headers.String() + r.body + r.more
	for _, word := range []string{leaked, "goroutine", ".go:", "sqlite", "panic", "/tmp"} {
		if strings.Contains(all, word) {
			t.Errorf("the answer holds %q: %d %.300s", word, r.status, all)
		}
	}
	for value, what := range s.secrets {
		if strings.Contains(all, value) {
			t.Errorf("the answer holds %s", what)
		}
	}
}

// refused sends the attack and checks that the answer has one of the statuses.
func (s *attackedServer) refused(t *testing.T, a attack, statuses ...int) response {
	t.Helper()
	got := s.send(t, a)
	if !slices.Contains(statuses, got.status) {
		t.Errorf("%s %.200s: %d, want one of %v; %.200s", a.method, a.target, got.status, statuses, got.body)
	}
	return got
}

// searchLog checks that the log contains no secret, and that it is whole lines of JSON, none
// of them written by a caller.
func (s *attackedServer) searchLog() {
	text := s.log.String()
	for value, what := range s.secrets {
		for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value)} {
			if strings.Contains(text, form) {
				s.t.Errorf("the log holds %s", what)
			}
		}
	}
	if strings.Contains(text, "INJECTED") {
		s.t.Error("the log holds what a caller wrote into a header")
	}
	for line := range strings.Lines(text) {
		var record struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Time == "" || record.Level == "" {
			s.t.Errorf("a line of the log is no record: %.200s", line)
		}
	}
	if !strings.Contains(text, `"msg":"request"`) {
		s.t.Error("nothing was logged")
	}
}

// tokenForm is a token request's body.
func tokenForm(id, secret string) string {
	return url.Values{
		"client_id": {id}, "client_secret": {secret}, "grant_type": {"client_credentials"}, "scope": {"full"},
	}.Encode()
}

// askToken asks the token endpoint from an address of this machine.
func (s *attackedServer) askToken(t *testing.T, from, id, secret string, headers ...header) response {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.p.APIListener.Addr().String())
	if err != nil {
		t.Skipf("no address %s on this machine: %v", from, err)
	}
	defer conn.Close()
	body := tokenForm(id, secret)
	var text strings.Builder
	fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", token.Path, len(body))
	for _, h := range headers {
		fmt.Fprintf(&text, "%s: %s\r\n", h.name, h.value)
	}
	if _, err := conn.Write([]byte(text.String() + "\r\n" + body)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{status: res.StatusCode, header: res.Header, body: string(answer)}
}
