package desk

import "net/http"

// Fail serves a further page, which answers with an error, or panics if err is nil.
func (d *Desk) Fail(path string, err error) {
	d.mux.Handle("GET "+path, d.handler(route{Route: Route{Pattern: "GET " + path, Open: true}, serve: func(http.ResponseWriter, *request) error {
		if err == nil {
			panic("of a test")
		}
		return err
	}}))
}
