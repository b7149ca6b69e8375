package rest

import "net/http"

// CountedWriter passes an answer on and records its status and size. It belongs
// to the goroutine that serves the request.
type CountedWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Counted returns w itself if it is a CountedWriter, else a new CountedWriter that
// writes to w.
func Counted(w http.ResponseWriter) *CountedWriter {
	if counted, ok := w.(*CountedWriter); ok {
		return counted
	}
	return &CountedWriter{ResponseWriter: w}
}

// Status returns the status of the answer, or 0 before the answer has begun. An
// informational status, below 200, does not begin it.
func (w *CountedWriter) Status() int { return w.status }

// WriteHeader implements http.ResponseWriter.
func (w *CountedWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *CountedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap returns the writer below, for http.ResponseController.
func (w *CountedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
