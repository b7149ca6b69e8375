package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

var (
	// BaseStyle is the style sheet that the pages have in common with others of the program.
	//
	//go:embed assets/base.css
	BaseStyle string
	//go:embed assets/desk.css
	styleText string
	//go:embed assets/desk.js
	scriptText string
	//go:embed assets/favicon.svg
	iconText string
)

// Asset is a file that pages load. Its path has the hash of its content, so that a browser
// never shows a page with the style or script of another version.
type Asset struct {
	Path string

	mediaType, content string
}

// NewAsset returns the asset with this content.
func NewAsset(name, extension, mediaType, content string) Asset {
	sum := sha256.Sum256([]byte(content))
	return Asset{"/assets/" + hex.EncodeToString(sum[:8]) + "/" + name + "." + extension, mediaType, content}
}

// ServeHTTP answers with the asset, which browsers may keep.
func (a Asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(a.content))
}

var (
	style  = NewAsset("desk", "css", "text/css; charset=utf-8", BaseStyle+styleText+chart.CSS)
	script = NewAsset("desk", "js", "text/javascript; charset=utf-8", scriptText)

	// Icon is the icon of all pages of the program.
	Icon = NewAsset("favicon", "svg", "image/svg+xml", iconText)
)

// Assets returns the files that the pages load.
func Assets() []Asset { return []Asset{style, script, Icon} }

// ForgetPath is an empty style sheet that the sign-in loads after a session has ended. Its
// answer makes the browser drop the pages that it keeps for Back. The header of the sign-in
// itself is too early for that, because the page before is kept only after it, and the script
// that loads such pages again may be off.
const ForgetPath = "/assets/forget.css"

// Forget answers ForgetPath.
func Forget(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Clear-Site-Data", `"cache"`)
}
