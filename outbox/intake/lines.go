package intake

import (
	"bytes"
	"errors"
	"io"
)

// lineOfText reads the next line without white space around it, of what is
// longer than the limit the beginning only. Its error is io.EOF at the end.
func (s *source) lineOfText(limit int) (piece, error) {
	p := piece{line: s.line}
	s.buffer = s.buffer[:0]
	for read := false; ; read = true {
		chunk, err := s.chunk()
		if errors.Is(err, io.EOF) && read {
			break
		}
		if err != nil {
			return p, err
		}
		end := bytes.IndexByte(chunk, '\n')
		if end >= 0 {
			chunk = chunk[:end+1]
		}
		if !p.over {
			s.buffer = append(s.buffer, chunk...)
			p.over = len(s.buffer) > limit
		}
		s.consume(chunk)
		if end >= 0 {
			break
		}
	}
	p.raw = bytes.TrimSpace(s.buffer)
	if p.over && len(p.raw) == 0 {
		p.raw = s.buffer
	}
	return p, nil
}
