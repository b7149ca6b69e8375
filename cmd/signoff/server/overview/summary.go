package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// longest is how long an event may be unpublished, or not acknowledged by a partner, before
// somebody has to look.
const longest = time.Minute

// Tile is one of the five numbers at the top of the page.
type Tile struct {
	Title, Value, Text string
	State              State
}

// notKnown returns the tile of a part that could not be read.
func notKnown(title string) Tile {
	return Tile{Title: title, Value: "Not known", Text: "it could not be read", State: Bad}
}

// Tiles returns the five tiles.
func (f Facts) Tiles() []Tile {
	return []Tile{f.outboxTile(), f.publisherTile(), f.readModelTile(), f.partnersTile(), f.waitingTile()}
}

func (f Facts) outboxTile() Tile {
	t := Tile{Title: "Outbox", Value: "All published", Text: count(f.Outbox.Available, "report") + " available", State: OK}
	if f.Lacks(partOutbox) {
		return notKnown(t.Title)
	}
	if f.Outbox.Unpublished == 0 {
		return t
	}
	age := f.At.Sub(f.Outbox.Oldest)
	t.Value = number(f.Outbox.Unpublished) + " unpublished"
	t.Text = "the oldest for " + span(age)
	switch {
	case len(f.Parked) == 1:
		t.State, t.Text = Bad, t.Text+", study "+f.Parked[0].Study+" is parked"
	case len(f.Parked) > 1:
		t.State, t.Text = Bad, t.Text+", "+count(len(f.Parked), "study")+" are parked"
	case age > longest:
		t.State = Warn
	}
	return t
}

func (f Facts) publisherTile() Tile {
	p := f.Publisher
	t := Tile{Title: "Publisher and stream", State: OK, Value: "Running", Text: "stream sequence " + number(p.StreamSequence)}
	if !p.LastEvent.IsZero() {
		t.Text += " · last event " + span(f.At.Sub(p.LastEvent)) + " ago"
	}
	switch p.State {
	case publisher.Running:
		return t
	case publisher.Stopped:
		t.State, t.Value = Bad, "Stopped"
	case publisher.BackingOff:
		t.State, t.Value = Warn, "Trying again"
	case publisher.Starting:
		t.State, t.Value = Warn, "Starting"
	default:
		t.State, t.Value = Warn, "Not started"
	}
	if !p.Since.IsZero() {
		t.Text = "for " + span(f.At.Sub(p.Since)) + " · signed reports wait in the outbox"
	}
	return t
}

func (f Facts) readModelTile() Tile {
	m := f.ReadModel
	t := Tile{Title: "Read model", State: OK, Value: "Caught up", Text: countOf(m.Behind, "event") + " behind"}
	if !m.Heard.IsZero() {
		t.Text += " · read " + span(f.At.Sub(m.Heard)) + " ago"
	}
	switch {
	case m.State == readmodel.Red:
		t.State, t.Value = Bad, "Stopped"
	case m.State == readmodel.Waiting:
		t.State, t.Value = Warn, "Waiting"
	case !m.CaughtUp:
		t.State, t.Value = Warn, "Catching up"
	case m.Behind > 0:
		t.Value = number(m.Behind) + " behind"
	}
	return t
}

// Late reports whether the partner has not acknowledged an event for long.
func (p Partner) Late(at time.Time) bool {
	return p.Subscribes() && p.Behind > 0 && !p.Since.IsZero() && at.Sub(p.Since) > longest
}

// Subscribes reports whether an event was ever delivered by subscription.
func (p Partner) Subscribes() bool { return p.Delivered > 0 }

// Share returns how many hundredths of the study the partner has acknowledged.
func (p Partner) Share() uint64 {
	if p.Last == 0 {
		return 100
	}
	return p.Acknowledged * 100 / p.Last
}

// latePartners returns how many partners there are, how many of them subscribe and how many
// are late, and the partner and study that is late for longest.
func (f Facts) latePartners() (all, subscribe, late int, worst Partner) {
	isLate, subscribes := make(map[string]bool), make(map[string]bool)
	for _, p := range f.Partners {
		isLate[p.Partner] = isLate[p.Partner] || p.Late(f.At)
		if p.Subscribes() {
			subscribes[p.Partner] = true
		}
		if p.Late(f.At) && (worst.Partner == "" || p.Since.Before(worst.Since)) {
			worst = p
		}
	}
	for _, yes := range isLate {
		if yes {
			late++
		}
	}
	return len(isLate), len(subscribes), late, worst
}

func (f Facts) partnersTile() Tile {
	t := Tile{Title: "Partners", State: OK}
	if f.Lacks(partPartners) {
		return notKnown(t.Title)
	}
	all, subscribe, late, worst := f.latePartners()
	switch {
	case all == 0:
		t.Value, t.Text = "None", "no partner may read a study"
	case subscribe == 0:
		t.Value, t.Text = number(uint64(all)), "none has received anything by subscription"
	case late == 0:
		t.Value, t.Text = fmt.Sprintf("%d of %d up to date", subscribe, all), "the others have received nothing by subscription"
		if subscribe == all {
			t.Value, t.Text = "Up to date", count(all, "partner")
		}
	default:
		t.State, t.Value = Warn, fmt.Sprintf("%d of %d behind", late, all)
		t.Text = fmt.Sprintf("%s: %s for %s", worst.Partner, countOf(worst.Behind, "event"), span(f.At.Sub(worst.Since)))
	}
	return t
}

func (f Facts) waitingTile() Tile {
	if f.Lacks(partOutbox) {
		return notKnown("Waiting for PIs")
	}
	t := Tile{Title: "Waiting for PIs", State: OK, Value: number(uint64(max(f.Outbox.Waiting, 0))), Text: "nothing is to be signed"}
	if f.Outbox.Waiting > 0 {
		t.Text = "in " + count(f.Outbox.WaitingStudies, "study")
		if !f.Outbox.OldestWaiting.IsZero() {
			t.Text += " · the oldest for " + span(f.At.Sub(f.Outbox.OldestWaiting))
		}
	}
	return t
}

// Summarize sets State, Sentence and Detail from the other facts.
func (f *Facts) Summarize() {
	f.State = OK
	for _, t := range f.Tiles() {
		f.State = worse(f.State, t.State)
	}
	for _, found := range f.Findings {
		f.State = worse(f.State, Warn)
		if found.Blocks {
			f.State = Bad
		}
	}
	_, _, late, _ := f.latePartners()
	f.Sentence, f.Detail = f.sentence(late), f.detail(late)
}

// sentence returns what is worst.
func (f Facts) sentence(late int) string {
	blocks := func(found Finding) bool { return found.Blocks }
	switch state := f.Publisher.State; {
	case state == publisher.Stopped:
		return "The publisher has stopped"
	case f.ReadModel.State == readmodel.Red:
		return "The read model has stopped"
	case len(f.Parked) == 1:
		return "One study is parked"
	case len(f.Parked) > 1:
		return fmt.Sprintf("%d studies are parked", len(f.Parked))
	case slices.ContainsFunc(f.Findings, blocks) && state == publisher.Running:
		return "The server is not ready"
	case state == publisher.BackingOff:
		return "Signed reports are not being published"
	case state != publisher.Running:
		return "The publisher is starting"
	case len(f.Findings) > 0:
		return "Sign-offs are published; something needs attention"
	case late == 1:
		return "One partner is behind"
	case late > 1:
		return fmt.Sprintf("%d partners are behind", late)
	case f.State != OK, f.Outbox.Unpublished > 0, f.ReadModel.Behind > 0:
		return "Events are on their way"
	default:
		return "All is published and applied"
	}
}

// detail returns what is to be known beside the sentence.
func (f Facts) detail(late int) string {
	var parts []string
	running := f.Publisher.State == publisher.Running
	switch {
	case running && len(f.Parked) > 0 && f.ReadModel.CaughtUp && f.ReadModel.Behind == 0:
		parts = append(parts, "Everything else is published and applied.")
	case !running && f.Outbox.Unpublished > 0:
		parts = append(parts, countOf(f.Outbox.Unpublished, "event")+" wait in the outbox and are not lost.")
	}
	switch named := len(f.Parked) == 0 && running && len(f.Findings) == 0; { // in the sentence
	case late == 0 || named:
	case late == 1:
		parts = append(parts, "One partner is behind.")
	default:
		parts = append(parts, count(late, "partner")+" are behind.")
	}
	return strings.Join(append(parts, "Up "+span(f.At.Sub(f.Started))+"."), " ")
}
