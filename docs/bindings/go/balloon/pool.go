// Package balloon is libballoon's pool: how large should each guest of a host be?
//
// Sizes are in pages of 4 KiB; times are durations since some moment that does not change. What the
// functions do, and what fields may be, is said in balloon/pool.h under the same names.
//
// A Pool may be used by several goroutines: calls wait for each other. It is freed by Close, or when
// nothing refers to it any more.
package balloon

/*
#cgo pkg-config: libballoon
#include <stdlib.h>
#include <balloon/balloon.h>
*/
import "C"

import (
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// PageSize is what sizes are counted in.
const PageSize = 4096

// Error is the balloon_status of a call that failed.
type Error C.balloon_status

const (
	ErrInvalid Error = C.BALLOON_ERR_INVALID // Not accepted.
	ErrNoSpace Error = C.BALLOON_ERR_NOSPACE // No room in the pool.
	ErrState   Error = C.BALLOON_ERR_STATE   // The pool is closed.
)

func (e Error) Error() string {
	return C.GoString(C.balloon_status_text(C.balloon_status(e)))
}

func check(status C.balloon_status) error {
	if status == C.BALLOON_OK {
		return nil
	}
	return Error(status)
}

// Config is how a pool is set up; 0 and "" mean the default.
type Config struct {
	Policy        string // A built-in policy; "" means "waterline".
	MaxGuests     uint32
	Pages         uint64
	Reserve       uint64
	StaleAfter    time.Duration
	BootGrace     time.Duration
	InactiveAfter time.Duration
	RetryAfter    time.Duration
}

// Guest has the limits of a guest, and its size when it comes.
type Guest struct {
	Min, Max, Current uint64
	Shares, Priority  uint32
}

func (g Guest) c() C.balloon_pool_guest {
	return C.balloon_pool_guest{
		size:     C.sizeof_balloon_pool_guest,
		min:      C.uint64_t(g.Min),
		max:      C.uint64_t(g.Max),
		current:  C.uint64_t(g.Current),
		shares:   C.uint32_t(g.Shares),
		priority: C.uint32_t(g.Priority),
	}
}

// Change is a new target of a guest.
type Change struct {
	ID, Target uint64
	Why        string // In a few words.
	Emergency  bool   // At once: the host is about to run out.
}

// Verdict is how a decision came out.
type Verdict int

const (
	OK       Verdict = C.BALLOON_VERDICT_OK       // All have, or will have, what they should.
	Degraded Verdict = C.BALLOON_VERDICT_DEGRADED // Some wait for memory of others.
	Short    Verdict = C.BALLOON_VERDICT_SHORT    // All that can be taken is not enough.
)

// Status is where a pool stands, in pages.
type Status struct {
	Pages, Reserve, Reserved, Owed, Budget, Used, Committed, Shortfall uint64
	Guests                                                             uint32
	Verdict                                                            Verdict
}

// GuestStatus is where a guest stands.
type GuestStatus struct {
	Guest
	Target, Owed uint64
	Flags        uint32
	Why          string
	Stall        uint32 // Share of time waiting for memory, in millionths.
}

// Flags of a guest, for SetFlags.
const (
	NoDriver = uint32(C.BALLOON_GUEST_NO_DRIVER)
	Pinned   = uint32(C.BALLOON_GUEST_PINNED)
)

// Bits of Wants.
const (
	WantsSample = uint32(C.BALLOON_POOL_WANTS_SAMPLE)
	WantsSize   = uint32(C.BALLOON_POOL_WANTS_SIZE)
)

// Stat is a statistic of a guest.
type Stat C.balloon_stat

const (
	SwapIn      Stat = C.BALLOON_STAT_SWAP_IN
	SwapOut     Stat = C.BALLOON_STAT_SWAP_OUT
	MajorFaults Stat = C.BALLOON_STAT_MAJOR_FAULTS
	MinorFaults Stat = C.BALLOON_STAT_MINOR_FAULTS
	Free        Stat = C.BALLOON_STAT_FREE
	Total       Stat = C.BALLOON_STAT_TOTAL
	Available   Stat = C.BALLOON_STAT_AVAILABLE
	Caches      Stat = C.BALLOON_STAT_CACHES
	OOMKill     Stat = C.BALLOON_STAT_OOM_KILL
	StallSome   Stat = C.BALLOON_STAT_STALL_SOME
	StallFull   Stat = C.BALLOON_STAT_STALL_FULL
)

// Pool has all guests of a host.
type Pool struct {
	lock sync.Mutex
	c    *C.balloon_pool
}

// NewPool makes a pool without guests.
func NewPool(config Config) (*Pool, error) {
	if config.Policy == "" {
		config.Policy = "waterline"
	}
	name := C.CString(config.Policy)
	defer C.free(unsafe.Pointer(name))
	policy := C.balloon_policy_find(name)
	if policy == nil {
		return nil, ErrInvalid
	}
	c := C.balloon_pool_config{
		size:           C.sizeof_balloon_pool_config,
		max_guests:     C.uint32_t(config.MaxGuests),
		pages:          C.uint64_t(config.Pages),
		reserve:        C.uint64_t(config.Reserve),
		policy:         policy,
		stale_after:    C.balloon_time_t(config.StaleAfter),
		boot_grace:     C.balloon_time_t(config.BootGrace),
		inactive_after: C.balloon_time_t(config.InactiveAfter),
		retry_after:    C.balloon_time_t(config.RetryAfter),
	}
	pool := &Pool{}
	if err := check(C.balloon_pool_create(&c, &pool.c)); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(pool, (*Pool).Close)
	return pool, nil
}

// Close frees the pool; any other call fails afterwards.
func (p *Pool) Close() {
	p.lock.Lock()
	defer p.lock.Unlock()
	runtime.SetFinalizer(p, nil)
	C.balloon_pool_destroy(p.c)
	p.c = nil
}

// do calls a function on an open pool. The lock keeps the pool alive meanwhile, too.
func (p *Pool) do(call func() C.balloon_status) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.c == nil {
		return ErrState
	}
	return check(call())
}

// Add says that a guest comes, and returns its number.
func (p *Pool) Add(guest Guest, now time.Duration) (id uint64, err error) {
	c, number := guest.c(), C.uint64_t(0)
	err = p.do(func() C.balloon_status {
		return C.balloon_pool_add(p.c, &c, C.balloon_time_t(now), &number)
	})
	return uint64(number), err
}

// Adopt says that a guest is there already, of any size.
func (p *Pool) Adopt(guest Guest, now time.Duration) (id uint64, err error) {
	c, number := guest.c(), C.uint64_t(0)
	err = p.do(func() C.balloon_status {
		return C.balloon_pool_adopt(p.c, &c, C.balloon_time_t(now), &number)
	})
	return uint64(number), err
}

// Remove says that a guest is gone.
func (p *Pool) Remove(id uint64) error {
	return p.do(func() C.balloon_status { return C.balloon_pool_remove(p.c, C.uint64_t(id)) })
}

// SetGuest changes limits, shares and priority of a guest.
func (p *Pool) SetGuest(id uint64, guest Guest) error {
	c := guest.c()
	return p.do(func() C.balloon_status { return C.balloon_pool_set_guest(p.c, C.uint64_t(id), &c) })
}

// Resize says that the host has more or less memory for guests now.
func (p *Pool) Resize(pages, reserve uint64) error {
	return p.do(func() C.balloon_status {
		return C.balloon_pool_resize(p.c, C.uint64_t(pages), C.uint64_t(reserve))
	})
}

// SetAside keeps memory for guests that are about to come.
func (p *Pool) SetAside(pages uint64) error {
	return p.do(func() C.balloon_status { return C.balloon_pool_reserve(p.c, C.uint64_t(pages)) })
}

// SetSize says how large a guest is.
func (p *Pool) SetSize(id, pages uint64, now time.Duration) error {
	return p.do(func() C.balloon_status {
		return C.balloon_pool_set_size(p.c, C.uint64_t(id), C.uint64_t(pages), C.balloon_time_t(now))
	})
}

// SetOwed says what a guest has given and the host has not got.
func (p *Pool) SetOwed(id, pages uint64) error {
	return p.do(func() C.balloon_status {
		return C.balloon_pool_set_owed(p.c, C.uint64_t(id), C.uint64_t(pages))
	})
}

// SetFlags says what else is known of a guest.
func (p *Pool) SetFlags(id uint64, flags uint32, now time.Duration) error {
	return p.do(func() C.balloon_status {
		return C.balloon_pool_set_flags(p.c, C.uint64_t(id), C.uint32_t(flags), C.balloon_time_t(now))
	})
}

// Sample passes on the statistics of a guest, taken at a time, in bytes as the guest sends them.
func (p *Pool) Sample(id uint64, values map[Stat]uint64, taken, now time.Duration) error {
	c := C.balloon_sample{time: C.balloon_time_t(taken)}
	for stat, value := range values {
		C.balloon_sample_set(&c, C.balloon_stat(stat), C.uint64_t(value))
	}
	return p.do(func() C.balloon_status {
		return C.balloon_pool_sample(p.c, C.uint64_t(id), &c, C.balloon_time_t(now))
	})
}

// Decide decides, and returns all changes: shrinking guests first.
func (p *Pool) Decide(now time.Duration) (verdict Verdict, changes []Change, err error) {
	err = p.do(func() C.balloon_status {
		verdict = Verdict(C.balloon_pool_decide(p.c, C.balloon_time_t(now)))
		for c := (C.balloon_change{}); bool(C.balloon_pool_next(p.c, &c)); {
			changes = append(changes, Change{
				ID:        uint64(c.id),
				Target:    uint64(c.target),
				Why:       C.GoString(C.balloon_why_text(c.why)),
				Emergency: c.emergency != 0,
			})
		}
		return C.BALLOON_OK
	})
	return verdict, changes, err
}

// Deadline says when the next decision is due.
func (p *Pool) Deadline() (at time.Duration, err error) {
	err = p.do(func() C.balloon_status {
		at = time.Duration(C.balloon_pool_deadline(p.c))
		return C.BALLOON_OK
	})
	return at, err
}

// Wants says what of a guest is worth asking for before a decision at that time.
func (p *Pool) Wants(id uint64, now time.Duration) (wants uint32, err error) {
	err = p.do(func() C.balloon_status {
		wants = uint32(C.balloon_pool_wants(p.c, C.uint64_t(id), C.balloon_time_t(now)))
		return C.BALLOON_OK
	})
	return wants, err
}

// Status says where the pool stands.
func (p *Pool) Status() (status Status, err error) {
	var c C.balloon_pool_status
	err = p.do(func() C.balloon_status {
		C.balloon_pool_status_get(p.c, &c)
		return C.BALLOON_OK
	})
	return Status{
		Pages:     uint64(c.pages),
		Reserve:   uint64(c.reserve),
		Reserved:  uint64(c.reserved),
		Owed:      uint64(c.owed),
		Budget:    uint64(c.budget),
		Used:      uint64(c.used),
		Committed: uint64(c.committed),
		Shortfall: uint64(c.shortfall),
		Guests:    uint32(c.guests),
		Verdict:   Verdict(c.verdict),
	}, err
}

// Guest says where a guest stands.
func (p *Pool) Guest(id uint64) (GuestStatus, error) {
	var c C.balloon_pool_guest_status
	err := p.do(func() C.balloon_status { return C.balloon_pool_guest_get(p.c, C.uint64_t(id), &c) })
	if err != nil {
		return GuestStatus{}, err
	}
	return GuestStatus{
		Guest: Guest{
			Min:      uint64(c.config.min),
			Max:      uint64(c.config.max),
			Current:  uint64(c.config.current),
			Shares:   uint32(c.config.shares),
			Priority: uint32(c.config.priority),
		},
		Target: uint64(c.target),
		Owed:   uint64(c.owed),
		Flags:  uint32(c.flags),
		Why:    C.GoString(C.balloon_why_text(c.why)),
		Stall:  uint32(c.stall),
	}, nil
}
