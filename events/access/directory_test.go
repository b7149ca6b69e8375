package access_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

func TestTheDirectoryKeepsTheLastOfEach(t *testing.T) {
	signer, _ := newSigner(t)
	key := signer.Key(now)
	retired := key
	retired.Until = now.Add(time.Hour)
	first := access.Partner{ID: "acme", Name: "Acme", Studies: []string{"A"}, Secrets: []access.Secret{{SHA256: access.DigestSecret("s"), Expires: &now}}, Enabled: true}
	second := access.Partner{ID: "acme", Studies: []string{"A", "B"}, Secrets: []access.Secret{}, Enabled: true}
	other := access.Partner{ID: "Other", Studies: []string{}, Secrets: []access.Secret{}}

	var d access.Directory
	for _, e := range []events.Event{
		accessEvent(t, events.AccessPartner, first.EventSubject(), first),
		accessEvent(t, events.AccessKey, key.EventSubject(), key),
		accessEvent(t, events.AccessPartner, other.EventSubject(), other),
		accessEvent(t, events.AccessPartner, second.EventSubject(), second),
		accessEvent(t, events.AccessKey, key.EventSubject(), retired),
	} {
		var err error
		if d, err = d.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]access.Partner{other, second}, d.Partners()); diff != "" {
		t.Errorf("partners (-want +got):\n%s", diff)
	}
	if p, ok := d.Partner("acme"); !ok || !p.Granted("B") {
		t.Errorf("acme is %v, %t", p, ok)
	}
	if _, ok := d.Partner("nobody"); ok {
		t.Error("nobody is a partner")
	}
	keys := d.Keys()
	if len(keys) != 1 || keys[0].ID() != key.ID() || !keys[0].Until.Equal(retired.Until) || !keys[0].From.Equal(now) {
		t.Errorf("the keys are %v", keys)
	}
}

func TestApplyLeavesTheOldDirectoryAsItWas(t *testing.T) {
	var d access.Directory
	a := access.Partner{ID: "a", Studies: []string{"A"}, Enabled: true}
	one := d.WithPartner(a)
	a.Enabled = false
	two := one.WithPartner(a).WithPartner(access.Partner{ID: "b"})
	if len(d.Partners()) != 0 || len(one.Partners()) != 1 || !one.Partners()[0].Enabled || len(two.Partners()) != 2 || two.Partners()[0].Enabled {
		t.Errorf("%v, %v, %v", d, one, two)
	}
}

// grants returns the events of n partners in the order of the log.
func grants(t testing.TB, n int) []events.Event {
	t.Helper()
	list := make([]events.Event, n)
	var end events.ChainHead
	for i := range list {
		p := access.Partner{
			ID: fmt.Sprintf("partner-%05d", i), Name: "A partner", Studies: []string{"A", "B"},
			Secrets: []access.Secret{{SHA256: access.DigestSecret(fmt.Sprint(i))}}, Enabled: true,
		}
		list[i] = accessEvent(t, events.AccessPartner, p.EventSubject(), p)
		list[i].Seal(end)
		end = list[i].ChainHead()
	}
	return list
}

// fold applies all events with one Fold.
func fold(t testing.TB, list []events.Event) access.Directory {
	t.Helper()
	f := access.Directory{}.Fold()
	for _, e := range list {
		if err := f.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return f.Directory()
}

func TestAFold(t *testing.T) {
	list := grants(t, 3)
	t.Run("has the result of applying the events one by one", func(t *testing.T) {
		var one access.Directory
		for _, e := range list {
			var err error
			if one, err = one.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(one.Partners(), fold(t, list).Partners()); diff != "" || !one.Same(fold(t, list)) {
			t.Errorf("-one by one +folded:\n%s", diff)
		}
	})
	t.Run("leaves the directories that it returned as they were", func(t *testing.T) {
		start := fold(t, list[:1])
		f := start.Fold()
		for i, e := range list[1:] {
			if err := f.Apply(e); err != nil {
				t.Fatal(err)
			}
			if got := f.Directory(); len(got.Partners()) != i+2 {
				t.Errorf("it holds %v", got.Partners())
			}
		}
		before := f.Directory()
		gone := access.Partner{ID: "partner-00000"}
		if err := f.Apply(accessEvent(t, events.AccessPartner, gone.EventSubject(), gone)); err != nil {
			t.Fatal(err)
		}
		if len(start.Partners()) != 1 || len(before.Partners()) != 3 || !before.Partners()[0].Enabled || f.Directory().Partners()[0].Enabled {
			t.Errorf("%v, %v, %v", start, before, f.Directory())
		}
	})
	t.Run("is as before after an event with another body", func(t *testing.T) {
		f := fold(t, list).Fold()
		if err := f.Apply(accessEvent(t, events.AccessPartner, "Partner/b", access.Partner{ID: "a"})); events.CodeOf(err) != events.Invalid {
			t.Errorf("got %v, want an Invalid error", err)
		}
		if !f.Directory().Same(fold(t, list)) {
			t.Errorf("it holds %v", f.Directory())
		}
	})
	t.Run("of twice as many partners allocates about twice as much", func(t *testing.T) {
		some, many := allocated(func() { fold(t, grants(t, 2000)) }), allocated(func() { fold(t, grants(t, 8000)) })
		if many > 8*some { // a copy for each event would take 16 times as much
			t.Errorf("2,000 partners take %d bytes, 8,000 take %d", some, many)
		}
	})
}

// allocated returns the bytes that fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDirectoriesOfTheSameEventsAreTheSame(t *testing.T) {
	list := grants(t, 3)
	if !fold(t, list).Same(fold(t, list)) {
		t.Error("two that were folded from the same events are not the same")
	}
	other := grants(t, 2)
	gone := access.Partner{ID: "partner-00002"}
	e := accessEvent(t, events.AccessPartner, gone.EventSubject(), gone)
	e.Seal(other[1].ChainHead())
	if fold(t, list).Same(fold(t, list[:2])) || fold(t, list).Same(fold(t, append(other, e))) {
		t.Error("two that were folded from other events are the same")
	}
}

func TestDirectoriesAreTheSameUntilSomethingIsApplied(t *testing.T) {
	signer, _ := newSigner(t)
	var empty access.Directory
	one := empty.WithPartner(access.Partner{ID: "a"})
	again, key := one.WithPartner(access.Partner{ID: "a"}), one.WithKey(signer.Key(now))
	copied := one
	if !empty.Same(access.Directory{}) || !one.Same(copied) {
		t.Error("a directory is not the same as its copy")
	}
	if empty.Same(one) || one.Same(again) || one.Same(key) || again.Same(key) {
		t.Error("directories are the same although something was applied")
	}
}

func TestEventsOfOtherKindsChangeNothing(t *testing.T) {
	d := (access.Directory{}).WithPartner(access.Partner{ID: "a"})
	for _, kind := range []events.Kind{events.AccessGranted, events.AccessRevoked, "access.contact.optional.v1"} {
		got, err := d.Apply(events.Event{Type: events.DefaultNamespace.Type(kind), Data: []byte("[")})
		if err != nil || len(got.Partners()) != 1 || got.Current() != nil || !got.Same(d) {
			t.Errorf("%s returns %v, %v; %v", kind, got, err, got.Current())
		}
	}
}

func TestAnEventThatOnlyANewerVersionKnowsMakesTheDirectoryOutdated(t *testing.T) {
	signer, _ := newSigner(t)
	key := signer.Key(now)
	for _, kind := range []events.Kind{"access.role.v1", "access.partner.v2", "access.key.v10", "access.granted.v2"} {
		t.Run(string(kind), func(t *testing.T) {
			d := (access.Directory{}).WithPartner(access.Partner{ID: "a", Enabled: true})
			got, err := d.Apply(events.Event{Type: events.DefaultNamespace.Type(kind), Data: []byte("[")})
			if err != nil || got.Same(d) || d.Current() != nil {
				t.Fatalf("the directory before is %v; %v", d.Current(), err)
			}
			for _, e := range []events.Event{
				accessEvent(t, events.AccessKey, key.EventSubject(), key),
				accessEvent(t, events.AccessPartner, "Partner/a", access.Partner{ID: "a"}),
			} {
				if got, err = got.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := got.Current(); events.CodeOf(err) != events.Outdated || !strings.Contains(err.Error(), string(kind)) {
				t.Errorf("after known events it is %v", err)
			}
			if p, ok := got.Partner("a"); !ok || p.Enabled || len(got.Keys()) != 1 {
				t.Error("what is known was not applied")
			}
		})
	}
}

func TestAccessEventsWithAnotherBodyAreRefused(t *testing.T) {
	signer, private := newSigner(t)
	key := signer.Key(now)
	var whole jose.JSONWebKey
	if err := whole.UnmarshalJSON(private); err != nil {
		t.Fatal(err)
	}
	renamed := key
	renamed.JWK.KeyID = "another"
	for name, e := range map[string]events.Event{
		"a partner without id":       accessEvent(t, events.AccessPartner, "Partner/", access.Partner{}),
		"another partner's subject":  accessEvent(t, events.AccessPartner, "Partner/b", access.Partner{ID: "a"}),
		"a partner id that is none":  accessEvent(t, events.AccessPartner, "Partner/a.b", access.Partner{ID: "a.b"}),
		"a list of partners":         accessEvent(t, events.AccessPartner, "Partner/a", []string{"a"}),
		"a partner as key":           accessEvent(t, events.AccessKey, "Key/a", access.Partner{ID: "a"}),
		"another key's subject":      accessEvent(t, events.AccessKey, "Key/a", key),
		"a private key":              accessEvent(t, events.AccessKey, key.EventSubject(), access.Key{JWK: whole, From: now}),
		"a name not of the key":      accessEvent(t, events.AccessKey, "Key/another", renamed),
		"a symmetric key":            accessEvent(t, events.AccessKey, "Key/k", access.Key{JWK: jose.JSONWebKey{Key: []byte("secret"), KeyID: "k"}}),
		"a key of another algorithm": accessEvent(t, events.AccessKey, "Key/ed", edKey(t)),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := (access.Directory{}).Apply(e)
			if events.CodeOf(err) != events.Invalid {
				t.Errorf("got %v, want an Invalid error", err)
			}
			if len(d.Partners())+len(d.Keys()) != 0 {
				t.Errorf("the directory holds %v", d)
			}
		})
	}
}

func TestFoldingIsLastPerID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d access.Directory
		model := make(map[string]bool)
		for _, id := range rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c"})).Draw(t, "ids") {
			enabled := rapid.Bool().Draw(t, "enabled")
			model[id] = enabled
			d = d.WithPartner(access.Partner{ID: id, Enabled: enabled})
		}
		got := make(map[string]bool)
		var ids []string
		for _, p := range d.Partners() {
			got[p.ID] = p.Enabled
			ids = append(ids, p.ID)
		}
		if diff := cmp.Diff(model, got); diff != "" || !slices.Equal(ids, slices.Sorted(maps.Keys(model))) {
			t.Fatalf("-model +directory:\n%s%v", diff, ids)
		}
	})
}

// BenchmarkFold applies the events of 10,000 partners, and compares that with
// putting the partners of the same events into a plain map.
func BenchmarkFold(b *testing.B) {
	list := grants(b, 10_000)
	var folding, inserting time.Duration
	for b.Loop() {
		begun := time.Now()
		fold(b, list)
		folding += time.Since(begun)
		begun = time.Now()
		plain := make(map[string]access.Partner)
		for _, e := range list {
			var p access.Partner
			if err := json.Unmarshal(e.Data, &p); err != nil {
				b.Fatal(err)
			}
			plain[p.ID] = p
		}
		inserting += time.Since(begun)
	}
	b.ReportMetric(folding.Seconds()*1000/float64(b.N), "ms-fold")
	b.ReportMetric(inserting.Seconds()*1000/float64(b.N), "ms-plain-map")
	b.ReportMetric(float64(folding)/float64(inserting), "ratio")
}
