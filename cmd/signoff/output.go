package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
)

// quiet is the log of commands that say themselves what goes wrong.
var quiet = slog.New(slog.DiscardHandler)

// printFacts prints v as JSON if asked for, else what text prints.
func printFacts(c *common, term terminal, v any, text func(io.Writer)) error {
	if !c.JSON {
		text(term.out)
		return nil
	}
	encoder := json.NewEncoder(term.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// table prints aligned columns under a heading line.
func table(w io.Writer, heading []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heading, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

// plural writes a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
