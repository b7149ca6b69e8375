package console

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// counting sets a notice that contains the number of lost lines.
func counting(w *dropWriter) *dropWriter {
	w.setNotice(func(lost uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lost) })
	return w
}

// dropped returns the metric of dropped lines.
func dropped(t *testing.T, w *dropWriter) int {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.dropped)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}

// account returns the number of lines in a text, and the number of lost lines in its
// notices. The lines must be in order.
func account(t *testing.T, text string) (read, lost int) {
	t.Helper()
	next := 0
	for line := range strings.Lines(text) {
		var n int
		switch {
		case strings.HasPrefix(line, "lost "):
			if _, err := fmt.Sscanf(line, "lost %d\n", &n); err != nil || n == 0 {
				t.Fatalf("notice %q: %v", line, err)
			}
			lost += n
			next += n
		default:
			if _, err := fmt.Sscanf(line, "line %d", &n); err != nil || n != next {
				t.Fatalf("%.40q comes where line %d is due: %v", line, next, err)
			}
			read++
			next++
		}
	}
	return read, lost
}

func writeLines(t *testing.T, w *dropWriter, from, n, size int) {
	t.Helper()
	padding := strings.Repeat("x", size)
	for i := from; i < from+n; i++ {
		if written, err := fmt.Fprintf(w, "line %d %s\n", i, padding); err != nil || written < size {
			t.Fatalf("line %d: %d, %v", i, written, err)
		}
	}
}

func TestAStreamThatNobodyReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := counting(newDropWriter(out, "test"))
	const many = 4000
	writeLines(t, w, 0, many, 1000) // four times what is queued, and much more than the pipe holds
	w.mu.Lock()
	queued, size := len(w.queue), w.size
	w.mu.Unlock()
	if size > maxQueued || queued > many/2 {
		t.Errorf("%d lines of %d bytes are kept", queued, size)
	}
	counted := dropped(t, w)
	if counted == 0 {
		t.Error("no line is counted as dropped")
	}
	var text bytes.Buffer
	lines := bufio.NewReader(in)
	for !strings.Contains(text.String(), "lost ") { // until it is up to date again
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(line)
	}
	read, lost := account(t, text.String())
	if lost != counted || read+lost != many {
		t.Errorf("%d lines were read, %d are reported lost and %d counted, of %d", read, lost, counted, many)
	}
	done := make(chan string)
	go func() {
		rest := new(bytes.Buffer)
		_, _ = rest.ReadFrom(lines)
		done <- rest.String()
	}()
	writeLines(t, w, many, 10, 10)
	w.close()
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	text.WriteString(<-done)
	if read, lost := account(t, text.String()); read+lost != many+10 || lost > counted+10 {
		t.Errorf("%d lines were read and %d lost in the end", read, lost)
	}
}

func TestAStreamWhoseReaderGoesAwayAndComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(flags int) *os.File {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	in := open(os.O_RDONLY | unix.O_NONBLOCK)
	out := open(os.O_WRONLY)
	w := counting(newDropWriter(out, "test"))
	lines := bufio.NewReader(in)
	text := ""
	next := func() {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		text += line
	}
	writeLines(t, w, 0, 1, 1)
	next()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	written := 1
	for ; dropped(t, w) < 5; written++ {
		writeLines(t, w, written, 1, 1)
	}
	in = open(os.O_RDONLY | unix.O_NONBLOCK)
	defer in.Close()
	lines = bufio.NewReader(in)
	for ; strings.Count(text, "line") < 3; written++ {
		writeLines(t, w, written, 1, 1)
		next() // the notice, or the line itself
	}
	if read, lost := account(t, text); lost < 5 || read < 3 {
		t.Errorf("%d lines were read and %d lost: %q", read, lost, text)
	}
	w.close()
	_ = out.Close()
}

func TestAWriterThatIsClosedWaitsForNobody(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	w := counting(newDropWriter(out, "test"))
	writeLines(t, w, 0, 200, 1000)
	w.close() // returns, although the pipe holds less
	w.close()
	writeLines(t, w, 200, 1, 1)
	if dropped(t, w) != 1 {
		t.Error("a line after the end is not counted as dropped")
	}
	_ = in.Close()
	_ = out.Close()
}
