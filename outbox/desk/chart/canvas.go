package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// canvas collects an SVG element, and remembers which places are taken, so that no label
// is drawn over another.
type canvas struct {
	out   []byte
	taken []box
	lines []segment // labels avoid them where there is another place
}

// box is a rectangle.
type box struct{ left, top, right, bottom float64 }

func (b box) overlaps(o box) bool {
	return b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom
}

// segment is a straight line.
type segment struct{ x1, y1, x2, y2 float64 }

// crosses reports whether some of the segment lies within the box.
func (s segment) crosses(b box) bool {
	from, to := 0.0, 1.0 // the part of the segment that is not cut off yet
	for _, edge := range [][2]float64{
		{s.x1 - s.x2, s.x1 - b.left}, {s.x2 - s.x1, b.right - s.x1},
		{s.y1 - s.y2, s.y1 - b.top}, {s.y2 - s.y1, b.bottom - s.y1},
	} {
		switch p, q := edge[0], edge[1]; {
		case p == 0 && q <= 0:
			return false
		case p < 0:
			from = math.Max(from, q/p)
		case p > 0:
			to = math.Min(to, q/p)
		}
	}
	return from < to
}

// style is a class of texts with what the style sheet says of its size.
type style struct {
	class string
	size  float64
	bold  bool
}

// Styles of texts; chart.css has their sizes.
var (
	styleAxis    = style{"ax", 12.5, false}
	styleAxisSm  = style{"ax sm", 11.5, false}
	styleVisit   = style{"vis", 12.5, true}
	styleValue   = style{"val", 14, true}
	styleLabel   = style{"lb", 12.5, false}
	styleLabelSm = style{"lb sm", 11.5, false}
	styleID      = style{"lid sm", 11.5, true}
)

// tinted returns the style in the colour of a response, pr or pd.
func (s style) tinted(response string) style {
	return style{s.class + " t-" + response, s.size, true}
}

// Anchors of texts.
const (
	start  = "start"
	middle = "middle"
	end    = "end"
)

// spot is a place for a text.
type spot struct {
	x, y   float64 // of the text's base line
	anchor string
}

// extent returns the box of a text.
func (s style) extent(text string, at spot) box {
	w := s.widthOf(text)
	left := at.x
	switch at.anchor {
	case middle:
		left -= w / 2
	case end:
		left -= w
	}
	return box{left, at.y - 0.8*s.size, left + w, at.y + 0.24*s.size}
}

// widthOf returns about how wide a text is. It is rather too large than too small,
// because the font of the reader is not known.
func (s style) widthOf(text string) float64 {
	w := 0.0
	for _, r := range text {
		switch {
		case strings.ContainsRune(" .,:;'|!()[]/iljtfrI·", r):
			w += 0.38
		case r == 'm' || r == 'M' || r == 'w' || r == 'W' || r == '%':
			w += 0.95
		case r >= '0' && r <= '9':
			w += 0.635
		case unicode.IsUpper(r):
			w += 0.72
		case r < 0x2E80:
			w += 0.62
		default:
			w += 1.05
		}
	}
	if s.bold {
		w *= 1.06
	}
	return w * s.size
}

// fit returns the text, cut so that it is at most as wide as max.
func (s style) fit(text string, limit float64) string {
	if s.widthOf(text) <= limit {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && s.widthOf(string(runes)+"…") > limit {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

// begin starts the element with its title and its description. Id is the prefix of its
// ids, class are its classes.
func (c *canvas) begin(id, class string, width, height float64, title, description string) {
	c.out = make([]byte, 0, 8<<10)
	id = safeID(id)
	c.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 `, width, ` `, height, `" role="img" aria-labelledby="`, id, `-t `, id, `-d" class="`, class, `">`)
	c.put(`<title id="`, id, `-t">`, template.HTMLEscapeString(title), `</title><desc id="`, id, `-d">`, template.HTMLEscapeString(description), `</desc>`)
}

// end returns the element.
func (c *canvas) end() template.HTML {
	c.put(`</svg>`)
	return template.HTML(c.out) //nolint:gosec // every text in it went through HTMLEscapeString
}

// put appends strings as they are, and numbers with at most one decimal.
func (c *canvas) put(parts ...any) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			c.out = append(c.out, p...)
		case float64:
			c.out = appendNumber(c.out, p)
		default:
			panic(fmt.Sprintf("chart: %T is neither a string nor a number", p))
		}
	}
}

func appendNumber(out []byte, n float64) []byte {
	n = math.Round(n*10) / 10
	if n == 0 {
		n = 0 // not -0
	}
	return strconv.AppendFloat(out, n, 'f', -1, 64)
}

// text draws a text and takes its place.
func (c *canvas) text(s style, text string, at spot) {
	b := s.extent(text, at)
	c.taken = append(c.taken, box{b.left - 3, b.top, b.right + 3, b.bottom}) // words need a space between them
	c.put(`<text class="`, s.class, `" x="`, at.x, `" y="`, at.y, `"`)
	if at.anchor != start {
		c.put(` text-anchor="`, at.anchor, `"`)
	}
	c.put(`>`, template.HTMLEscapeString(text), `</text>`)
}

// path draws a path.
func (c *canvas) path(class string, parts ...any) {
	c.put(`<path class="`, class, `" d="`)
	c.put(parts...)
	c.put(`"/>`)
}

// free reports whether a box lies within the limits and overlaps nothing; if strict, nor
// any line.
func (c *canvas) free(b, limits box, strict bool) bool {
	if b.left < limits.left || b.right > limits.right || b.top < limits.top || b.bottom > limits.bottom {
		return false
	}
	for _, t := range c.taken {
		if b.overlaps(t) {
			return false
		}
	}
	if strict {
		for _, l := range c.lines {
			if l.crosses(b) {
				return false
			}
		}
	}
	return true
}

// place draws the text at the first of the spots that is free of lines and labels, or else
// at the first that is free of labels. It reports whether there was one.
func (c *canvas) place(s style, text string, limits box, spots []spot) bool {
	return c.placeAt(s, text, limits, spots, true) || c.placeAt(s, text, limits, spots, false)
}

// placeAt draws the text at the first of the spots that is free of labels, and if strict is
// set also of lines. It reports whether there was one.
func (c *canvas) placeAt(s style, text string, limits box, spots []spot, strict bool) bool {
	for _, at := range spots {
		if c.free(s.extent(text, at), limits, strict) {
			c.text(s, text, at)
			return true
		}
	}
	return false
}

// clip returns the text with at most so many characters.
func clip(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}

// visible returns the text with each character that a reader would not see, or that would
// change how the others are shown, written as its code point: [U+202E].
func visible(text string) string {
	hidden := func(r rune) bool { return r == unicode.ReplacementChar || Invisible(r) }
	if strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, "[U+%04X]", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// safeID returns the id with everything but letters, digits, _ and - replaced.
func safeID(id string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, id)
}

// joinWords returns the words as a list in a sentence: a, b and c. Of more than limit it
// names the first ones and the number of the others.
func joinWords(words []string, limit int) string {
	if more := len(words) - limit; more > 0 {
		return strings.Join(words[:limit], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// niceStep returns a step of 1, 2 or 5 times a power of ten by which an axis to top has
// about four steps.
func niceStep(top float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(top/4.5)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= top/4.5*0.999 {
			return m * power
		}
	}
	return 10 * power
}

// Invisible reports whether a character shows nothing, or changes what others show. That holds
// for some that are letters, marks or symbols by their category, too.
func Invisible(r rune) bool {
	const blankBraille = '\u2800'
	return r == blankBraille || !unicode.IsGraphic(r) ||
		unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
