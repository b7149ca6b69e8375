package events

import (
	"slices"
	"strconv"
	"strings"
)

// Criteria is the only set of response criteria that is supported.
const Criteria = "RECIST 1.1"

// MeasurementType is the only type of measurement: the sum of diameters of the
// target lesions.
const MeasurementType = "targetsum"

// Unit is the unit of every diameter and sum.
const Unit = "mm"

// NoChange is the text of a change that cannot be computed.
const NoChange = "--"

// Baseline is the name of a case's first assessment; the others are
// "Follow-up 1" to "Follow-up 25".
const Baseline = "Baseline"

const maxFollowUp = 25

// Conclusions are the response classes of the contract (section 4).
var Conclusions = []string{
	"Non-CR/Non-PD", "Progressive Disease", "Undefined", "Partial Response", "Not Evaluable",
	"Complete Response", "Stable Disease", "No", "Yes",
}

// The closed vocabularies of a lesion (contract, section 5).
var (
	LesionCategories = []string{"Target", "Non-target", "New lesion"}
	LesionStates     = []string{
		"Present", "Defined", "Stable/Improved", "Disappeared", "Undefined", "Uneqv. prog.",
		"Not evaluable", "Not assessed", "Too small",
	}
	LesionModalities = []string{"OT", "MR", "PT", "CT"}
	LesionLabels     = []string{"Long axis", "Short axis", "Long ? short axis"}
)

// FollowUp returns the name of the n-th assessment after the baseline.
func FollowUp(n int) string { return "Follow-up " + strconv.Itoa(n) }

// ValidName reports whether name is Baseline or Follow-up 1 to 25.
func ValidName(name string) bool {
	if name == Baseline {
		return true
	}
	digits, ok := strings.CutPrefix(name, "Follow-up ")
	n, err := strconv.Atoi(digits)
	return ok && err == nil && n >= 1 && n <= maxFollowUp && FollowUp(n) == name
}

// oneOf returns an error unless value, the value of field, is among those allowed.
func oneOf(field, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return Fieldf(field, "%q is not one of %s", clip(value), strings.Join(quoted(allowed), ", "))
}

func quoted(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strconv.Quote(v)
	}
	return out
}
