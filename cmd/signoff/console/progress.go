package console

import (
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Progress is a progress bar on standard error. It prints nothing if that is not a
// terminal.
type Progress struct {
	all *mpb.Progress
	bar *mpb.Bar
}

// NewProgress starts a progress bar that is labelled what.
func NewProgress(t Terminal, what string, total int64) *Progress {
	f, ok := t.Err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &Progress{}
	}
	return startProgress(f, what, total)
}

func startProgress(w io.Writer, what string, total int64) *Progress {
	all := mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh())
	bar := all.AddBar(total,
		mpb.PrependDecorators(decor.Name(what+" "), decor.CountersNoUnit("%d of %d")),
		mpb.AppendDecorators(decor.Percentage(), decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace), "")))
	return &Progress{all, bar}
}

// To sets the bar to done of total. The total may differ from that of earlier calls.
func (p *Progress) To(done, total int64) {
	if p.bar != nil {
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(done)
	}
}

// Add advances the bar by n.
func (p *Progress) Add(n int) {
	if p.bar != nil {
		p.bar.IncrBy(n)
	}
}

// End finishes the bar, so that further output does not disturb it.
func (p *Progress) End() {
	if p.bar != nil {
		p.bar.SetTotal(-1, true)
		p.all.Wait()
	}
}
