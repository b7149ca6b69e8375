package page

import "net/http"

// policy lets a page load nothing from elsewhere, run no script but ours and stand in no
// frame. With it a text from outside that became markup by mistake can still do nothing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types desk"

// SetHeaders sets the headers that every answer to a browser has. Referrer-Policy is
// same-origin, not no-referrer: with the latter Chromium sends Origin: null with forms,
// which http.CrossOriginProtection then refuses.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}
