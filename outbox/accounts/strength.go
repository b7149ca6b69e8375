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
	minDistinct      = 5 // different characters of a password
	minNonSequential = 5 // characters that neither continue a sequence nor repeat the one before
	minLetters       = 4 // left when listed words, digits and signs are taken away
	minUser          = 3 // characters of a part of the user name that is looked for
	minBesideUser    = 8 // letters beside the parts of the user name
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
	case madeFromName(lower, strings.ToLower(user)):
		return events.Fieldf("password", "must not be made from the user name")
	case isRepetition(lower):
		return events.Fieldf("password", "must not be a repetition, as in abcabcabcabc")
	case countNonSequential(lower) < minNonSequential:
		return events.Fieldf("password", "must not be a sequence, as in abcdef123456 or qwertzuiop")
	case onlyListedWords(lower):
		return events.Fieldf("password", "must not be common words with digits, as in Welcome-2026")
	}
	return nil
}

// madeFromName reports whether the password contains the user name or parts of it,
// forwards or backwards, and fewer than minBesideUser letters beside them. Parts are what
// other characters than letters and digits separate. Both arguments are in lower case.
func madeFromName(password, user string) bool {
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
	return rest != text && utf8.RuneCountInString(only(rest, unicode.IsLetter)) < minBesideUser
}

// isRepetition reports whether the password has fewer than minDistinct different
// characters, or is one part several times. The last repetition may be cut off.
func isRepetition(password string) bool {
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
		if same {
			return true
		}
	}
	return false
}

// keyboardRows are rows of keys, in which neighbours are a sequence.
var keyboardRows = []string{"qwertyuiop", "qwertzuiop", "asdfghjkl", "yxcvbnm", "zxcvbnm", "azertyuiop", "qsdfghjklm", "1234567890"}

// countNonSequential returns how many characters neither repeat the one before nor are
// its neighbour in the order of characters or on a keyboard. The first one counts.
func countNonSequential(password string) (n int) {
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

// neighbours reports whether the characters are beside each other in a row of keys.
func neighbours(a, b rune) bool {
	return slices.ContainsFunc(keyboardRows, func(row string) bool {
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

// onlyListedWords reports whether the password contains listed words, and fewer than
// minLetters letters beside them. The words may be written with signs that look like
// letters.
func onlyListedWords(password string) bool {
	// Digits and signs at the end are a suffix, such as a year, and not read as letters.
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

// only returns the text without the characters that are of none of the kinds.
func only(text string, kinds ...func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if slices.ContainsFunc(kinds, func(is func(rune) bool) bool { return is(r) }) {
			return r
		}
		return -1
	}, text)
}
