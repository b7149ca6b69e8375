package intake

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// member says how one member of an object is read into a T.
type member[T any] struct {
	name     string
	required bool
	read     func(*T, node) *fault
}

// decode reads an object that has these members and no others.
func decode[T any](n node, into *T, members []member[T]) *fault {
	if f := n.must(object); f != nil {
		return f
	}
	for _, item := range n.items {
		m, ok := find(members, item.name)
		if !ok {
			return unknown(item, members)
		}
		if f := m.read(into, item); f != nil {
			return f.within(item.name)
		}
	}
	for _, m := range members {
		if _, ok := n.member(m.name); m.required && !ok {
			return faultf(n.line, events.Required, m.name, "is missing")
		}
	}
	return nil
}

func find[T any](members []member[T], name string) (member[T], bool) {
	for _, m := range members {
		if m.name == name {
			return m, true
		}
	}
	return member[T]{}, false
}

func unknown[T any](item node, members []member[T]) *fault {
	message := "is not a member that is known here"
	for _, m := range members {
		if strings.EqualFold(m.name, item.name) {
			message = fmt.Sprintf("is not a member that is known here; %s is", m.name)
		}
	}
	return faultf(item.line, events.Invalid, shown(item.name), "%s", message)
}

func (n node) must(k kind) *fault {
	switch {
	case n.kind == k:
		return nil
	case n.kind == null:
		return faultf(n.line, events.Invalid, "", "is null; leave out what there is none of")
	}
	return faultf(n.line, events.Invalid, "", "must be %s, not %s", k, n.kind)
}

// textOf reads a string that is not empty.
func textOf[T any](field func(*T) *string) func(*T, node) *fault {
	return func(into *T, n node) *fault {
		if f := n.must(text); f != nil {
			return f
		}
		if n.text == "" {
			return faultf(n.line, events.Invalid, "", "is empty")
		}
		*field(into) = n.text
		return nil
	}
}

// integerOf reads an integer of 32 bits, written without fraction or exponent.
func integerOf[T any](field func(*T) *int32) func(*T, node) *fault {
	return func(into *T, n node) *fault {
		if f := n.must(number); f != nil {
			return f
		}
		i, err := strconv.ParseInt(n.text, 10, 32)
		if err != nil {
			return faultf(n.line, events.Invalid, "", "must be an integer below 2147483648, not %s", shown(n.text))
		}
		*field(into) = int32(i)
		return nil
	}
}

// decimalOf reads a decimal and keeps its text.
func decimalOf[T any](field func(*T) *events.Decimal) func(*T, node) *fault {
	return func(into *T, n node) *fault {
		if f := n.must(number); f != nil {
			return f
		}
		d, err := events.ParseDecimal(n.text)
		if err != nil {
			return &fault{line: n.line, err: asError(err, "")}
		}
		*field(into) = d
		return nil
	}
}

// objectOf reads an object into what field points to.
func objectOf[T, U any](members []member[U], field func(*T) *U) func(*T, node) *fault {
	return func(into *T, n node) *fault { return decode(n, field(into), members) }
}
