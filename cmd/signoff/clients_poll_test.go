package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

// studyState is what a client has of a study.
type studyState struct {
	Number       uint64                       // of the last event
	Hash         string                       // of the last event
	Reports      map[string]json.RawMessage   // the available reports, by id
	Observations map[string][]json.RawMessage // of each report, in its order
}

func newState() studyState {
	return studyState{Hash: events.NoHash, Reports: map[string]json.RawMessage{}, Observations: map[string][]json.RawMessage{}}
}

// pollResult is what a client has in the end: from the history, and from its last walk.
type pollResult struct{ Followed, Walked studyState }

// get sends a GET request and returns the answer.
type get func(ctx context.Context, address string) (status int, body []byte, err error)

// poller polls a study as the README describes.
type poller struct {
	get   get
	base  string
	study string
}

// run walks all pages and follows the history until it has the event that last returns. It
// calls walked after each round.
func (p *poller) run(ctx context.Context, last func() uint64, walked func()) (pollResult, error) {
	followed := newState()
	for followed.Number < last() {
		if _, err := p.walk(ctx); err != nil {
			return pollResult{}, fmt.Errorf("walk: %w", err)
		}
		if err := p.follow(ctx, &followed); err != nil {
			return pollResult{}, fmt.Errorf("history: %w", err)
		}
		walked()
	}
	final, err := p.walk(ctx)
	return pollResult{followed, final}, err
}

// polledResource is the part of a report or an Observation that a poller reads.
type polledResource struct {
	ID         string
	Identifier []struct{ Value string }
	Result     []struct{ Reference, Display string }
	Entry      []struct{ Resource json.RawMessage } // of a Bundle
}

type polledEntry struct {
	Extension []struct{ Extension []attribute }
	Resource  json.RawMessage
	Request   struct{ Method string }
}

// attribute is one of those that the hash of an event covers, or the hash.
type attribute struct{ URL, ValueString string }

type polledPage struct {
	Total int
	Link  []struct{ Relation, URL string }
	Entry []polledEntry
}

// page gets a Bundle, and the address of the next one.
func (p *poller) page(ctx context.Context, address string) (b polledPage, next string, err error) {
	status, body, err := p.get(ctx, address)
	if err != nil {
		return b, "", err
	}
	if err := json.Unmarshal(body, &b); err != nil || status != http.StatusOK {
		return b, "", fmt.Errorf("%s is answered %d %.500s", address, status, body)
	}
	if i := slices.IndexFunc(b.Link, func(l struct{ Relation, URL string }) bool { return l.Relation == "next" }); i >= 0 {
		next = b.Link[i].URL
	}
	return b, next, nil
}

// walk returns the reports on all pages, and their Observations.
func (p *poller) walk(ctx context.Context) (studyState, error) {
	s := newState()
	total := -1
	address := p.base + "/DiagnosticReport?_count=4&researchstudy=" + url.QueryEscape(p.study)
	for address != "" {
		b, next, err := p.page(ctx, address)
		if err != nil {
			return s, err
		}
		if total >= 0 && b.Total != total {
			return s, fmt.Errorf("%s: the total was %d and is %d", address, total, b.Total)
		}
		total = b.Total
		for _, e := range b.Entry {
			if err := p.add(ctx, &s, e.Resource); err != nil {
				return s, err
			}
		}
		address = next
	}
	return s, nil
}

// add stores a report of a walk, and resolves its references. Observations may have gone since,
// with this version of the report.
func (p *poller) add(ctx context.Context, s *studyState, body json.RawMessage) error {
	var report polledResource
	if err := json.Unmarshal(body, &report); err != nil {
		return err
	}
	if s.Reports[report.ID] != nil {
		return fmt.Errorf("report %s is there twice", report.ID)
	}
	s.Reports[report.ID] = body
	for _, r := range report.Result {
		b, _, err := p.page(ctx, p.base+"/"+r.Reference)
		if err != nil {
			return err
		}
		var o polledResource
		if len(b.Entry) == 1 {
			if err := json.Unmarshal(b.Entry[0].Resource, &o); err != nil {
				return err
			}
		}
		if len(o.Identifier) == 1 && o.Identifier[0].Value == r.Display {
			s.Observations[report.ID] = append(s.Observations[report.ID], b.Entry[0].Resource)
			continue
		}
		status, answer, err := p.get(ctx, p.base+"/DiagnosticReport/"+report.ID)
		if err != nil || len(b.Entry) > 0 || status != http.StatusGone && bytes.Equal(answer, body) {
			return fmt.Errorf("%s is answered with %d Observations, and the report with %d %.300s (%w)", r.Reference, len(b.Entry), status, answer, err)
		}
	}
	return nil
}

// follow stores the events behind the last one.
func (p *poller) follow(ctx context.Context, s *studyState) error {
	query := url.Values{"researchstudy": {p.study}, "_sort": {"_lastUpdated"}, "_sinceNumber": {strconv.FormatUint(s.Number, 10)}, "_count": {"9"}}
	address := p.base + "/_history?" + query.Encode()
	for address != "" {
		b, next, err := p.page(ctx, address)
		if err != nil {
			return err
		}
		for _, e := range b.Entry {
			if err := s.apply(e); err != nil {
				return err
			}
		}
		address = next
	}
	return nil
}

// apply checks the number, the hashes and the bytes of an entry of history, and stores its
// effect.
func (s *studyState) apply(e polledEntry) error {
	event, text := map[string]string{}, "signoff-event/1\n"
	for _, x := range e.Extension[0].Extension {
		event[x.URL] = x.ValueString
		if x.URL != "hash" {
			text += x.URL + "=" + x.ValueString + "\n"
		}
	}
	number, err := events.ParseNumber(event["sequence"])
	if err != nil || number != s.Number+1 || event["previoushash"] != s.Hash || event["hash"] != digest([]byte(text)) {
		return fmt.Errorf("event %s does not follow %d (%w)", event["sequence"], s.Number, err)
	}
	if e.Resource != nil && event["datadigest"] != digest(e.Resource) {
		return fmt.Errorf("the bytes of event %d are not those that were signed", number)
	}
	s.Number, s.Hash = number, event["hash"]
	id := strings.Split(event["subject"], "/")[1]
	return s.store(e.Request.Method, id, e.Resource)
}

// store stores the effect of an event. Body is nil if it is no longer available.
func (s *studyState) store(method, id string, body json.RawMessage) error {
	switch {
	case method == http.MethodPost:
		var bundle polledResource
		if body != nil {
			if err := json.Unmarshal(body, &bundle); err != nil {
				return err
			}
		}
		s.Observations[id] = nil
		for _, e := range bundle.Entry {
			s.Observations[id] = append(s.Observations[id], e.Resource)
		}
	case method == http.MethodPut && body != nil:
		var report polledResource
		if err := json.Unmarshal(body, &report); err != nil {
			return err
		}
		if report.Result == nil {
			delete(s.Observations, id)
		}
		s.Reports[id] = body
	default:
		delete(s.Reports, id)
		delete(s.Observations, id)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// netHTTP returns a get that uses net/http.
func netHTTP(partner, accessToken string) get {
	return func(ctx context.Context, address string) (int, []byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return 0, nil, err
		}
		req.Header.Set("Authorization", "Bearer "+accessToken)
		req.Header.Set("X-Partnerid", partner)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, body, err
	}
}

// curl returns a get that runs curl with files of credentials, as in the README.
func curl(t *testing.T, tokenURL, partner, secret string) get {
	t.Helper()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	form := file("form", "client_id="+partner+"&client_secret="+secret+"&grant_type=client_credentials&scope=full")
	_, body, err := runCurl(t.Context(), "--data", form, tokenURL)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := errors.Join(err, json.Unmarshal(body, &answer)); err != nil || answer.AccessToken == "" {
		t.Fatalf("token endpoint: %s (%v)", body, err)
	}
	headers := file("headers", "Authorization: Bearer "+answer.AccessToken+"\nx-partnerid: "+partner+"\n")
	return func(ctx context.Context, address string) (int, []byte, error) {
		return runCurl(ctx, "--compressed", "-H", headers, address)
	}
}

// runCurl returns the status and the body that curl receives.
func runCurl(ctx context.Context, args ...string) (status int, body []byte, err error) {
	args = append([]string{"-sS", "--max-time", "60", "-w", `\n%{http_code}`}, args...)
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, "curl", args...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return 0, nil, fmt.Errorf("curl: %w: %s", err, &complaints)
	}
	i := bytes.LastIndexByte(out, '\n')
	status, err = strconv.Atoi(string(out[i+1:]))
	return status, out[:i], err
}
