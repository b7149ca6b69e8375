package sdtm_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

func TestProgressAddsUpToTheSizeOfTheFiles(t *testing.T) {
	files := wholeSet(t)
	read, size := 0, 0
	for _, f := range files {
		size += len(f.Data)
	}
	readSDTM(t, files, sdtm.Options{Progress: func(n int) { read += n }}, newRegistry())
	if read != size {
		t.Errorf("%d bytes of %d", read, size)
	}
}

// streamed is a file system in which one file is not in memory as a whole.
type streamed struct {
	fs.FS
	name string
	data io.Reader
}

func (s streamed) Open(name string) (fs.File, error) {
	if name == s.name {
		return stream{s.data}, nil
	}
	return s.FS.Open(name)
}

type stream struct{ io.Reader }

func (stream) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (stream) Close() error               { return nil }

// subjects returns TR rows, each of a subject of its own whose name has nearly a
// megabyte.
type subjects struct{ n int }

func (s *subjects) Read(p []byte) (int, error) {
	if s.n == 300 {
		return 0, io.EOF
	}
	s.n++
	return copy(p, fmt.Sprintf("S,%d%s,1,2020-01-01,INVESTIGATOR,,TARGET,T01,DIAMETER,1,mm,,\n", s.n, strings.Repeat("y", 1<<20-100))), nil
}

func TestTheRecordsOfAnEvaluatorAreBounded(t *testing.T) {
	small := smallSet(three...)
	rows := io.MultiReader(bytes.NewReader(small["tr.csv"].Data), bufio.NewReaderSize(&subjects{}, 1<<20))
	emit, records := collect()
	if err := sdtm.ReadFrom(t.Context(), streamed{small, "tr.csv", rows}, "", sdtm.Options{}, newRegistry(), emit); err != nil {
		t.Fatal(err)
	}
	got := lines(*records)
	if len(got) != 1 || !strings.HasSuffix(got[0], `: USUBJID: the records of "INVESTIGATOR" have more than 256 MiB; import the subjects in several parts`) {
		t.Errorf("%d records", len(got))
	}
}
