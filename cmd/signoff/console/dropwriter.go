package console

import (
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxQueued is the largest number of bytes queued for a standard stream.
const maxQueued = 1 << 20

// flushTimeout is how long close waits for the reader of a standard stream.
const flushTimeout = time.Second

// dropWriter writes lines to a standard stream without waiting for its reader and
// without failing. A server must not block because nobody reads its log, nor end
// because the reader has ended. Lines that cannot be written are dropped and
// counted.
//
// One goroutine writes the lines from a queue. When a line is dropped, because the
// queue is full or a write fails, all later lines are dropped too, until the queue
// is empty and a notice with their number is written. So there is a single gap, and
// the notice stands in it. Each further line makes the goroutine try again to write
// the notice.
type dropWriter struct {
	to      io.Writer
	notice  func(lost uint64) []byte // returns the notice; nil: none is written
	dropped prometheus.Counter
	wake    chan struct{} // buffered: holds one wake-up
	ended   chan struct{} // closed when run has returned

	mu     sync.Mutex
	queue  [][]byte
	size   int    // bytes in the queue
	lost   uint64 // lines dropped since the last notice
	closed bool
}

// newDropWriter returns a dropWriter for the stream of this name, and starts its goroutine.
// The goroutine ends after close.
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

// setNotice sets the function that returns the notice. Without it, no notice is
// written.
func (w *dropWriter) setNotice(notice func(lost uint64) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notice = notice
}

// Write queues one line or several. It returns at once and never fails.
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
		default: // run has not received the previous wake-up yet
		}
	}
	return len(line), nil
}

// drop counts a line that is dropped. The caller holds mu.
func (w *dropWriter) drop() {
	w.lost++
	w.dropped.Inc()
}

// close waits until the queue is written, at most for flushTimeout. Lines that are written
// later are dropped.
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

// run writes the queue until the writer is closed.
func (w *dropWriter) run() {
	defer close(w.ended)
	for range w.wake {
		for w.writeNext() {
		}
	}
}

// writeNext writes the next line or, if none is left, the notice that is due. It
// reports whether there may be more to write.
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
		w.lost -= lost // lost is 0 after a line; after a notice, more lines may have been lost since
	case lost == 0: // the line is lost, not the notice
		w.drop()
	default:
		return false // the next line wakes the goroutine to try again
	}
	return true
}

// next removes the next line from the queue and returns it, with lost 0. If none is left
// it returns the notice and the number of lost lines that the notice states. It returns
// no line if nothing was lost, or if there is no notice; then the gap ends.
func (w *dropWriter) next() (line []byte, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		line, w.queue = w.queue[0], w.queue[1:]
		w.size -= len(line)
		return line, 0
	}
	w.queue = nil // frees the memory of a long queue
	if w.lost == 0 {
		return nil, 0
	}
	if w.notice == nil {
		w.lost = 0
		return nil, 0
	}
	return w.notice(w.lost), w.lost
}
