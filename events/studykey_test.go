package events_test

import (
	"encoding/hex"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

// keyFile is the form of study-tokens.json.
type keyFile struct {
	Description string         `json:"description"`
	Keys        []keyVector    `json:"tokens"`
	Refused     []refusedStudy `json:"refused"`
}

type keyVector struct {
	Name  string `json:"name"`
	Study string `json:"study"`
	NFC   string `json:"nfc"`
	UTF8  string `json:"utf8"`
	Key   string `json:"token"`
}

type refusedStudy struct {
	Name  string `json:"name"`
	Study string `json:"study"`
}

var keyCases = []struct{ name, study string }{
	{"a plain number", "FHIR-T"},
	{"one character", "7"},
	{"an underscore that is not the first", "A_1"},
	{"a hyphen at the start", "-1"},
	{"a space", "FHIR T"},
	{"dots", "NCT.0001.v2"},
	{"two dots only", ".."},
	{"a star", "*"},
	{"a greater-than sign", ">"},
	{"a subject wildcard inside", "a.>"},
	{"a slash", "C3861001/2"},
	{"a percent sign", "100%25"},
	{"starts with x-", "x-1"},
	{"starts with h-", "h-1"},
	{"starts with X-, which is no prefix of ours", "X-1"},
	{"x without a hyphen", "x1"},
	{"an encoded token is encoded again", "x-5h4g"},
	{"u with diaeresis composed", "M\u00fcnchen"},
	{"u with diaeresis decomposed: the same study", "Mu\u0308nchen"},
	{"the angstrom sign becomes a letter with ring", "\u212b"},
	{"Hangul in conjoining letters", "\u1112\u1161\u11ab"},
	{"a ligature stays: form C, not KC", "\ufb01"},
	{"an emoji, four bytes of UTF-8", "LUNG-\U0001fac1"},
	{"64 plain characters", strings.Repeat("a", 64)},
	{"65 plain characters", strings.Repeat("a", 65)},
	{"38 bytes to encode: 63 characters", strings.Repeat("a", 37) + "."},
	{"39 bytes to encode: 65 characters, so hashed", strings.Repeat("a", 38) + "."},
	{"starts with x- and is long", "x-" + strings.Repeat("a", 62)},
	{"200 characters of three bytes", strings.Repeat("\u7814", 200)},
}

var refusedCases = []refusedStudy{
	{"nothing", ""},
	{"a leading underscore", "_access"},
	{"an underscore only", "_"},
	{"white space at the start", " FHIR-T"},
	{"white space at the end", "FHIR-T "},
	{"a line feed", "FHIR\nT"},
	{"a null character", "FHIR\x00T"},
	{"a no-break space", "FHIR\u00a0T"},
	{"a zero-width joiner", "FHIR\u200dT"},
	{"a right-to-left override", "FHIR\u202eT"},
	{"201 characters", strings.Repeat("a", 201)},
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func TestStudyKeyVectors(t *testing.T) {
	made := keyFile{Description: "Study numbers and their tokens. See README.md.", Refused: refusedCases}
	for _, c := range keyCases {
		nfc := norm.NFC.String(c.study)
		made.Keys = append(made.Keys, keyVector{c.name, c.study, nfc, hex.EncodeToString([]byte(nfc)), events.StudyKey(c.study)})
	}
	golden(t, "study-tokens.json", made)

	var file keyFile
	readJSON(t, "study-tokens.json", &file)
	for _, v := range file.Keys {
		t.Run(v.Name, func(t *testing.T) {
			if err := events.ValidStudy(v.NFC); err != nil {
				t.Errorf("refused: %v", err)
			}
			if got, want := events.StudyKey(v.Study), referenceKey(t, v.UTF8); got != want || got != v.Key {
				t.Errorf("StudyKey returns %s, the reference %s, the file %s", got, want, v.Key)
			}
		})
	}
	for _, v := range file.Refused {
		t.Run("refused: "+v.Name, func(t *testing.T) {
			if err := events.ValidStudy(norm.NFC.String(v.Study)); events.CodeOf(err) != events.Invalid {
				t.Errorf("got %v, want an Invalid error", err)
			}
		})
	}
}

// referenceKey follows the words of the README, with base32hex as the digits
// of one big number.
func referenceKey(t *testing.T, utf8hex string) string {
	t.Helper()
	utf8, err := hex.DecodeString(utf8hex)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(utf8); keyForm.MatchString(s) && s[:min(2, len(s))] != "x-" && s[:min(2, len(s))] != "h-" {
		return s
	}
	if key := "x-" + base32hex(utf8); len(key) <= 64 {
		return key
	}
	sum, _ := hex.DecodeString(hexSHA256(string(utf8)))
	return "h-" + base32hex(sum)
}

func base32hex(data []byte) string {
	digits := (len(data)*8 + 4) / 5
	n := new(big.Int).SetBytes(data)
	text := n.Lsh(n, uint(digits*5-len(data)*8)).Text(32)
	return strings.Repeat("0", digits-len(text)) + text
}

func TestStudyMustBeInNormalFormC(t *testing.T) {
	if err := events.ValidStudy("Mu\u0308nchen"); events.CodeOf(err) != events.Invalid {
		t.Errorf("a decomposed study id returns %v, want an Invalid error", err)
	}
	a := events.Assessment{Study: "Mu\u0308nchen"}
	if a.Normalize(); a.Study != "M\u00fcnchen" {
		t.Errorf("Normalize returns %+q", a.Study)
	}
}

func TestStudyKeyProperties(t *testing.T) {
	studies := rapid.OneOf(rapid.StringN(1, 80, -1), rapid.StringMatching(`[xh_A-]?-?[a-c._*>-]{0,70}`))
	rapid.Check(t, func(t *rapid.T) {
		a, b := studies.Draw(t, "a"), studies.Draw(t, "b")
		key := events.StudyKey(a)
		if a != "" && !keyForm.MatchString(key) {
			t.Fatalf("%q is not a study key", key)
		}
		if events.StudyKey(norm.NFD.String(a)) != events.StudyKey(norm.NFC.String(a)) {
			t.Fatal("the study key depends on the normal form")
		}
		if norm.NFC.String(a) != norm.NFC.String(b) && key == events.StudyKey(b) {
			t.Fatalf("%q and %q share the study key %s", a, b, key)
		}
	})
}

func TestPartnerIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"acme": true, "A_1-b": true, strings.Repeat("a", 64): true,
		"": false, "a.b": false, "a b": false, "*": false, "é": false, "a\n": false, strings.Repeat("a", 65): false,
	} {
		if events.ValidPartnerID(id) != want {
			t.Errorf("ValidPartnerID(%q) is %t", id, !want)
		}
	}
}
