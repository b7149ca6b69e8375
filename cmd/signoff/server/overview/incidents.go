package overview

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// Incident is a line of the audit trail to which an operator attends, in words and without
// who did it.
type Incident struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// incidentDays and mostIncidents bound which incidents are shown.
const (
	incidentDays  = 7
	mostIncidents = 30
)

// incidents are those that were read so far. The audit trail may have millions of lines, so
// only the first reading goes back; each later one begins behind it.
type incidents struct {
	read  int64 // number of the last line up to which the trail was read
	found []Incident
}

// detail has the members of lines' details that are used.
type detail struct {
	Kind  string `json:"kind"`
	Grace string `json:"grace"`
}

// incidentTexts returns the text of a line, by action.
var incidentTexts = map[string]func(e outbox.AuditEntry, d detail) string{
	"study.parked":            func(e outbox.AuditEntry, _ detail) string { return e.Study + " parked by the publisher" },
	"study.release-requested": func(e outbox.AuditEntry, _ detail) string { return "release of " + e.Study + " requested" },
	"study.released":          func(e outbox.AuditEntry, _ detail) string { return e.Study + " released" },
	"sign-in.locked": func(_ outbox.AuditEntry, d detail) string {
		if d.Kind == "user" {
			return "a PI’s name was locked at one address after failed sign-ins"
		}
		return "sign-ins were locked at one address after failures"
	},
	"pi.disabled": func(outbox.AuditEntry, detail) string { return "a PI was disabled" },
	"pi.revoked":  func(e outbox.AuditEntry, _ detail) string { return "a PI may no longer sign for " + e.Study },
	"partner.revoked": func(e outbox.AuditEntry, _ detail) string {
		return "partner " + e.Subject + ": access to " + e.Study + " revoked"
	},
	"partner.rotated": func(e outbox.AuditEntry, d detail) string {
		if grace, err := time.ParseDuration(d.Grace); err == nil && grace > 0 {
			return "partner " + e.Subject + ": secret rotated, " + span(grace) + " grace"
		}
		return "partner " + e.Subject + ": secret rotated"
	},
	"partner.removed":        func(e outbox.AuditEntry, _ detail) string { return "partner " + e.Subject + " removed" },
	"source.revoked":         func(e outbox.AuditEntry, _ detail) string { return "source " + e.Subject + ": " + e.Study + " revoked" },
	"source.rotated":         func(e outbox.AuditEntry, _ detail) string { return "source " + e.Subject + ": secret rotated" },
	"source.removed":         func(e outbox.AuditEntry, _ detail) string { return "source " + e.Subject + " removed" },
	"key.rotation-requested": func(outbox.AuditEntry, detail) string { return "rotation of the access token key requested" },
	"key.retired":            func(outbox.AuditEntry, detail) string { return "access token key rotated" },
	"key.revoked":            func(outbox.AuditEntry, detail) string { return "access token key revoked" },
	"clock.accepted":         func(outbox.AuditEntry, detail) string { return "clock accepted" },
}

// readIncidents reads the incidents of the last days.
func (o *Overview) readIncidents(ctx context.Context, f *Facts) error {
	from := f.At.AddDate(0, 0, -incidentDays)
	known := o.incidents
	last := known.read
	err := o.sources.Outbox.Audit(ctx, outbox.AuditFilter{Newest: 1}, func(e outbox.AuditEntry) error {
		last = e.Number
		return nil
	})
	if err != nil {
		return err
	}
	var added []outbox.AuditEntry
	if last != known.read {
		// Lines behind last are left to the next reading, which would read them twice otherwise.
		filter := outbox.AuditFilter{
			Actions: slices.Collect(maps.Keys(incidentTexts)), From: from, After: known.read, Before: last + 1, Newest: mostIncidents,
		}
		err := o.sources.Outbox.Audit(ctx, filter, func(e outbox.AuditEntry) error {
			added = append(added, e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	fresh := make([]Incident, 0, len(added)+len(known.found))
	for _, e := range added {
		var d detail
		_ = json.Unmarshal(e.Detail, &d) // a line without these members has a text without them
		fresh = append(fresh, Incident{Time: e.Time, Text: incidentTexts[e.Action](e, d)})
	}
	fresh = append(fresh, known.found...)
	fresh = slices.DeleteFunc(fresh, func(i Incident) bool { return i.Time.Before(from) })
	fresh = fresh[:min(len(fresh), mostIncidents)]
	o.incidents = incidents{read: last, found: fresh}
	f.Incidents = append(f.Incidents, fresh...)
	return nil
}
