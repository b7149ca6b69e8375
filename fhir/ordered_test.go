package fhir_test

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"
)

// ordered is a JSON value that keeps the order of keys and the text of
// numbers, read with the standard library's tokens.
type ordered struct {
	Token    string // type and text of a scalar; "{" or "["
	Keys     []string
	Children []*ordered
}

func parseOrdered(t testing.TB, data []byte) *ordered {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readOrdered(d)
	if err != nil {
		t.Fatalf("read %s: %v", data, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("something follows the value: %s", data)
	}
	return v
}

func readOrdered(d *json.Decoder) (*ordered, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, nested := token.(json.Delim)
	if !nested {
		return &ordered{Token: scalar(token)}, nil
	}
	v := &ordered{Token: open.String()}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v.Keys = append(v.Keys, key.(string))
		}
		child, err := readOrdered(d)
		if err != nil {
			return nil, err
		}
		v.Children = append(v.Children, child)
	}
	_, err = d.Token()
	return v, err
}

func scalar(token json.Token) string {
	switch v := token.(type) {
	case string:
		return "string " + v
	case json.Number:
		return "number " + v.String()
	case bool:
		return map[bool]string{true: "true", false: "false"}[v]
	default:
		return "null"
	}
}

// without removes the members that other does not have, and returns their
// names.
func (v *ordered) without(other *ordered) (removed []string) {
	for i := 0; i < len(v.Keys); {
		if slices.Contains(other.Keys, v.Keys[i]) {
			i++
			continue
		}
		removed = append(removed, v.Keys[i])
		v.Keys = slices.Delete(v.Keys, i, i+1)
		v.Children = slices.Delete(v.Children, i, i+1)
	}
	return removed
}
