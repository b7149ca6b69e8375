package api_test

import (
	"errors"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

func TestSettingsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		publicURL, basePath string
		maxCount            int
		field               string // of the error; empty: none
	}{
		{"", api.DefaultBasePath, 1000, ""},
		{"https://gw.example", "/", 1, ""},
		{"http://127.0.0.1:8080/", "/a/b-c/v1.0/", 1 << 30, ""},
		{"https://[::1]:8443/gateway/crit", "", 50, ""},
		{"gw.example", "/", 1, "public-url"},
		{"gw.example:8080", "/", 1, "public-url"},
		{"//gw.example", "/", 1, "public-url"},
		{"https:/gw.example", "/", 1, "public-url"},
		{"https://", "/", 1, "public-url"},
		{"https:///path", "/", 1, "public-url"},
		{"ftp://gw.example", "/", 1, "public-url"},
		{"https://user@gw.example", "/", 1, "public-url"},
		{"https://gw.example?a=b", "/", 1, "public-url"},
		{"https://gw.example#a", "/", 1, "public-url"},
		{"https://gw.example ", "/", 1, "public-url"},
		{" https://gw.example", "/", 1, "public-url"},
		{"https://gw.example/a b", "/", 1, "public-url"},
		{"https://gw.example/\n", "/", 1, "public-url"},
		{"https://gw.example\n", "/", 1, "public-url"},
		{"https://gw.example:", "/", 1, "public-url"},
		{"https://gw.example:0", "/", 1, "public-url"},
		{"https://gw.example:65536", "/", 1, "public-url"},
		{"https://gw.example:http", "/", 1, "public-url"},
		{"https://gw.example//a", "/", 1, "public-url"},
		{"https://gw.\"example", "/", 1, "public-url"},
		{"https://g\u00e4.example", "/", 1, "public-url"},
		{"", "foo", 1, "base-path"},
		{"", "foo/bar", 1, "base-path"},
		{"", "//foo", 1, "base-path"},
		{"", "/foo//bar", 1, "base-path"},
		{"", "/foo?a=b", 1, "base-path"},
		{"", "/foo#a", 1, "base-path"},
		{"", "/foo bar", 1, "base-path"},
		{"", "/foo%20bar", 1, "base-path"},
		{"", "/../foo", 1, "base-path"},
		{"", "/foo/.", 1, "base-path"},
		{"", "/foo\n", 1, "base-path"},
		{"", "https://gw.example/foo", 1, "base-path"},
		{"", "/", -5, "max-count"},
		{"", "/", 0, "max-count"},
		{"", "/", 1 << 31, "max-count"},
	} {
		err := api.CheckSettings(c.publicURL, c.basePath, c.maxCount)
		var e *events.Error
		if errors.As(err, &e); c.field == "" && err != nil || c.field != "" && (e == nil || e.Field != c.field || e.Code != events.Invalid) {
			t.Errorf("%q, %q, %d: %v; want an error about %q", c.publicURL, c.basePath, c.maxCount, err, c.field)
		}
	}
}
