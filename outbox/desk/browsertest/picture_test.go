package browsertest

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

var update = flag.Bool("update", false, "make the picture of the README anew")

// The README begins with this picture of the page of a case. With -update it is made anew;
// its pixels are not compared, because they depend on the fonts of the machine.
func TestPictureOfTheREADME(t *testing.T) {
	const (
		file    = "case.png"
		largest = 200_000 // bytes
	)
	path := filepath.Join("testdata", file)
	if *update {
		desktest.OK(t, os.WriteFile(path, pictureOfACase(t), 0o644))
	}
	stored, err := os.ReadFile(path)
	desktest.OK(t, err)
	config, err := png.DecodeConfig(bytes.NewReader(stored))
	if err != nil || len(stored) > largest || config.Width != 1440 {
		t.Errorf("%s has %d bytes and is %d pixels wide, %v; want at most %d bytes and 1440 pixels", path, len(stored), config.Width, err, largest)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	desktest.OK(t, err)
	if !bytes.Contains(readme, []byte("(outbox/desk/browsertest/testdata/"+file+")")) {
		t.Errorf("the README does not show %s", file)
	}
}

// pictureOfACase returns a picture of the page of a case that contradicts RECIST 1.1.
func pictureOfACase(t *testing.T) []byte {
	t.Helper()
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	visits, _ := contradicting(71)
	in.Register(visits...)
	in.Sign(visits[0].ID, visits[1].ID, visits[2].ID)
	path := casePath(71)
	b := newTab(t, in.Server.URL)
	b.view(1440, "light")
	b.signedIn(desktest.User, path)
	return compact(t, b.picture(1150))
}

// compact returns a picture with at most 256 colours: those that most pixels have, and for
// all others the nearest of them.
func compact(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	desktest.OK(t, err)
	count := make(map[color.RGBA]int)
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	palette := mostFrequent(count, 256)
	small := image.NewPaletted(bounds, palette)
	draw.Draw(small, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	desktest.OK(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small))
	return out.Bytes()
}

// mostFrequent returns the n colours that are counted most often.
func mostFrequent(count map[color.RGBA]int, n int) color.Palette {
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(n, len(colours))] {
		palette = append(palette, c)
	}
	return palette
}
