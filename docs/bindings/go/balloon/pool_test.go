package balloon

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

func newPool(t *testing.T, guests uint32) *Pool {
	pool, err := NewPool(Config{Policy: "fixed", MaxGuests: guests, Pages: 1 << 20, BootGrace: 1})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestMistakesHaveTheirError(t *testing.T) {
	if _, err := NewPool(Config{}); err != ErrInvalid {
		t.Error("a pool of nothing:", err)
	}
	if _, err := NewPool(Config{Policy: "nonsense", MaxGuests: 1, Pages: 1000}); err != ErrInvalid {
		t.Error("no such policy:", err)
	}
	pool := newPool(t, 1)
	id, err := pool.Add(Guest{Max: 2000, Current: 1000}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Add(Guest{Max: 2000}, 0); err != ErrNoSpace {
		t.Error("two guests in a pool for one:", err)
	}
	if err := pool.SetSize(id+1, 1, 0); err != ErrInvalid {
		t.Error("no such guest:", err)
	}
	if err := pool.SetFlags(id, 1<<20, 0); err != ErrInvalid {
		t.Error("no such flag:", err)
	}
	if ErrNoSpace.Error() == "" {
		t.Error("an error without words")
	}
	pool.Close()
	pool.Close()
	if _, err := pool.Status(); err != ErrState {
		t.Error("a closed pool:", err)
	}
}

func TestAllArgumentsComeThrough(t *testing.T) {
	pool := newPool(t, 2)
	id, err := pool.Adopt(Guest{Min: 1000, Max: 9000, Current: 12000, Shares: 7, Priority: 3}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		pool.SetOwed(id, 55), pool.SetAside(77), pool.Resize(500000, 1234),
		pool.SetFlags(id, Pinned, 1), pool.SetSize(id, 8500, 2),
		pool.SetGuest(id, Guest{Min: 2000, Max: 8000, Shares: 8, Priority: 4}),
		pool.Sample(id, map[Stat]uint64{Free: 4096}, 2, 2),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	_, changes, err := pool.Decide(time.Second)
	if err != nil || len(changes) != 1 || changes[0].ID != id || changes[0].Target != 8000 {
		t.Error(changes, err)
	}
	guest, err := pool.Guest(id)
	want := Guest{Min: 2000, Max: 8000, Current: 8500, Shares: 8, Priority: 4}
	if err != nil || guest.Guest != want || guest.Owed != 55 || guest.Flags&Pinned == 0 {
		t.Error(guest, err)
	}
	status, err := pool.Status()
	if err != nil || status.Pages != 500000 || status.Reserve != 1234 || status.Reserved != 77 ||
		status.Owed != 55 || status.Used != 8500 || status.Guests != 1 {
		t.Error(status, err)
	}
	if wants, err := pool.Wants(id, time.Minute); err != nil || wants&WantsSample == 0 {
		t.Error(wants, err)
	}
	if at, err := pool.Deadline(); err != nil || at <= time.Second || at > 2*time.Second {
		t.Error(at, err)
	}
	if err := pool.Remove(id); err != nil {
		t.Error(err)
	}
}

// Goroutines wait for each other, and a pool that nobody has any more is freed, not while in use.
func TestGoroutines(t *testing.T) {
	for round := 0; round < 20; round++ {
		pool := newPool(t, 100)
		var all sync.WaitGroup
		for i := 0; i < 8; i++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for n := 0; n < 10; n++ {
					id, err := pool.Add(Guest{Max: 100, Current: 50}, 0)
					if err != nil {
						t.Error(err)
					}
					if _, _, err := pool.Decide(time.Duration(n)); err != nil {
						t.Error(err)
					}
					if err := pool.Remove(id); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		all.Wait()
		runtime.GC()
	}
}
