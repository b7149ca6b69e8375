// Package trail puts lines of the audit trail into sentences for a PI.
//
// A line shows what the PI may know of it, and no more: of the details only the members that
// are listed here, of studies only those that are granted, and the address of a client only
// where it is the PI's own.
package trail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// Line is a line of the audit trail in words.
type Line struct {
	Number     int64
	Time       time.Time
	Study      string // empty if it is about the PI's account
	Text       string // a sentence without its period
	Assessment string // id of the one that it is about; empty for none
	Details    []Detail
}

// Detail is a part of a line.
type Detail struct{ Name, Value string }

// Describe returns the line as a PI reads it.
func Describe(e outbox.AuditEntry, reader outbox.Reader) Line {
	d := description{AuditEntry: e, reader: reader, members: map[string]any{}}
	decoder := json.NewDecoder(bytes.NewReader(e.Detail))
	decoder.UseNumber()
	_ = decoder.Decode(&d.members)                // a line without details has none
	_ = json.Unmarshal(e.Assessment, &d.assessed) // nor has one that is about no version
	line := Line{Number: e.Number, Time: e.Time, Study: e.Study}
	if e.Subject != reader.User && e.Study == "" {
		line.Study = strings.Join(d.granted(), ", ")
	}
	if kind, _, _ := strings.Cut(e.Action, "."); kind == "assessment" || kind == "report" {
		line.Assessment = e.Subject
	}
	if sentence := sentences[e.Action]; sentence != nil {
		line.Text = sentence(&d)
	} else {
		line.Text = d.actor() + ": " + e.Action + " of " + e.Subject
	}
	line.Details = d.details()
	return line
}

// description is a line while it is described.
type description struct {
	outbox.AuditEntry
	reader   outbox.Reader
	members  map[string]any // of the detail
	assessed events.Assessment
}

// person returns the name for a sentence, at its beginning or not.
func (d *description) person(name string, first bool) string {
	switch {
	case name == d.reader.User && first:
		return "You"
	case name == d.reader.User:
		return "you"
	case name == "" && first:
		return "Somebody"
	case name == "":
		return "somebody"
	default:
		return name
	}
}

func (d *description) actor() string { return d.person(d.Actor, true) }

// visit returns the visit that the line is about.
func (d *description) visit() string {
	if d.assessed.Name == "" {
		return "assessment " + d.Subject
	}
	return d.assessed.Name + " of case " + strconv.Itoa(int(d.assessed.Case.ID))
}

// member returns a member of the detail as text; "" if it has none.
func (d *description) member(name string) string {
	switch value := d.members[name].(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

// because returns the reason of the line after a colon, or "".
func (d *description) because() string {
	if reason := d.member("reason"); reason != "" {
		return ": " + reason
	}
	return ""
}

// event returns the number of the line's event after a comma, or "".
func (d *description) event() string {
	if n := d.member("sequence"); n != "" {
		return ", event " + n
	}
	return ""
}

// account returns the sentence about a PI, partner or source, whose name takes the place of
// the ellipsis in the verb.
func account(verb, kind string) func(d *description) string {
	return func(d *description) string {
		name := d.Subject
		if kind == "PI" {
			name = d.person(name, false)
		}
		if name != "you" {
			name = "the " + kind + " " + name
		}
		return d.actor() + " " + strings.Replace(verb, "…", name, 1)
	}
}

// about returns the sentence about a visit, which takes the place of the ellipsis in the
// verb.
func about(verb string, rest ...func(*description) string) func(d *description) string {
	return func(d *description) string {
		text := d.actor() + " " + strings.Replace(verb, "…", d.visit(), 1)
		for _, r := range rest {
			text += r(d)
		}
		return text
	}
}

func fixed(text string) func(*description) string { return func(*description) string { return text } }

// sentences by action.
var sentences = map[string]func(*description) string{
	"assessment.registered": about("registered …"),
	"assessment.replaced":   about("replaced the version of … that waited"),
	"assessment.moved": func(d *description) string {
		to := "case " + d.member("to")
		if d.member("to") == "" || d.member("study") != d.Study {
			to = "another study"
		}
		return fmt.Sprintf("%s moved assessment %s from case %s to %s", d.actor(), d.Subject, d.member("from"), to)
	},
	"case.rebound": func(d *description) string {
		return fmt.Sprintf("%s changed the subject of case %s from %s to %s", d.actor(), d.member("case"), d.member("from"), d.member("to"))
	},
	"assessment.returned": about("returned … to its source", (*description).because),
	"assessment.signed": func(d *description) string {
		text := d.actor() + " signed " + d.visit() + d.event()
		if reason := d.member("reason"); reason != "" {
			text += ", over a contradiction: " + reason
		}
		return text
	},
	"report.superseded": func(d *description) string {
		return "The report of " + d.visit() + " was superseded when " + d.person(d.Actor, false) + " signed a higher revision of the case" + d.event()
	},
	"report.withdrawn": about("withdrew …", (*description).event, (*description).because),
	"assessment.sign-refused": func(d *description) string {
		return "A sign-off by " + d.person(d.Actor, false) + " was refused" + d.refusal()
	},
	"report.withdraw-refused": func(d *description) string {
		return "A withdrawal by " + d.person(d.Actor, false) + " was refused" + d.refusal()
	},
	"study.parked": fixed("The publisher stopped publishing the study; an operator has to look at it"),
	"study.release-requested": func(d *description) string {
		return d.actor() + " asked for the publication of the study to go on"
	},
	"study.released": fixed("The publication of the study went on"),

	"pi.added":             account("added …", "PI"),
	"pi.granted":           account("granted the study to …", "PI"),
	"pi.revoked":           account("revoked the grant of …", "PI"),
	"pi.password-reset":    account("set a one-time password for …", "PI"),
	"pi.password-set":      fixed("You chose a password"),
	"pi.password-rehashed": fixed("Your password was stored anew, with the present protection"),
	"pi.disabled":          account("disabled …", "PI"),
	"partner.added":        account("added …", "partner"),
	"partner.granted":      account("granted the study to …", "partner"),
	"partner.revoked":      account("revoked the grant of …", "partner"),
	"source.added":         account("added …", "source"),
	"source.granted":       account("granted the study to …", "source"),
	"source.revoked":       account("revoked the grant of …", "source"),

	"session.began":  fixed("You signed in"),
	"session.ended":  func(d *description) string { return "Your session ended" + whyEnded[d.member("reason")] },
	"sign-in.failed": fixed("A sign-in with your name failed"),
	"sign-in.failures": func(d *description) string {
		if n := d.member("count"); n != "" {
			return n + " sign-ins with your name failed in a quarter of an hour"
		}
		return "Sign-ins with your name failed"
	},
	"sign-in.locked": fixed("Your name was locked at one address after failed sign-ins"),
}

// whyEnded continues the sentence about the end of a session, by its reason.
var whyEnded = map[string]string{
	accounts.SessionSignedOut: ": you signed out",
	accounts.SessionIdle:      " after a time without activity",
	accounts.SessionAbsolute:  " after the longest time that is allowed",
	accounts.SessionReplaced:  ", because you signed in again",
	accounts.SessionPassword:  ", because your password was changed",
	accounts.SessionDisabled:  ", because an operator disabled your name",
	accounts.SessionLocked:    " after five wrong passwords",
	accounts.SessionShutdown:  ", because the server was stopped",
}

// refusal returns why a signature was refused, if the reader may know. The message of one of
// several assessments may be about another study.
func (d *description) refusal() string {
	if message := d.member("message"); message != "" && (d.Actor == d.reader.User || d.members["assessments"] == nil) {
		return ": " + message
	}
	return ""
}

// shown are the members of details that are shown, and their names. Those that a sentence
// has are left out, but for what a signature consists of.
var shown = []struct{ member, name string }{
	{"meaning", "Meaning"},
	{"reason", "Reason"},
	{"findings", "Findings shown"},
	{"digest", "Content, SHA-256"},
	{"sequence", "Study number"},
	{"event", "Event"},
	{"caseRevision", "Case revision"},
	{"revision", "Revision"},
	{"channel", "Signed over"},
	{"passwordReset", "One-time password set"},
	{"name", "Printed name"},
	{"studies", "Studies"},
	{"assessments", "Assessments"},
	{"number", "Number of assessments"},
	{"count", "Number"},
}

// details returns what else is known of the line.
func (d *description) details() []Detail {
	var out []Detail
	add := func(name, value string) {
		if value != "" {
			out = append(out, Detail{name, value})
		}
	}
	add("Action", d.Action)
	add("By", d.Actor)
	add("About", d.Subject)
	for _, m := range shown {
		if m.member == "studies" {
			add(m.name, strings.Join(d.granted(), ", "))
			continue
		}
		add(m.name, strings.Join(d.texts(m.member), "; "))
	}
	if d.Actor == d.reader.User {
		add("Address", d.Address)
	}
	add("Hash of the line", d.Hash)
	return out
}

// texts returns a member that is a text, a number or a list of texts.
func (d *description) texts(member string) []string {
	list, ok := d.members[member].([]any)
	if !ok {
		if text := d.member(member); text != "" {
			return []string{text}
		}
		return nil
	}
	var texts []string
	for _, value := range list {
		if text, ok := value.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// granted returns those of the studies in the detail that are granted to the reader.
func (d *description) granted() []string {
	return slices.DeleteFunc(d.texts("studies"), func(study string) bool { return !slices.Contains(d.reader.Studies, study) })
}
