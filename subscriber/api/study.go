package api

import (
	"slices"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// chooseStudy returns the granted study that the query names. The error is the
// same for a study that is not granted and for an unknown one. Several granted
// studies are refused, because a Bundle is about one.
func chooseStudy(pairs []pair, granted func(study string) bool) (string, error) {
	var values []string
	for _, p := range pairs {
		if p.name != paramStudy || p.modifier != "" {
			continue
		}
		if p.err != nil {
			return "", p.err
		}
		if p.value != "" {
			values = append(values, norm.NFC.String(p.value))
		}
	}
	if len(values) == 0 {
		return "", events.Errorf(events.Required, "Missing required query parameter.")
	}
	var named []string
	for _, value := range values {
		for _, study := range studiesIn(value, granted) {
			if !granted(study) {
				return "", events.Errorf(events.Forbidden, "Access to protocol denied.")
			}
			named = append(named, study)
		}
	}
	slices.Sort(named)
	if len(slices.Compact(named)) > 1 {
		return "", events.Fieldf(paramStudy, "names several studies; ask for one at a time")
	}
	return named[0], nil
}

// studiesIn returns the study ids in a value: the value itself if that study
// is granted, because links and references write a study id so; else the
// parts of a list in FHIR's escapes.
func studiesIn(value string, granted func(study string) bool) []string {
	if granted(value) {
		return []string{value}
	}
	studies, err := splitValue(value)
	if err != nil {
		return []string{value}
	}
	return studies
}
