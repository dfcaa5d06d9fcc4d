// A manager's loop over three toy guests that need memory in turn. A real one asks QEMU or libvirt
// for sizes and statistics, and tells them the new targets.
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"libballoon/balloon"
)

type guest struct {
	id, size, target, swappedIn uint64
}

// move takes the guest towards its target, by 25 MiB at the most.
func (g *guest) move() {
	const most = 6400
	switch {
	case g.target > g.size+most:
		g.size += most
	case g.size > g.target+most:
		g.size -= most
	default:
		g.size = g.target
	}
}

func manage(policy string) error {
	pool, err := balloon.NewPool(balloon.Config{Policy: policy, MaxGuests: 3, Pages: 229376})
	if err != nil {
		return err
	}
	defer pool.Close()

	guests := make([]guest, 3)
	for i := range guests {
		id, err := pool.Add(balloon.Guest{Min: 16384, Max: 131072, Current: 65536}, 0)
		if err != nil {
			return err
		}
		guests[i] = guest{id: id, size: 65536, target: 65536}
	}
	for tick := 1; tick <= 160; tick++ {
		now := time.Duration(tick) * 500 * time.Millisecond
		for i := range guests {
			g := &guests[i]
			need, rest := uint64(32768), uint64(0)
			if (tick/32+i)%3 == 0 {
				need = 114688
			}
			if g.size > need {
				rest = g.size - need
			} else {
				g.swappedIn += 4 << 20
			}
			g.move()
			if err := pool.SetSize(g.id, g.size, now); err != nil {
				return err
			}
			err := pool.Sample(g.id, map[balloon.Stat]uint64{
				balloon.SwapIn:    g.swappedIn,
				balloon.Total:     g.size * balloon.PageSize,
				balloon.Free:      rest / 2 * balloon.PageSize,
				balloon.Available: rest * balloon.PageSize,
			}, now, now)
			if err != nil {
				return err
			}
		}
		verdict, changes, err := pool.Decide(now)
		if err != nil {
			return err
		}
		for _, change := range changes {
			for i := range guests {
				if guests[i].id == change.ID {
					guests[i].target = change.Target
				}
			}
			mark := ""
			if change.Emergency {
				mark = "!"
			}
			fmt.Printf("%d: guest %d to %d, %s%s\n", tick, change.ID, change.Target, change.Why, mark)
		}
		if verdict != balloon.OK {
			fmt.Printf("%d: verdict %d\n", tick, verdict)
		}
	}

	status, err := pool.Status()
	if err != nil {
		return err
	}
	next, err := pool.Deadline()
	if err != nil {
		return err
	}
	fmt.Printf("used %d committed %d budget %d next at %d\n", status.Used, status.Committed,
		status.Budget, next)
	return nil
}

func main() {
	policy := ""
	if len(os.Args) > 1 {
		policy = os.Args[1]
	}
	if err := manage(policy); err != nil {
		log.Fatal(err)
	}
}
