package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// ParkedStudy is a study whose events are not published, because the broker
// refuses one of them for a reason of that event's own.
type ParkedStudy struct {
	Study            string    `json:"study"`
	StudyKey         string    `json:"token"` // the JSON keeps this older name of the key
	Reason           string    `json:"reason"`
	Since            time.Time `json:"since"`
	Sequence         uint64    `json:"sequence"` // study number of the first event that is not published
	ReleaseRequested bool      `json:"releaseRequested"`
}

// publisherActor is the relay's name in the audit trail.
const publisherActor = "publisher"

// Park parks the study with this key: Pending leaves out its events until Release.
// Parking again changes nothing. The relay calls Park only when the broker has
// answered for every event that was sent and Record has stored the answers. The error
// is NotFound if there is no such study, and a Conflict if none of its events is
// unpublished.
func (s *Source) Park(ctx context.Context, key, reason string) error {
	return s.ledger.Update(ctx, "park study", func(tx *ledger.Tx) error {
		var study, first int64
		var number string
		err := tx.QueryRow(`
			select s.row, s.study, coalesce(min(e.row), 0)
			from studies s
			left join events e on e.study = s.row
				and not exists (select 1 from ordinals o where o.event = e.row)
			where s.token = ?
			group by s.row`, key).Scan(&study, &number, &first)
		if errors.Is(err, sql.ErrNoRows) {
			return events.Errorf(events.NotFound, "there is no study with the key %q", key)
		}
		if err != nil {
			return err
		}
		if first == 0 {
			return events.Errorf(events.Conflict, "no event of study %s is pending", number)
		}
		result, err := tx.Exec(`
			insert into parked (study, first, reason, time)
			values (?, ?, ?, ?)
			on conflict (study) do nothing`, study, first, reason, events.FormatTime(tx.Now))
		if err != nil || !ledger.ChangedOne(result) {
			return err
		}
		return tx.Audit(ledger.Line{Actor: publisherActor, Action: actionParked, Study: number, Subject: key, Detail: map[string]string{"reason": reason}})
	})
}

// RequestRelease asks the relay to publish a parked study again. The study is
// named by its id, or by its key if no study has that id. The error is NotFound
// if there is no such study, or it is not parked.
func (o *Outbox) RequestRelease(ctx context.Context, by, study string) error {
	return o.ledger.Administer(ctx, by, "request release", func(tx *ledger.Tx) error {
		var row int64
		var number, key string
		numbered := ledger.NormalizeStudy(study)
		err := tx.QueryRow(`
			select row, study, token
			from studies
			where study = ? or token = ?
			order by study = ? desc
			limit 1`, numbered, study, numbered).Scan(&row, &number, &key)
		if errors.Is(err, sql.ErrNoRows) {
			return events.Errorf(events.NotFound, "there is no study %q; signoff status lists the studies", study)
		}
		if err != nil {
			return err
		}
		result, err := tx.Exec(`update parked set requester = ? where study = ?`, by, row)
		if err != nil {
			return err
		}
		if !ledger.ChangedOne(result) {
			return events.Errorf(events.NotFound, "study %s is not parked; signoff status lists those that are", number)
		}
		return tx.Audit(ledger.Line{Actor: by, Action: actionReleasing, Study: number, Subject: key})
	})
}

// Release releases the studies whose release was requested, and returns how many.
// Their events are then pending again. The relay calls it only when the broker has
// answered for every event that was sent and Record has stored the answers.
//
// Release releases none while an event is pending. Another relay may have sent that
// event already. Record would refuse its stream sequence if an older event, of a
// released study, became pending.
func (s *Source) Release(ctx context.Context) (int, error) {
	// Most calls find no request, and then take no write lock.
	const requested = `select study from parked where requester <> ''`
	asked, err := database.List(ctx, s.ledger.DB.Reader, database.Value[int64], requested)
	if err != nil {
		return 0, fmt.Errorf("look for releases: %w", err)
	}
	if len(asked) == 0 {
		return 0, nil
	}
	err = s.ledger.Update(ctx, "release studies", func(tx *ledger.Tx) error {
		asked = nil
		var pending bool
		err := tx.QueryRow(`select exists (select 1 ` + pendingEvents + `)`).Scan(&pending)
		if err != nil || pending {
			return err
		}
		// Read again, because another relay may have released some.
		asked, err = database.List(context.Background(), tx, database.Value[int64], requested)
		if err != nil {
			return err
		}
		for _, study := range asked {
			if err := release(tx, study); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(asked), nil
}

// release deletes the study's row in parked and audits that. It lowers relay.floor
// below the study's first unpublished event, so that Pending finds it.
func release(tx *ledger.Tx, study int64) error {
	var first int64
	var number string
	err := tx.QueryRow(`
		delete from parked
		where study = ?
		returning first, (select study from studies where row = parked.study)`, study).Scan(&first, &number)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`update relay set floor = ? where floor > ?`, first-1, first-1); err != nil {
		return err
	}
	return tx.Audit(ledger.Line{Actor: publisherActor, Action: actionReleased, Study: number, Subject: ledger.StudyKey(number)})
}

// Parked returns the studies that are parked, by the time since when.
func (o *Outbox) Parked(ctx context.Context) ([]ParkedStudy, error) {
	parked, err := database.List(ctx, o.ledger.DB.Reader, scanParked, `
		select s.study, s.token, p.reason, p.time, e.sequence, p.requester <> ''
		from parked p
		join studies s on s.row = p.study
		join events e on e.row = p.first
		order by p.time, s.study`)
	if err != nil {
		return nil, fmt.Errorf("list parked studies: %w", err)
	}
	return parked, nil
}

func scanParked(row database.Row) (p ParkedStudy, err error) {
	var since string
	if err := row.Scan(&p.Study, &p.StudyKey, &p.Reason, &since, &p.Sequence, &p.ReleaseRequested); err != nil {
		return p, err
	}
	p.Since, err = events.ParseTime(since)
	return p, err
}
