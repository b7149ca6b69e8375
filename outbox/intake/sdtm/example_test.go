package sdtm_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// nothingKnown is the Registry of an outbox in which nothing is registered. A
// host program passes its outbox.
type nothingKnown struct{}

func (nothingKnown) Visits(context.Context, string) ([]events.KnownVisit, error) { return nil, nil }
func (nothingKnown) VisitsByID(context.Context, []string) (map[string]events.KnownVisit, error) {
	return nil, nil
}

// The visits of a subject become assessments, with sums and changes. The third
// visit is refused with file, line and column.
func ExampleRead() {
	dir, err := os.MkdirTemp("", "sdtm")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"tr.csv": `STUDYID,USUBJID,VISITNUM,TRDTC,TREVAL,TREVALID,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU,TRSTAT,TRMETHOD
S,S-01,1,2026-01-10,INVESTIGATOR,,TARGET,T01,DIAMETER,30.5,mm,,CT SCAN
S,S-01,2,2026-03-09,INVESTIGATOR,,TARGET,T01,DIAMETER,20,mm,,CT SCAN
S,S-01,3,2026-05-11,INVESTIGATOR,,TARGET,T01,DIAMETER,2,cm,,CT SCAN
`,
		"tu.csv": `STUDYID,USUBJID,TUEVAL,TUEVALID,TULNKID,TULOC
S,S-01,INVESTIGATOR,,T01,LUNG
`,
		"rs.csv": `STUDYID,USUBJID,VISITNUM,RSDTC,RSEVAL,RSEVALID,RSTESTCD,RSSTRESC
S,S-01,2,2026-03-09,INVESTIGATOR,,OVRLRESP,PR
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}

	err = sdtm.Read(context.Background(), dir, sdtm.Options{}, nothingKnown{}, func(r intake.Record) error {
		if r.Err != nil {
			fmt.Printf("%s:%d: %v\n", filepath.Base(r.File), r.Line, r.Err)
			return nil
		}
		a := r.Submission.Assessment
		fmt.Printf("%s %s: %s mm, %s from baseline, %s\n", a.ID, a.Name, a.Measurement.Value, a.Measurement.ChangeFromBaseline, a.Conclusion)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 100 Baseline: 30.5 mm, 0.0 mm from baseline, No
	// 101 Follow-up 1: 20 mm, -10.5 mm from baseline, Partial Response
	// tr.csv:4: TRSTRESU: cm is not mm
	// <nil>
}
