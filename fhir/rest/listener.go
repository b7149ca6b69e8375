package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// plainConn and tlsConn are the connections from which net/http reads HTTP/1.1. If
// net/http cannot read the head of a request, it answers in plain text and calls no
// handler. It writes that answer in one call of Write. So these connections can
// recognise the answer and write an OperationOutcome instead.
type plainConn struct {
	net.Conn
	log *log.Logger
}

type tlsConn struct {
	*tls.Conn // net/http calls its ConnectionState

	log *log.Logger
}

func (c plainConn) Write(p []byte) (int, error) { return writeOutcome(c.Conn, c.log, p) }
func (c tlsConn) Write(p []byte) (int, error)   { return writeOutcome(c.Conn, c.log, p) }

// CloseWrite is called by net/http before it closes a connection on which the client
// may still be sending. The embedded net.Conn would hide it. A tlsConn has the method
// of its tls.Conn.
func (c plainConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// writeOutcome writes p, or an OperationOutcome if p is an answer of net/http to
// a head that it could not read.
func writeOutcome(c net.Conn, log *log.Logger, p []byte) (int, error) {
	status, reason := refusedHead(p)
	if status == 0 {
		return c.Write(p)
	}
	id := uuid.Must(uuid.NewV7()).String()
	log.Printf("request %s was answered %d before it could be read", id, status)
	if _, err := c.Write(headAnswer(status, reason, id)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// headEnd follows the status line in every answer of net/http to a head that it
// could not read. Handlers behind Wrap have other headers.
const headEnd = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// refusedHead returns the status of an answer of net/http to a head that it could not
// read, and the reason that net/http appends to the status text. The reason never
// quotes the request. If p is not such an answer, the status is 0.
func refusedHead(p []byte) (status int, reason string) {
	const version, longest = "HTTP/1.1 ", 512
	if len(p) > longest || !bytes.HasPrefix(p, []byte(version)) {
		return 0, ""
	}
	line, rest, _ := strings.Cut(string(p), "\r\n")
	code, text, _ := strings.Cut(line[len(version):], " ")
	status, _ = strconv.Atoi(code)
	_, reason, _ = strings.Cut(text, ": ")
	// Net/http answers an unsupported Expect with a status line and other headers.
	if status == http.StatusExpectationFailed || strings.HasPrefix("\r\n"+rest, headEnd) {
		return status, reason
	}
	return 0, ""
}

// headAnswer returns the whole answer of HTTP/1.1 to a request whose head could not be read.
func headAnswer(status int, reason, id string) []byte {
	body := headOutcome(status, reason, id)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"+
		"X-Content-Type-Options: nosniff\r\n%s: %s\r\nConnection: close\r\n\r\n",
		status, http.StatusText(status), time.Now().UTC().Format(http.TimeFormat), events.MediaFHIR, len(body), requestIDHeader, id)
	return append([]byte(head), body...)
}

// headOutcome returns the OperationOutcome for a request whose head could not be read.
func headOutcome(status int, reason, id string) []byte {
	issue, text := answers[events.Invalid].issue, "The request is malformed."
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		issue, text = answers[events.TooLarge].issue, "The request line and the headers are too large."
	case http.StatusNotImplemented:
		issue, text = answers[events.Unsupported].issue, "The transfer coding is not supported; use chunked or Content-Length."
	case http.StatusHTTPVersionNotSupported:
		issue, text = answers[events.Unsupported].issue, "The HTTP version is not supported; use HTTP/1.1."
	case http.StatusExpectationFailed:
		issue, text = answers[events.Unsupported].issue, "The header Expect may only be 100-continue."
	default:
		if reason != "" {
			text = "The request is malformed: " + reason + "."
		}
	}
	return fhir.OperationOutcome{Issues: []fhir.Issue{{Severity: "error", Code: issue, Text: text, Diagnostics: id}}}.Append(nil)
}

// plainListener accepts connections without TLS.
type plainListener struct {
	net.Listener
	log *log.Logger
}

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c, l.log}, nil
}

// tlsListener accepts connections with TLS and completes their handshakes before
// Accept returns them. Only then is it known whether a connection is HTTP/2, which
// net/http serves on a *tls.Conn and not on a tlsConn.
type tlsListener struct {
	net.Listener
	config   *tls.Config
	patience time.Duration // for the handshake
	log      *log.Logger

	ctx    context.Context // ends with the listener
	cancel context.CancelFunc
	group  sync.WaitGroup
	ready  chan net.Conn // connections after their handshake, for Accept
	failed chan error    // errors of the listener below, for Accept
}

// newTLSListener returns a listener that accepts connections from l at once. Close ends
// its goroutines.
func newTLSListener(l net.Listener, config *tls.Config, patience time.Duration, log *log.Logger) *tlsListener {
	t := &tlsListener{Listener: l, config: config, patience: patience, log: log, ready: make(chan net.Conn), failed: make(chan error)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.group.Go(t.run)
	return t
}

// Accept returns a connection whose handshake is complete: a *tls.Conn for
// HTTP/2, and a tlsConn otherwise.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener, cancels the handshakes and waits for them to end.
func (l *tlsListener) Close() error {
	l.cancel()
	err := l.Listener.Close()
	l.group.Wait()
	return err
}

// run accepts connections until the listener is closed, and starts the handshake of
// each. After an error it waits until Accept has returned that error. So it retries
// no faster than net/http, which waits after a temporary error before it calls Accept.
func (l *tlsListener) run() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			l.group.Go(func() { l.handshake(c) })
			continue
		}
		select {
		case l.failed <- err:
		case <-l.ctx.Done():
			return
		}
	}
}

// handshake completes the handshake of a connection and passes the connection on to
// Accept, or closes it.
func (l *tlsListener) handshake(raw net.Conn) {
	c := tls.Server(raw, l.config)
	ctx, cancel := context.WithTimeout(l.ctx, l.patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		l.refuse(raw, err)
		return
	}
	var accepted net.Conn = tlsConn{c, l.log}
	if c.ConnectionState().NegotiatedProtocol == protocolHTTP2 {
		accepted = c
	}
	select {
	case l.ready <- accepted:
	case <-l.ctx.Done():
		_ = raw.Close()
	}
}

// refuse closes a connection after a failed handshake. A client that sends HTTP
// without TLS gets an answer.
func (l *tlsListener) refuse(raw net.Conn, err error) {
	defer func() { _ = raw.Close() }()
	if record := (tls.RecordHeaderError{}); errors.As(err, &record) && record.Conn != nil && startsHTTP(record.RecordHeader) {
		id := uuid.Must(uuid.NewV7()).String()
		_ = raw.SetWriteDeadline(time.Now().Add(l.patience))
		_, _ = raw.Write(headAnswer(http.StatusBadRequest, "this port needs HTTPS", id))
	}
	// EOF is a client that only connected, such as a health check.
	if !errors.Is(err, io.EOF) && l.ctx.Err() == nil {
		l.log.Printf("TLS handshake with %s failed: %v", raw.RemoteAddr(), err)
	}
}

// startsHTTP reports whether the first bytes of a connection are those of an
// HTTP request.
func startsHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}
