package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// PrintFacts prints v as JSON if the terminal asks for that; otherwise it calls text.
func PrintFacts(term Terminal, v any, text func(io.Writer)) error {
	if !term.JSON {
		text(term.Out)
		return nil
	}
	encoder := json.NewEncoder(term.Out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// Table prints a heading line and rows in aligned columns.
func Table(w io.Writer, heading []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heading, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

// Columns is the width of a terminal, and labelSize that of the label before the text of a
// line that Wrap prints.
const (
	Columns   = 80
	labelSize = 12
)

// Wrap prints a label and text behind it, in lines of at most Columns. It breaks lines at
// spaces only, so a long word makes a longer line. Further lines are indented.
func Wrap(w io.Writer, label, text string) {
	line, used := fmt.Sprintf("%-*s", labelSize, label), labelSize
	for i, word := range strings.Split(text, " ") {
		size := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+size > Columns:
			fmt.Fprintln(w, line)
			line, used = strings.Repeat(" ", labelSize), labelSize
		default:
			line, used = line+" ", used+1
		}
		line, used = line+word, used+size
	}
	fmt.Fprintln(w, line)
}

// Plural returns a count with its noun, such as "1 event" or "2 events".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Operator returns the name that the audit trail records for administration: the
// user account of the operating system that runs the command.
func Operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
