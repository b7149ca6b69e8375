package api_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

const (
	bulkLesions    = 21         // for reports of about 4.5 KB
	bulkID         = "AAAAAAAA" // of the template, replaced in each report
	bulkSubject    = 50         // reports of a subject
	bulkMonths     = 120        // the assessments are of so many months, from January 2014 on
	bytesOfAReport = 8 << 10    // with its rows and indexes, at most
)

// bulk is a model whose reports were written by SQL, because to publish as many events
// would take too long.
type bulk struct {
	studies    []string                    // ids
	reports    int                         // of each study
	chainHeads map[string]events.ChainHead // by study key
}

// writeBulk creates a model in the file at path with as many reports in each study. Each
// study has the events of its reports and none else, so that further events can be
// published. Their ids are the numbers from 1 on.
func writeBulk(b testing.TB, path string, studies, reports int) bulk {
	b.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(b.TempDir(), &disk); err != nil {
		b.Fatal(err)
	}
	if need := int64(studies) * int64(reports) * bytesOfAReport; int64(disk.Bavail)*disk.Bsize < 2*need {
		b.Skipf("the disk has not twice the %d MB that the model needs", need>>20)
	}
	m, err := readmodel.Open(context.Background(), path, readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sqlite.Open(context.Background(), path, sqlite.Config{Synchronous: "NORMAL"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	w := bulk{reports: reports, chainHeads: map[string]events.ChainHead{}}
	for i := range studies {
		w.studies = append(w.studies, fmt.Sprintf("S%d", i+1))
		if err := db.Update(context.Background(), func(tx *sqlx.Tx) error { return w.writeStudy(tx, i) }); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

// writeStudy inserts a study, and its reports and events.
func (w *bulk) writeStudy(tx *sqlx.Tx, index int) error {
	study := w.studies[index]
	key := events.StudyKey(study)
	a := assessment(study, bulkID, 1, bulkLesions)
	template, err := fhir.Report{Assessment: a, Version: 1, LastUpdated: noon, Signature: events.Signature{
		User: "jdoe", Name: "Jane Doe, MD", Meaning: "I approve this", Time: noon,
	}}.Encode()
	if err != nil {
		return err
	}
	first, base := index*w.reports+1, noon.Add(-time.Hour)
	hash := fmt.Sprintf("%064x", index+1)
	w.chainHeads[key] = events.ChainHead{Number: uint64(w.reports), Hash: hash}
	var row int64
	if err := tx.QueryRow(`
		insert into studies (token, sequence, hash, reports, observations, report_events, longest)
		values (?, ?, ?, ?, 0, ?, 31)
		returning study`, key, w.reports, hash, w.reports, w.reports).Scan(&row); err != nil {
		return err
	}
	// Row i of the study is event i. The times are those of one hour at most.
	micros := `'` + base.UTC().Format("2006-01-02T15:04:05.") + `' || printf('%06d', i) || 'Z'`
	if w.reports > 999_999 {
		return fmt.Errorf("a study has at most 999,999 reports here, not %d", w.reports)
	}
	numbers := `with recursive numbers (i) as (select 1 union all select i + 1 from numbers where i < ` + strconv.Itoa(w.reports) + `)`
	id := fmt.Sprintf("(%d + i)", first-1)
	idKey := `'0' || printf('%02d', length(` + id + `)) || ` + id
	month := `'2014-01-01', '+' || (i * 7 % ` + strconv.Itoa(bulkMonths) + `) || ' months'`
	for _, statement := range []string{
		numbers + ` insert into reports (row, study, id_key, n, updated, issued, date_from, date_until, case_id, subject, name, conclusion, id)
			select ` + id + `, ` + strconv.FormatInt(row, 10) + `, ` + idKey + `, i, ` + micros + `, ` + micros + `,
				strftime('%Y-%m-%dT00:00:00', ` + month + `), strftime('%Y-%m-%dT00:00:00', ` + month + `, '+1 months'),
				i, 'subject ' || (i % ` + strconv.Itoa(max(1, w.reports/bulkSubject)) + `), 'Baseline', 'No', ` + id + ` from numbers`,
		numbers + ` insert into events (study, n, id, source, type, subject, time, content_type, partition_key, digest, hash, id_key, row, reports, observations, report_events)
			select ` + strconv.FormatInt(row, 10) + `, i, lower(hex(randomblob(16))), '` + events.DefaultNamespace.Source(key) + `', '` + events.DefaultNamespace.Type(events.ReportSigned) + `',
				'DiagnosticReport/' || ` + id + ` || '/_history/' || i, ` + micros + `, 'application/fhir+json', '` + key + `/1',
				lower(hex(randomblob(32))), iif(i = ` + strconv.Itoa(w.reports) + `, '` + hash + `', lower(hex(randomblob(32)))),
				` + idKey + `, ` + id + `, i, 0, i from numbers`,
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	before, after, _ := bytes.Cut(bytes.ReplaceAll(template, []byte(bulkID), []byte("@")), []byte("@"))
	_, err = tx.Exec(numbers+` insert into bodies (row, body)
		select `+id+`, cast(? || `+id+` || replace(?, '@', `+id+`) as blob) from numbers`, string(before), string(after))
	return err
}
