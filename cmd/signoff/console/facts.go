package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
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
