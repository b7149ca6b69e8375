package events_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
)

// vectorFile is the form of chain.json and chain-broken.json.
type vectorFile struct {
	Description string        `json:"description"`
	Chains      []vectorChain `json:"chains"`
}

type vectorChain struct {
	Name     string        `json:"name"`
	After    vectorHead    `json:"after"`
	Accepted *int          `json:"accepted,omitempty"` // nil: all
	Code     events.Code   `json:"code,omitempty"`
	Events   []vectorEvent `json:"events"`
}

type vectorHead struct {
	Sequence string `json:"sequence"`
	Hash     string `json:"hash"`
}

type vectorEvent struct {
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	DigestText string            `json:"digesttext"`
}

func TestChainVectors(t *testing.T) {
	golden(t, "chain.json", vectorFile{Description: "Events that continue their study's chain. See README.md.", Chains: goodChains()})
	golden(t, "chain-broken.json", vectorFile{Description: "Events that do not. See README.md.", Chains: brokenChains()})
	for _, name := range []string{"chain.json", "chain-broken.json"} {
		var file vectorFile
		readJSON(t, name, &file)
		for _, c := range file.Chains {
			t.Run(c.Name, func(t *testing.T) { checkChain(t, c) })
		}
	}
}

// checkChain reads the events as a consumer does and follows them.
func checkChain(t *testing.T, c vectorChain) {
	t.Helper()
	sequence, err := events.ParseNumber(c.After.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	head := events.ChainHead{Number: sequence, Hash: c.After.Hash}
	accepted, code := 0, events.Code("")
	for _, v := range c.Events {
		checkDigestText(t, v)
		e, err := events.FromHeader(multi(v.Headers), []byte(v.Body))
		if err != nil {
			t.Fatal(err)
		}
		before := head
		if head, err = head.Follow(e); err != nil {
			if diff := cmp.Diff(before, head); diff != "" {
				t.Errorf("a refused event moved the head:\n%s", diff)
			}
			code = events.CodeOf(err)
			break
		}
		accepted++
	}
	want := len(c.Events)
	if c.Accepted != nil {
		want = *c.Accepted
	}
	if accepted != want || code != c.Code {
		t.Errorf("accepted %d events, then %q; want %d, then %q", accepted, code, want, c.Code)
	}
}

// checkDigestText computes text and hash anew, by the words of the README and
// not by the package's code.
func checkDigestText(t *testing.T, v vectorEvent) {
	t.Helper()
	text := digestText(v.Headers, v.Body)
	if diff := cmp.Diff(text, v.DigestText); diff != "" {
		t.Errorf("digest text (-computed +file):\n%s", diff)
	}
	e, err := events.FromHeader(multi(v.Headers), []byte(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := e.Digest(), hexSHA256(text); got != want {
		t.Errorf("Digest returns %s, the hash of the text is %s", got, want)
	}
}

func digestText(headers map[string]string, body string) string {
	return "signoff-event/1\n" +
		"id=" + headers["ce-id"] + "\n" +
		"source=" + headers["ce-source"] + "\n" +
		"type=" + headers["ce-type"] + "\n" +
		"subject=" + headers["ce-subject"] + "\n" +
		"time=" + headers["ce-time"] + "\n" +
		"datacontenttype=" + headers["ce-datacontenttype"] + "\n" +
		"study=" + headers["ce-study"] + "\n" +
		"sequence=" + headers["ce-sequence"] + "\n" +
		"partitionkey=" + headers["ce-partitionkey"] + "\n" +
		"previoushash=" + headers["ce-previoushash"] + "\n" +
		"datadigest=" + hexSHA256(body) + "\n"
}

func hexSHA256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func multi(headers map[string]string) map[string][]string {
	h := make(map[string][]string, len(headers))
	for name, value := range headers {
		h[name] = []string{value}
	}
	return h
}
