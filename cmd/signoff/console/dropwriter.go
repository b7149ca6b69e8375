package console

import (
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxQueued is how many bytes of lines wait to be written to a standard stream.
const maxQueued = 1 << 20

// flushTimeout is how long the end of the program waits for who reads a
// standard stream.
const flushTimeout = time.Second

// dropWriter writes lines to a standard stream and neither waits for its reader
// nor fails: a server must not stand still because nobody reads its log, nor end
// because its reader has. What cannot be written is dropped and counted.
//
// Lines wait in a queue, of which one goroutine writes. From the first line that
// is dropped on, because the queue is full or a write fails, all lines are
// dropped until the queue is empty and a notice is written of how many they
// were: so the gap is in one place, and said there. Each further line makes the
// goroutine try the notice again.
type dropWriter struct {
	to      io.Writer
	notice  func(lost uint64) []byte // nil: none is written
	dropped prometheus.Counter
	wake    chan struct{} // has room for one
	ended   chan struct{} // closed when all is written after close

	mu     sync.Mutex
	queue  [][]byte
	size   int    // bytes in the queue
	lost   uint64 // lines that were dropped since the last notice
	closed bool
}

func newDropWriter(to io.Writer, stream string) *dropWriter {
	w := &dropWriter{
		to:    to,
		wake:  make(chan struct{}, 1),
		ended: make(chan struct{}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "signoff_dropped_lines_total",
			Help:        "Lines that could not be written to a standard stream, because nobody read it or writing failed.",
			ConstLabels: prometheus.Labels{"stream": stream},
		}),
	}
	go w.run()
	return w
}

// setNotice says how a notice reads. Without one, lines are dropped silently.
func (w *dropWriter) setNotice(notice func(lost uint64) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notice = notice
}

// Write takes a line, or several. It returns at once and never an error.
func (w *dropWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.lost > 0 || w.size+len(line) > maxQueued {
		w.drop()
	} else {
		w.queue = append(w.queue, append([]byte(nil), line...))
		w.size += len(line)
	}
	if !w.closed {
		select {
		case w.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
	return len(line), nil
}

func (w *dropWriter) drop() {
	w.lost++
	w.dropped.Inc()
}

// close waits until what is queued is written, but not for long.
func (w *dropWriter) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(flushTimeout):
	}
}

// run writes what is queued until the writer is closed.
func (w *dropWriter) run() {
	defer close(w.ended)
	for range w.wake {
		for w.writeNext() {
		}
	}
}

// writeNext writes the next line or, after the last, the notice that is due. It
// reports whether there may be more to write now.
func (w *dropWriter) writeNext() bool {
	line, lost := w.next()
	if len(line) == 0 {
		return false
	}
	_, err := w.to.Write(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.lost -= lost
	case lost == 0:
		w.drop()
	default:
		return false // the next line will be a reason to try again
	}
	return true
}

// next takes the next line, or makes the notice of how many were lost.
func (w *dropWriter) next() (line []byte, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		line, w.queue = w.queue[0], w.queue[1:]
		w.size -= len(line)
		return line, 0
	}
	w.queue = nil // of a long queue nothing is kept
	if w.lost == 0 {
		return nil, 0
	}
	if w.notice == nil {
		w.lost = 0
		return nil, 0
	}
	return w.notice(w.lost), w.lost
}
