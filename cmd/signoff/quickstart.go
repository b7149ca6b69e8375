package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// quickStart is what a partner needs to begin, besides its secret: addresses and names. It
// is printed with commands and code that use them.
type quickStart struct {
	Partner  string       `json:"partner"`
	TokenURL string       `json:"token_url"`
	BaseURL  string       `json:"base_url"` // of the read API
	NATS     string       `json:"nats_url"`
	Stream   string       `json:"stream"`
	Prefix   string       `json:"api_prefix"` // of the JetStream API in the partner's account
	Access   string       `json:"access"`     // subject of announcements, with a consumer named like the partner
	Studies  []studyStart `json:"studies"`

	running bool // the addresses are those of the running server, not the default ones
}

// studyStart is where a partner finds a study: its page of the read API, and its consumer
// and subject on NATS.
type studyStart struct {
	Study    string `json:"study"`
	StudyKey string `json:"token"`
	Page     string `json:"page"`
	Consumer string `json:"consumer"`
	Subject  string `json:"subject"`
}

// partnerQuickstart prints a partner's quick start again.
type partnerQuickstart struct {
	ID string `arg:"" help:"Partner id."`
}

func (cmd *partnerQuickstart) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		q, err := quickStartOf(ctx, c, o, cmd.ID)
		if err != nil {
			return err
		}
		return console.PrintFacts(t, q, q.print)
	})
}

// printNewPartner prints the credentials of a new partner and its quick start.
func printNewPartner(ctx context.Context, c *common, t console.Terminal, o *outbox.Outbox, id, secret string) error {
	q, err := quickStartOf(ctx, c, o, id)
	if err != nil {
		return err
	}
	facts := struct {
		credentials
		quickStart
	}{credentials{id, secret}, q}
	return console.PrintFacts(t, facts, func(w io.Writer) {
		printSecret(w, id, secret)
		fmt.Fprintln(w)
		q.print(w)
	})
}

// quickStartOf returns a partner's quick start, with the addresses of the running server, or
// the default ones if none runs.
func quickStartOf(ctx context.Context, c *common, o *outbox.Outbox, id string) (quickStart, error) {
	partners, err := o.Accounts().Partners(ctx)
	if err != nil {
		return quickStart{}, err
	}
	i := slices.IndexFunc(partners, func(p access.Partner) bool { return p.ID == id && p.Enabled })
	if i < 0 {
		return quickStart{}, events.Errorf(events.NotFound, "there is no partner %q", id)
	}
	s, running := c.dir().Running()
	public := cmp.Or(s.PublicURL, "http://"+defaultListen)
	q := quickStart{
		Partner: id, TokenURL: public + token.Path, BaseURL: public + strings.TrimRight(cmp.Or(s.BasePath, api.DefaultBasePath), "/"),
		NATS: partnersNATS(s), Stream: events.Stream, Prefix: events.PartnerAPIPrefix, Access: events.PartnerAccessSubject(id),
		Studies: []studyStart{}, running: running,
	}
	for _, study := range partners[i].Studies {
		q.Studies = append(q.Studies, q.study(study))
	}
	return q, nil
}

// study returns the studyStart of a study id.
func (q quickStart) study(study string) studyStart {
	key := events.StudyKey(study)
	return studyStart{
		Study: study, StudyKey: key, Page: q.BaseURL + "/DiagnosticReport?researchstudy=" + fhir.EscapeQuery(study),
		Consumer: events.PartnerConsumer(q.Partner, key), Subject: events.StudySubjects(key),
	}
}

// History returns the address of the study's events since number 0.
func (s studyStart) History() string {
	return strings.Replace(s.Page, "/DiagnosticReport?", "/_history?", 1) + "&_sort=_lastUpdated&_sinceNumber=0"
}

// defaultListen is the default of --listen.
const defaultListen = "127.0.0.1:8080"

// partnersNATS returns the URL by which partners reach NATS: that of --nats-public-url, or
// the first address of NATS. If that stands for all addresses of the machine, its host is
// replaced by the one of the public URL. S is the zero value if no server runs.
func partnersNATS(s datadir.Serving) string {
	switch {
	case s.NATSPublic != "":
		return s.NATSPublic
	case s.NATS == "":
		return "nats://" + server.DefaultNATSListen
	}
	first, _, _ := strings.Cut(s.NATS, ",")
	u, err := url.Parse(first)
	if err != nil {
		return first
	}
	public, err := url.Parse(s.PublicURL)
	if ip := net.ParseIP(u.Hostname()); err == nil && ip != nil && ip.IsUnspecified() && public.Hostname() != "" {
		u.Host = net.JoinHostPort(public.Hostname(), u.Port())
	}
	return u.String()
}

//go:embed quickstart.txt
var quickStartText string

// print executes the template quickstart.txt. Its examples use the first study granted, or
// the placeholder STUDY if there is none.
func (q quickStart) print(w io.Writer) {
	t := template.Must(template.New("").Funcs(template.FuncMap{"shell": shellWord, "quote": literal}).Parse(quickStartText))
	studies := q.Studies
	if len(studies) == 0 {
		studies = []studyStart{q.study("STUDY")}
	}
	err := t.Execute(w, struct {
		quickStart
		Module       string
		Running, TLS bool
		First        studyStart
		Others       []studyStart
	}{q, modulePath, q.running, strings.HasPrefix(q.TokenURL, "https://") || strings.HasPrefix(q.NATS, "tls://"), studies[0], studies[1:]})
	if err != nil {
		fmt.Fprintln(w, "signoff:", err)
	}
}

// modulePath is the module with the packages for partners.
const modulePath = "github.com/seed-e88a4ece/signoff"

// shellWord quotes a text as one word for the shell.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// literal returns a text as a string literal that Go and JavaScript read alike.
func literal(s string) (string, error) {
	quoted, err := json.Marshal(s)
	return string(quoted), err
}
