package api

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/klauspost/compress/gzip"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

const (
	minCompressed = 1 << 10 // bytes; smaller answers are not compressed
	pageOverhead  = 1 << 10 // bytes that a page needs besides its bodies, about
	maxPages      = 1 << 20 // more than fit into any sensible bound
)

// pageCache has the bodies of answers to searches and history by their ETag, which
// changes with everything on which an answer depends. It must be used only after access
// was checked. It removes the pages that were used least recently. A nil pageCache
// stores nothing.
type pageCache struct {
	bound int64 // of bytes

	mu    sync.Mutex
	bytes int64
	pages *simplelru.LRU[string, *page]
}

// page is a body in its parts, and its compressed form once it has been asked for.
type page struct {
	body  [][]byte
	bytes int64 // its part of pageCache.bytes; guarded by pageCache.mu

	compress   sync.Once
	compressed []byte
}

// newPageCache returns a cache of at most bound bytes, or nil for a negative bound.
func newPageCache(bound int64) *pageCache {
	if bound < 0 {
		return nil
	}
	c := &pageCache{bound: bound}
	var err error
	if c.pages, err = simplelru.NewLRU(maxPages, func(_ string, p *page) { c.bytes -= p.bytes }); err != nil {
		panic(err) // only for a size below 1
	}
	return c
}

// size returns the bytes of all pages.
func (c *pageCache) size() int64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

func (c *pageCache) get(tag string) (*page, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pages.Get(tag)
}

// accepts reports whether the cache stores a page with a body of this size. No page may
// need more than a quarter of the bound.
func (c *pageCache) accepts(size int) bool {
	return c != nil && int64(size)+pageOverhead <= c.bound/4
}

// add stores a page, unless its body has outgrown the size for which accepts was asked.
// The body of a stored page must not be changed.
func (c *pageCache) add(tag string, p *page) {
	size := 0
	for _, part := range p.body {
		size += cap(part)
	}
	if !c.accepts(size) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages.Remove(tag) // another request may have stored it
	p.bytes = int64(size) + pageOverhead
	c.pages.Add(tag, p)
	c.grow(p.bytes)
}

// grow adds to the bytes of all pages, and removes pages while these exceed the bound.
// The cache must be locked.
func (c *pageCache) grow(more int64) {
	c.bytes += more
	for c.bytes > c.bound {
		c.pages.RemoveOldest()
	}
}

// write sends a page of the cache, compressed if the client accepts that and the page is
// not small.
func (c *pageCache) write(w http.ResponseWriter, r *http.Request, tag string, p *page) {
	if compressed := c.compressed(r, tag, p); compressed != nil {
		w.Header().Set("Content-Encoding", "gzip")
		write(w, compressed)
		return
	}
	write(w, p.body...)
}

// compressed returns a page of the cache compressed, or nil if the client does not accept
// that or the page is small. The first client that accepts it has the page compressed.
func (c *pageCache) compressed(r *http.Request, tag string, p *page) []byte {
	if length(p.body) < minCompressed || !rest.AcceptsGzip(r) {
		return nil
	}
	p.compress.Do(func() {
		p.compressed = compress(p.body...)
		c.mu.Lock()
		defer c.mu.Unlock()
		if stored, ok := c.pages.Peek(tag); ok && stored == p { // it was not removed meanwhile
			p.bytes += int64(cap(p.compressed))
			c.grow(int64(cap(p.compressed)))
		}
	})
	return p.compressed
}

var writers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// compress returns the body compressed by gzip.
func compress(body ...[]byte) []byte {
	var out bytes.Buffer
	w, _ := writers.Get().(*gzip.Writer)
	defer writers.Put(w)
	w.Reset(&out)
	for _, part := range body {
		if _, err := w.Write(part); err != nil {
			panic("a bytes.Buffer returns no errors")
		}
	}
	if err := w.Close(); err != nil {
		panic("a bytes.Buffer returns no errors")
	}
	return bytes.Clone(out.Bytes())
}

// buffers has memory for bodies that are not stored in the page cache.
type buffers struct{ pool sync.Pool }

// maxBuffer is the size of the largest buffer that is used again.
const maxBuffer = 4 << 20

// get returns an empty buffer for at least size bytes. The caller passes it to put when it
// does not need it any more.
func (b *buffers) get(size int) *[]byte {
	stored, _ := b.pool.Get().(*[]byte)
	if stored == nil || cap(*stored) < size {
		stored = new([]byte)
		*stored = make([]byte, 0, size)
	}
	*stored = (*stored)[:0]
	return stored
}

func (b *buffers) put(buffer *[]byte) {
	if cap(*buffer) <= maxBuffer {
		b.pool.Put(buffer)
	}
}
