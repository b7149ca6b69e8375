package api_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/stream/streamtest"
)

const (
	connections = 16
	partners    = 8
	pageSize    = 50
	rounds      = 15
)

// large makes the benchmarks use 1,000,000 reports in 200 studies in place of 20,000 in
// one. The model then has 9 GB. With -short it has 1,000 reports. Compile with the CGO_CFLAGS of
// cmd/signoff/Dockerfile, so that SQLite maps more than 2 GiB of it.
var large = flag.Bool("large", false, "benchmark with 1,000,000 reports in 200 studies")

// BenchmarkPage requests pages of 50 reports of about 4.5 KB over 16 connections
// of eight partners, and as often the same number of bytes from memory, behind
// the same middleware. The metric of-memory is the rate of the API divided by
// that of the memory, the median of several rounds. The metric cpu-of-memory is
// the same for processor time, client included, which other load on the machine
// changes less.
//
// Hot pages have been asked for before. Cold ones are not in the page cache, because
// the requests ask for more pages in turn than it can store. Those by subject have all
// matches, the others with a filter the first 50.
//
// What bounds the figures, in processor time on a machine with two processors: An answer
// 304 costs 70 µs, of which net/http and the client need 60 and the API 4 to 8: the digest of the
// access token, reading the query and the digest of the ETag. A cold page costs 260 µs more
// than its bytes from memory. SQLite needs half of that, and a quarter of its time are two
// copies of each body: from the row, and to the text of all. The driver copies that text
// once more, because it cannot pass memory of SQLite; with database/sql that is a quarter.
// A page by date, by subject or by _lastUpdated also has its rows and its total looked up.
func BenchmarkPage(b *testing.B) {
	s := serveBench(b, api.Config{})
	first := s.search(0)
	tag := s.get(b, first).header.Get("Etag")
	always := func(int64) string { return first }
	pages := int64(s.reports / pageSize)
	page := func(i int64) string { return s.search(i) + "&page=" + strconv.FormatInt(s.mix(i, pages)+1, 10) }
	for _, c := range []struct {
		name   string
		server *server
		path   func(i int64) string
		header [2]string
	}{
		{"hot", s.server, always, [2]string{}},
		{"hot-gzip", s.server, always, [2]string{"Accept-Encoding", "gzip"}},
		{"unchanged", s.server, always, [2]string{"If-None-Match", tag}},
		{"walk", s.server, func(i int64) string { return page(i % 100) }, [2]string{}},
		{"cold", s.server, page, [2]string{}},
		{"cold-gzip", s.server, page, [2]string{"Accept-Encoding", "gzip"}},
		{"cold-subject", s.server, func(i int64) string {
			return s.search(i) + "&subject=subject%20" + strconv.FormatInt(s.mix(i, pages*pageSize/bulkSubject), 10)
		}, [2]string{}},
		{"cold-date", s.server, func(i int64) string {
			from := time.Date(2014, time.January, int(s.mix(i, 3000)), 0, 0, 0, 0, time.UTC)
			return s.search(i) + from.Format("&date=ge2006-01-02") + from.AddDate(0, 1, 0).Format("&date=lt2006-01-02")
		}, [2]string{}},
		{"cold-lastUpdated", s.server, func(i int64) string {
			return s.search(i) + noon.Add(-time.Hour+time.Duration(s.mix(i, pages*pageSize-pageSize))*time.Microsecond).Format("&_sort=_lastUpdated&_lastUpdated=gt2006-01-02T15:04:05.000000")
		}, [2]string{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			headers := map[string]string{"Accept-Encoding": "identity"}
			if c.header[0] != "" {
				headers[c.header[0]] = c.header[1]
			}
			for i := range int64(400) { // so that the operating system has them
				if err := fetch(http.DefaultClient, c.server.URL+api.DefaultBasePath+c.path(i), s.credentials(i, headers)); err != nil {
					b.Fatal(err)
				}
			}
			page := c.server.get(b, c.path(0), header("Accept-Encoding", "identity"))
			page.bundle(b)
			memory := httptest.NewServer(rest.Wrap(fromMemory(b, page), slog.New(slog.DiscardHandler)))
			defer memory.Close()
			var baseline, took, baselineCPU, tookCPU time.Duration
			var ratios []float64
			for round := range rounds { // in turn, because other load on the machine changes
				from, to := b.N*round/rounds, b.N*(round+1)/rounds
				b.StopTimer()
				began := streamtest.ProcessorTime(b)
				memoryTook := s.load(b, memory.URL, c.path, headers, from, to)
				between := streamtest.ProcessorTime(b)
				b.StartTimer()
				apiTook := s.load(b, c.server.URL, c.path, headers, from, to)
				baseline, took = baseline+memoryTook, took+apiTook
				baselineCPU, tookCPU = baselineCPU+between-began, tookCPU+streamtest.ProcessorTime(b)-between
				ratios = append(ratios, memoryTook.Seconds()/apiTook.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(b.N)/took.Seconds(), "pages/s")
			b.ReportMetric(float64(b.N)/baseline.Seconds(), "memory-pages/s")
			b.ReportMetric(float64(len(page.body)), "bytes/page")
			b.ReportMetric(ratios[rounds/2], "of-memory")
			b.ReportMetric(baselineCPU.Seconds()/tookCPU.Seconds(), "cpu-of-memory")
			b.ReportMetric(float64(tookCPU.Microseconds())/float64(b.N), "cpu-µs/page")
			b.ReportMetric(rssAnon(b), "RssAnon-MB")
		})
	}
}

// rssAnon returns the memory of the process that is not of files, in MB.
func rssAnon(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kilobytes, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kilobytes / 1024
		}
	}
	return 0
}

// benchServer is a server with studies of many reports and eight partners.
type benchServer struct {
	*modelServer
	bulk
	accessTokens [partners]string
}

func serveBench(b *testing.B, cfg api.Config) *benchServer {
	b.Helper()
	path := filepath.Join(b.TempDir(), "readmodel.db")
	s := &benchServer{}
	switch {
	case *large:
		s.bulk = writeBulk(b, path, 200, 5_000)
	case testing.Short():
		s.bulk = writeBulk(b, path, 1, 1_000)
	default:
		s.bulk = writeBulk(b, path, 1, 20_000)
	}
	cfg.SearchWait, cfg.SearchTimeout = unhurried.SearchWait, unhurried.SearchTimeout
	s.modelServer = serveFile(b, path, cfg, s.studies...)
	maps.Copy(s.modelServer.heads, s.bulk.chainHeads)
	for i := range s.accessTokens {
		p := access.Partner{ID: "partner" + strconv.Itoa(i), Studies: s.studies, Secrets: secrets(), Enabled: true}
		s.announce(events.AccessPartner, p.EventSubject(), p)
		s.accessTokens[i] = issue(b, s.signer, p.ID, noon.Add(-time.Minute))
	}
	return s
}

// search returns the path of the search of request i, of the studies in turn.
func (s *benchServer) search(i int64) string {
	return "/DiagnosticReport?researchstudy=" + s.studies[i%int64(len(s.studies))]
}

// mix returns a number below n for request i, such that requests to the same study get
// all numbers in turn.
func (s *benchServer) mix(i, n int64) int64 { return i / int64(len(s.studies)) * 7919 % n }

// credentials returns the headers with those of one of the partners.
func (s *benchServer) credentials(i int64, headers map[string]string) http.Header {
	h := http.Header{}
	for name, value := range headers {
		h.Set(name, value)
	}
	h.Set("Authorization", "Bearer "+s.accessTokens[i%partners])
	h.Set("X-Partnerid", "partner"+strconv.FormatInt(i%partners, 10))
	return h
}

// fromMemory returns a handler that always sends the same answer, as it is or
// compressed once.
func fromMemory(b *testing.B, a answer) http.Handler {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
	if err != nil {
		b.Fatal(err)
	}
	_, err = w.Write(a.body)
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Content-Type", "Etag", "Cache-Control", "Vary", "Crit-Study-Number"} {
			w.Header()[name] = a.header[name]
		}
		body := a.body
		switch {
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(http.StatusNotModified)
			return
		case r.Header.Get("Accept-Encoding") == "gzip":
			w.Header().Set("Content-Encoding", "gzip")
			body = compressed.Bytes()
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// load makes the requests from one number up to another over the connections and
// returns the time for all.
func (s *benchServer) load(b *testing.B, url string, path func(i int64) string, headers map[string]string, from, to int) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	next.Store(int64(from))
	var group sync.WaitGroup
	began := time.Now()
	for range connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(to); i = next.Add(1) - 1 {
				if err := fetch(client, url+api.DefaultBasePath+path(i), s.credentials(i, headers)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(began)
}

func fetch(client *http.Client, url string, headers http.Header) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header = headers
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answer is %s", response.Status)
	}
	return nil
}
