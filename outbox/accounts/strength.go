package accounts

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// A password is refused if it is what is guessed first: short, made from the user name, a
// repetition, a sequence, or listed words with digits. This does not measure how strong
// it is; five guesses in a quarter of an hour must not suffice.

const (
	minDistinct = 5 // different characters of a password
	minSteps    = 5 // characters that do not continue a sequence or repeat the one before
	minLetters  = 4 // left when listed words, digits and signs are taken away
	minUser     = 3 // characters of a user name that is looked for within a password
	minBeside   = 8 // letters beside the user name
)

// checkStrength returns an Invalid Error if the user may not have the password.
func checkStrength(user, password string) error {
	password = norm.NFKC.String(password)
	switch {
	case !utf8.ValidString(password):
		return events.Fieldf("password", "is not valid UTF-8")
	case utf8.RuneCountInString(password) < MinPassword:
		return events.Fieldf("password", "must have at least %d characters", MinPassword)
	case len(password) > maxPassword:
		return events.Fieldf("password", "must have at most %d bytes", maxPassword)
	}
	lower := strings.ToLower(password)
	switch {
	case fromName(lower, strings.ToLower(user)):
		return events.Fieldf("password", "must not be made from the user name")
	case repeats(lower):
		return events.Fieldf("password", "must not be a repetition, as in abcabcabcabc")
	case steps(lower) < minSteps:
		return events.Fieldf("password", "must not be a sequence, as in abcdef123456 or qwertzuiop")
	case onlyListedWords(lower):
		return events.Fieldf("password", "must not be common words with digits, as in Welcome-2026")
	}
	return nil
}

// fromName reports whether the password has the user name or parts of it, forwards or
// backwards, and few letters beside them.
func fromName(password, user string) bool {
	text := only(password, unicode.IsLetter, unicode.IsDigit)
	parts := strings.FieldsFunc(user, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	rest := text
	for _, part := range append([]string{strings.Join(parts, ""), only(user, unicode.IsLetter)}, parts...) {
		if utf8.RuneCountInString(part) < minUser {
			continue
		}
		backwards := []rune(part)
		slices.Reverse(backwards)
		rest = strings.ReplaceAll(strings.ReplaceAll(rest, part, " "), string(backwards), " ")
	}
	return rest != text && utf8.RuneCountInString(only(rest, unicode.IsLetter)) < minBeside
}

// repeats reports whether the password has few different characters, or is one part
// several times.
func repeats(password string) bool {
	runes := []rune(password)
	distinct := slices.Clone(runes)
	slices.Sort(distinct)
	if len(slices.Compact(distinct)) < minDistinct {
		return true
	}
	for unit := 1; unit <= len(runes)/2; unit++ {
		same := true
		for i := unit; i < len(runes) && same; i++ {
			same = runes[i] == runes[i-unit]
		}
		if same { // also where the last part is cut off
			return true
		}
	}
	return false
}

// rows of keyboards, in which neighbours are a sequence.
var rows = []string{"qwertyuiop", "qwertzuiop", "asdfghjkl", "yxcvbnm", "zxcvbnm", "azertyuiop", "qsdfghjklm", "1234567890"}

// steps returns how many characters neither repeat the one before nor continue a
// sequence with it.
func steps(password string) (n int) {
	var before rune
	for _, r := range password {
		if d := r - before; d < -1 || d > 1 {
			if !neighbours(before, r) {
				n++
			}
		}
		before = r
	}
	return n
}

func neighbours(a, b rune) bool {
	return slices.ContainsFunc(rows, func(row string) bool {
		i, j := strings.IndexRune(row, a), strings.IndexRune(row, b)
		return i >= 0 && j >= 0 && (i-j == 1 || j-i == 1)
	})
}

//go:embed words.txt
var wordsText string

// words returns the listed words, the longest first.
var words = sync.OnceValue(func() []string {
	list := strings.Fields(wordsText)
	slices.SortStableFunc(list, func(a, b string) int { return len(b) - len(a) })
	return list
})

// lookalikes are signs that are written in place of letters.
var lookalikes = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

// onlyListedWords reports whether the password has listed words, written with letters or
// with signs that look like them, and few letters beside them.
func onlyListedWords(password string) bool {
	start := strings.TrimRightFunc(password, func(r rune) bool { return !unicode.IsLetter(r) && r != '@' && r != '$' })
	for _, text := range []string{password, lookalikes.Replace(start)} {
		text = only(text, unicode.IsLetter)
		rest := text
		for _, word := range words() {
			rest = strings.ReplaceAll(rest, word, " ")
		}
		if rest != text && utf8.RuneCountInString(only(rest, unicode.IsLetter)) < minLetters {
			return true
		}
	}
	return false
}

// only returns the characters of the text that are of one of the kinds.
func only(text string, kinds ...func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if slices.ContainsFunc(kinds, func(is func(rune) bool) bool { return is(r) }) {
			return r
		}
		return -1
	}, text)
}
