package sdtm_test

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

func FuzzSDTM(f *testing.F) {
	add := func(files fstest.MapFS) { f.Add(files["tr.csv"].Data, files["tu.csv"].Data, files["rs.csv"].Data) }
	add(smallSet(three...))
	add(smallSet("TR A 1 2020-01-01 TARGET T01 DIAMETER 9", "TR A 1 2020-01-09 TARGET T01 DIAMETER 8", "RS A 1 2020-01-09 CHECK", "TU A T01 LUNG"))
	add(smallSet("TR A 1 2020 TARGET - SUMDIAM 1E18", "TR A 2 2021 TARGET - SUMDIAM 0.1E-18", "TR A -3.50 2022 NEW N TUMSTATE ND"))
	add(smallSet("TR A 1 2020-01 TARGET T02 LDIAM 9", "TR A 2 2020---05 TARGET T02.1 LPERP 8", "TR A 2 2020-01-02T10/2020-02 TARGET - SUMDIAM 8",
		"TR A 3 2020-03-01T10:30 NON-TARGET N LNSTATE PATHOLOGICAL", "TR A 4 2020-02-29 TARGET T02/T01 DIAMETER TOO", "TU A T02 LYMPH_NODE"))
	f.Fuzz(func(t *testing.T, tr, tu, rs []byte) {
		files := fstest.MapFS{"tr.csv": {Data: tr}, "tu.csv": {Data: tu}, "rs.csv": {Data: rs}}
		reg := newRegistry()
		for i, delivery := range []fstest.MapFS{files, files, half(files, 0), half(files, 0), half(files, 1), half(files, 1)} {
			records := readSDTM(t, delivery, sdtm.Options{}, reg)
			for _, r := range records {
				if r.Line < 1 || r.File == "" || r.Err != nil && (r.Err.Message == "" || r.Err.Code == "") {
					t.Errorf("%s: %+v", r.Place(), r.Err)
				}
			}
			if got := reg.register(t, records); i%2 == 1 && got.Taken != 0 {
				t.Errorf("delivery %d, the same files again: %+v", i, got)
			}
			reg.sign()
		}
	})
}

// half returns the files with every other line of tr.csv, the header included.
func half(files fstest.MapFS, first int) fstest.MapFS {
	lines := bytes.SplitAfter(files["tr.csv"].Data, []byte{'\n'})
	var out []byte
	for i, line := range lines {
		if i == 0 || i%2 == first {
			out = append(out, line...)
		}
	}
	return fstest.MapFS{"tr.csv": {Data: out}, "tu.csv": files["tu.csv"], "rs.csv": files["rs.csv"]}
}
