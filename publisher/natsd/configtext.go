package natsd

import (
	"fmt"
	"strings"
)

// writer writes the configuration format of nats-server, indented.
type writer struct {
	strings.Builder
	depth int
}

// linef writes an indented line.
func (w *writer) linef(format string, values ...any) {
	w.WriteString(strings.Repeat("  ", w.depth))
	fmt.Fprintf(w, format, values...)
	w.WriteByte('\n')
}

// open begins a block. The name is empty for a block that is an element of a list.
func (w *writer) open(name string) {
	w.linef("%s", strings.TrimPrefix(name+" {", " "))
	w.depth++
}

// end ends a block.
func (w *writer) end() {
	w.depth--
	w.linef("}")
}

// list begins a list.
func (w *writer) list(name string) {
	w.linef("%s: [", name)
	w.depth++
}

// endList ends a list.
func (w *writer) endList() {
	w.depth--
	w.linef("]")
}
