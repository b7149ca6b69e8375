package accounts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// store puts a hash in place of what is stored of dr.a's password.
func (d *testOutbox) store(hash string) {
	d.t.Helper()
	must(d.DB().Writer.Exec(`drop trigger if exists people_line_changed`))(d.t)
	must(d.DB().Writer.Exec(`update people set password = ? where user = 'dr.a'`, hash))(d.t)
}

func (d *testOutbox) stored() (hash string) {
	d.t.Helper()
	ok(d.t, d.DB().Reader.Get(&hash, `select password from people where user = 'dr.a'`))
	return hash
}

// rehashed returns how often the audit trail says that dr.a's hash was renewed.
func (d *testOutbox) rehashed() (n int) {
	d.t.Helper()
	ok(d.t, d.Audit(d.t.Context(), outbox.AuditFilter{Subject: "dr.a"}, func(e outbox.AuditEntry) error {
		if e.Action == "pi.password-rehashed" {
			n++
		}
		return nil
	}))
	return n
}

func TestStoredPasswordHashes(t *testing.T) {
	const present = "$argon2id$v=19$m=19456,t=2,p=1$"
	hashed := func(t *testing.T, password string, p argon2id.Params) string {
		t.Helper()
		return must(argon2id.CreateHash(password, &p))(t)
	}
	signIn := func(d *testOutbox, password string) error {
		_, err := d.Accounts().Authenticate(d.t.Context(), "dr.a", password, "192.0.2.1")
		return err
	}

	t.Run("of any cost open to their password only, and are replaced by one of the present cost", func(t *testing.T) {
		for _, p := range []argon2id.Params{
			{Memory: 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32},
			{Memory: 19 * 1024, Iterations: 3, Parallelism: 1, SaltLength: 16, KeyLength: 32},
			{Memory: 19 * 1024, Iterations: 2, Parallelism: 3, SaltLength: 16, KeyLength: 32},
			{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 8, KeyLength: 32},
			{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 64},
			{Memory: 64 * 1024, Iterations: 3, Parallelism: 4, SaltLength: 16, KeyLength: 32},
		} {
			d := newOutbox(t)
			d.store(hashed(t, password, p))
			wantCode(t, signIn(d, "not the password"), events.Unauthenticated)
			if d.stored() == "" || d.rehashed() != 0 {
				t.Errorf("%+v: a failure renewed the hash", p)
			}
			ok(t, signIn(d, password))
			after := d.stored()
			if !strings.HasPrefix(after, present) || d.rehashed() != 1 {
				t.Errorf("%+v: %s is stored, renewed %d times", p, after, d.rehashed())
			}
			d = openAgain(t, d) // remembers nothing
			ok(t, signIn(d, password))
			wantCode(t, signIn(d, "not the password"), events.Unauthenticated)
			if d.stored() != after || d.rehashed() != 1 {
				t.Errorf("%+v: a hash of the present cost was renewed", p)
			}
		}
	})
	t.Run("of the present cost stay as they are", func(t *testing.T) {
		d := newOutbox(t)
		before := d.stored()
		ok(t, signIn(d, password))
		if d.stored() != before || d.rehashed() != 0 {
			t.Errorf("%s became %s", before, d.stored())
		}
	})
	t.Run("that an earlier version stored open", func(t *testing.T) {
		d := newOutbox(t)
		d.store("$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$quyusfeeuAGbpiw09i+j4VKJ+I/5h3mugd4HghmS/x8")
		ok(t, signIn(d, password))
	})
	t.Run("are renewed for a password that is written otherwise or too short for a new one", func(t *testing.T) {
		for typed, normal := range map[string]string{"Å short": "Å short", "ﬁne": "fine"} {
			d := newOutbox(t)
			d.store(hashed(t, normal, argon2id.Params{Memory: 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}))
			ok(t, signIn(d, typed))
			ok(t, signIn(openAgain(t, d), typed))
			if !strings.HasPrefix(d.stored(), present) {
				t.Errorf("%s is stored", d.stored())
			}
		}
	})
	t.Run("keep their cost where the new one cannot be stored, and sign in all the same", func(t *testing.T) {
		d := newOutbox(t)
		before := hashed(t, password, argon2id.Params{Memory: 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
		d.store(before)
		must(d.DB().Writer.Exec(`
			create trigger people_keep before update of password on people
			begin
				select raise(abort, 'this database takes no new password');
			end`))(t)
		ok(t, signIn(d, password))
		ok(t, signIn(d, password))
		if d.stored() != before || d.rehashed() != 0 {
			t.Errorf("%s became %s, renewed %d times", before, d.stored(), d.rehashed())
		}
	})
	t.Run("yield to a password that is set while the one before signs in", func(t *testing.T) {
		d := newOutbox(t)
		d.store(hashed(t, password, argon2id.Params{Memory: 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}))
		set := false
		var o *outbox.Outbox
		o = open(t, d.path, outbox.Config{Clock: func() time.Time { // asked once the stored hash was read
			if o != nil && !set {
				set = true
				oneTime := must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
				ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", oneTime, "another password", "local"))
			}
			return d.clock.now()
		}})
		_, err := o.Accounts().Authenticate(t.Context(), "dr.a", password, "192.0.2.1")
		ok(t, err)
		wantCode(t, signIn(d, password), events.Unauthenticated)
		ok(t, signIn(d, "another password"))
		if d.rehashed() != 0 || !set {
			t.Error("the hash of the password before was renewed")
		}
	})
	t.Run("that are damaged or ask for too much are an error that says so, and are never computed", func(t *testing.T) {
		d := newOutbox(t)
		const salt, key = "AAECAwQFBgcICQoLDA0ODw", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		for name, hash := range map[string]string{
			"nothing":          "",
			"no hash":          "correct horse battery",
			"another kind":     "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
			"argon2i":          "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key,
			"another version":  "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key,
			"half a hash":      "$argon2id$v=19$m=19456,t=2,p=1$" + salt,
			"no cost":          "$argon2id$v=19$$" + salt + "$" + key,
			"no iterations":    "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key,
			"no threads":       "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key,
			"many threads":     "$argon2id$v=19$m=19456,t=2,p=1000$" + salt + "$" + key,
			"negative memory":  "$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + key,
			"4 TiB":            "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
			"2 GiB":            "$argon2id$v=19$m=2097152,t=1,p=1$" + salt + "$" + key,
			"4 G iterations":   "$argon2id$v=19$m=19456,t=4294967295,p=1$" + salt + "$" + key,
			"100 iterations":   "$argon2id$v=19$m=19456,t=100,p=1$" + salt + "$" + key,
			"many small ones":  "$argon2id$v=19$m=0,t=1000000,p=1$" + salt + "$" + key,
			"too large":        "$argon2id$v=19$m=42949672950,t=1,p=1$" + salt + "$" + key,
			"an empty key":     "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
			"a short key":      "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA",
			"an empty salt":    "$argon2id$v=19$m=19456,t=2,p=1$$" + key,
			"a damaged salt":   "$argon2id$v=19$m=19456,t=2,p=1$AAEC*wQFBgcICQoLDA0ODw$" + key,
			"a damaged key":    "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAA*" + key,
			"a key of 1 MiB":   "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + strings.Repeat("AAAA", 350_000),
			"one field more":   "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "$" + key,
			"a field too long": "$argon2id$v=19$m=19456,t=2,p=1" + strings.Repeat("0", 1000) + "$" + salt + "$" + key,
		} {
			d.store(hash)
			for range 6 { // more often than a wrong password locks
				err := signIn(d, password)
				if !errors.Is(err, events.Internal) || !strings.Contains(fmt.Sprint(err), "signoff pi reset dr.a") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if diff := cmp.Diff(hash, d.stored()); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		oneTime := must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t) // as the error says
		ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", oneTime, password, "local"))
		ok(t, signIn(d, password))
	})
}
