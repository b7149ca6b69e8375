package events

import (
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// AccessStudy is the internal study whose events say who may see what. No
// real study starts with an underscore.
const AccessStudy = "_access"

// partnerStudies is how the internal studies of partners start. The slash is
// in no token of a real study.
const partnerStudies = "_partner/"

// PartnerStudy is the internal study whose events tell one partner which
// studies it may see from then on, and which no longer.
func PartnerStudy(id string) string { return partnerStudies + id }

// PartnerOf returns the id of the partner whose PartnerStudy the token is.
func PartnerOf(token string) (id string, ok bool) { return strings.CutPrefix(token, partnerStudies) }

// InternalStudy reports whether the token is that of an internal study: not one of
// a clinical study.
func InternalStudy(token string) bool { return strings.HasPrefix(token, "_") }

// studyKey reports whether token may be that of a real study.
func studyKey(token string) bool { return safeKey.MatchString(token) && !InternalStudy(token) }

var (
	safeKey   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	base32Hex = base32.HexEncoding.WithPadding(base32.NoPadding)
)

// ValidStudy says what is wrong with a study number: it must be printable
// text of 1 to 200 characters in NFC that does not start with an underscore.
func ValidStudy(study string) error {
	if err := identifier("study", study); err != nil {
		return err
	}
	if !norm.NFC.IsNormalString(study) {
		return Fieldf("study", "is not in Unicode normal form C")
	}
	if strings.HasPrefix(study, "_") {
		return Fieldf("study", "must not start with an underscore")
	}
	return nil
}

// StudyKey returns the one word that stands for a study in subjects, sources
// and consumer names: the study number itself where it is safe there, else
// "x-" and its lower-case base32hex, else, beyond 64 characters, "h-" and the
// lower-case base32hex of its SHA-256. (* and > are legal in a subject but
// wildcards in permissions.) The number is normalised to NFC first.
func StudyKey(study string) string {
	study = norm.NFC.String(study)
	if safeKey.MatchString(study) && !strings.HasPrefix(study, "x-") && !strings.HasPrefix(study, "h-") {
		return study
	}
	token := "x-" + strings.ToLower(base32Hex.EncodeToString([]byte(study)))
	if len(token) <= 64 {
		return token
	}
	sum := sha256.Sum256([]byte(study))
	return "h-" + strings.ToLower(base32Hex.EncodeToString(sum[:]))
}

// ValidPartnerID reports whether id may name a partner.
func ValidPartnerID(id string) bool { return safeKey.MatchString(id) }
