// Package openapi describes the read API and the token endpoint: for programs as
// OpenAPI 3.0, and for people as a page that is made from it.
//
// The tests of package api check each route, parameter, status and example of
// openapi.yaml against the running program. After a change of openapi.yaml, run
// this package's tests with -update, which writes docs.html.
package openapi

import (
	_ "embed"
	"strings"
)

//go:embed openapi.yaml
var description string

//go:embed docs.html
var page string

// The addresses in the files, which those of an installation replace.
const (
	fileOrigin = "http://127.0.0.1:8080"
	fileBase   = fileOrigin + "/msk-apim/external/v2/crit/blaze/api"
	fileToken  = fileOrigin + "/msk-apim/external/msk-oidc/oauth2/token"
)

// Addresses are those of an installation. They are written as they are, so they
// must consist of characters that are safe in URLs, YAML and HTML.
type Addresses struct {
	PublicURL string // start of all addresses, without a slash at the end
	Base      string // of the read API
	Token     string // of the token endpoint
}

// YAML returns the description for an installation.
func YAML(a Addresses) []byte { return a.replace(description) }

// Page returns the page for an installation.
func Page(a Addresses) []byte { return a.replace(page) }

// replace returns the text with the addresses of the installation instead of those in
// the files. The longer ones come first in the list, because they begin with fileOrigin.
func (a Addresses) replace(text string) []byte {
	return []byte(strings.NewReplacer(fileBase, a.Base, fileToken, a.Token, fileOrigin, a.PublicURL).Replace(text))
}
