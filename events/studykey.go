package events

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// AccessStudy is the study key of the internal study whose events are the partners,
// their grants and the keys of access tokens. No clinical study's key starts with
// an underscore.
const AccessStudy = "_access"

// partnerStudies is the start of each PartnerStudy. No clinical study's key has a
// slash.
const partnerStudies = "_partner/"

// PartnerStudy returns the study key of the internal study whose events announce
// to one partner which studies it may see from then on, and which no longer.
func PartnerStudy(id string) string { return partnerStudies + id }

// PartnerOf returns the id of the partner whose PartnerStudy has the study key.
func PartnerOf(key string) (id string, ok bool) { return strings.CutPrefix(key, partnerStudies) }

// InternalStudy reports whether a study key is that of an internal study, not of a
// clinical one.
func InternalStudy(key string) bool { return strings.HasPrefix(key, "_") }

// clinicalKey reports whether key may be the study key of a clinical study.
func clinicalKey(key string) bool { return safeKey(key) && !InternalStudy(key) }

// safeKey reports whether key has 1 to 64 characters, all of them letters of ASCII, digits,
// _ or -. It does not use a regular expression, because StudyKey is called for every request
// and event.
func safeKey(key string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(key) >= 1 && len(key) <= 64
}

var base32Hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// ValidStudy returns an error unless study may be a study id: printable text
// of 1 to 200 characters in NFC that does not start with an underscore.
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

// StudyKey returns the form of a study id that is safe in NATS subjects,
// CloudEvents sources and consumer names. That is the id itself if it consists
// of at most 64 letters, digits, hyphens and underscores; else "x-" and its
// base32hex in lower case; and if that has more than 64 characters, "h-" and the
// base32hex of its SHA-256 in lower case. The id is normalized to NFC first. An
// id that starts with x- or h- itself is encoded, so that no two studies have
// one key.
func StudyKey(study string) string {
	study = norm.NFC.String(study)
	if safeKey(study) && !strings.HasPrefix(study, "x-") && !strings.HasPrefix(study, "h-") {
		return study
	}
	key := "x-" + strings.ToLower(base32Hex.EncodeToString([]byte(study)))
	if len(key) <= 64 {
		return key
	}
	sum := sha256.Sum256([]byte(study))
	return "h-" + strings.ToLower(base32Hex.EncodeToString(sum[:]))
}

// ValidPartnerID reports whether id may be the id of a partner.
func ValidPartnerID(id string) bool { return safeKey(id) }

// StudyWithKey returns which of the studies with these ids has the key; ok is false if none
// has.
func StudyWithKey(studies []string, key string) (study string, ok bool) {
	for _, study := range studies {
		if StudyKey(study) == key {
			return study, true
		}
	}
	return "", false
}
