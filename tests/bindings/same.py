"""Python against C: same.py pool|sim prints what reference does; layout prints a C program that
compiles when all structs are those of the headers; limits fails when a mistake goes unseen."""

import ctypes
import gc
import sys

import balloon
from balloon import PAGE, Profile, Stat


class Toy:
    def __init__(self, pool):
        self.size = self.target = 65536
        self.swapped_in = 0
        self.id = pool.add(0, min=16384, max=131072, current=self.size)


def run_pool(policy):
    pool = balloon.Pool(policy, max_guests=3, pages=229376)
    guests = [Toy(pool) for _ in range(3)]
    for tick in range(1, 161):
        now = tick * 500_000_000
        for g, toy in enumerate(guests):
            need = 114688 if (tick // 32 + g) % 3 == 0 else 32768
            rest = max(toy.size - need, 0)
            toy.size += max(-6400, min(6400, toy.target - toy.size))
            if rest == 0:
                toy.swapped_in += 4 << 20
            pool.set_size(toy.id, toy.size, now)
            pool.sample(toy.id, balloon.sample(
                now, swap_in=toy.swapped_in, total=toy.size * PAGE, free=rest // 2 * PAGE,
                available=rest * PAGE), now)
        verdict, changes = pool.decide(now)
        for change in changes:
            for toy in guests:
                if toy.id == change.id:
                    toy.target = change.target
            print(f"{tick}: guest {change.id} to {change.target}, "
                  f"{balloon.why_text(change.why)}{'!' if change.emergency else ''}")
        if verdict:
            print(f"{tick}: verdict {verdict:d}")
    status = pool.status()
    print(f"used {status.used} committed {status.committed} budget {status.budget} "
          f"next at {pool.deadline()}")


def run_sim(policy):
    sim = balloon.Simulation(balloon.Scenario(number=3, guests=4, seed=7), policy, seed=11,
                             record_ms=5000, profile=Profile.VIRTIO)
    # Nothing but the simulation refers to the scenario, its records and its memory.
    gc.collect()
    sim.run()
    result = sim.outcome()
    print(f"{sim.scenario.name}: {sim.scenario.guests} guests in {sim.scenario.pages} pages")
    print(f"cost {result.cost} misses {result.misses} swap-ins {result.swap_ins} "
          f"kills {result.oom_kills}")
    print(f"stall {result.stall_mean} p99 {result.stall_p99} pressure", *result.pressure)
    print(f"churn {result.churn} decisions {result.decisions} waiting {result.waiting_ms}")
    for moment in sim.records():
        for r in moment:
            print(r.size, r.target, r.need, r.misses, r.stall, r.present)


def layout(_):
    print("#include <stddef.h>\n#include <balloon/balloon.h>")
    for kind in balloon.STRUCTS:
        checks = [(f"sizeof({kind.c_name})", ctypes.sizeof(kind))]
        for name, *_ in kind._fields_:
            field = getattr(kind, name)
            c_field = "size" if name == "size_of_struct" else name
            checks += [(f"offsetof({kind.c_name}, {c_field})", field.offset),
                       (f"sizeof((({kind.c_name} *)0)->{c_field})", field.size)]
        for c, python in checks:
            print(f'_Static_assert({c} == {python}, "");')
    for kind, c in (Stat, "BALLOON_STAT"), (Profile, "BALLOON_SIM"), \
            (balloon.Verdict, "BALLOON_VERDICT"):
        for member in kind:
            print(f'_Static_assert({c}_{member.name} == {member.value}, "");')
    print(f'_Static_assert(BALLOON_STAT_COUNT == {len(Stat)}, "");')


def refused(error, call, *arguments, **fields):
    try:
        call(*arguments, **fields)
    except error as what:
        return str(what)
    raise SystemExit(f"not refused: {call} {arguments} {fields}")


def limits(_):
    assert "max_guests" in refused(balloon.Error, balloon.Pool, pages=1000)
    refused(ValueError, balloon.Pool, "nonsense", max_guests=1, pages=1000)
    refused(TypeError, balloon.Pool, max_guests=1, page=1000)
    pool = balloon.Pool(max_guests=1, pages=100000)
    refused(balloon.Error, pool.add, 0, max=0)
    guest = pool.add(0, max=50000, current=40000)
    assert pool.guest(guest).config.current == 40000
    refused(balloon.Error, pool.add, 0, max=50000, current=40000)
    refused(balloon.Error, pool.set_curve, guest, [(1, 1)] * 33)
    pool.set_curve(guest, [(1000, 50), (2000, 10)])
    pool.remove(guest)
    refused(balloon.Error, pool.guest, guest)
    pool.adopt(0, max=200000, current=150000)
    pool.resize(300000)
    assert pool.status().pages == 300000 and pool.status().guests == 1
    assert "waterline" == balloon.policies()[0] and "fixed" in balloon.policies()
    refused(balloon.Error, balloon.Scenario, number=99)

    # A scenario of one's own: one guest grows, the other gives.
    need = [{"pages": 60000, "misses": 100000}, {"at_ms": 60000, "pages": 20000, "misses": 100000}]
    guest = {"min": 10000, "max": 100000, "start": 60000, "sends": 0x204ff}
    mine = balloon.Scenario.of(
        name="turns", pages=131072, duration_ms=240000,
        curves=[[(0, 65536), (32768, 16384), (65536, 0)]],
        guests=[(guest, need), (guest, [{"pages": 20000, "misses": 100000},
                                        {"at_ms": 60000, "pages": 90000, "misses": 100000}])])
    sim = balloon.Simulation(mine)
    del mine, need, guest
    gc.collect()
    while sim.step():
        pass
    first, last = sim.records()[0], sim.records()[-1]
    assert sim.now() == 240000 and len(sim.records()) == 241
    assert first[1].size == 60000 and last[1].size > 80000 > 60000 > last[0].size, (first, last)


if __name__ == "__main__":
    what = {"pool": run_pool, "sim": run_sim, "layout": layout, "limits": limits}[sys.argv[1]]
    what(sys.argv[2] if len(sys.argv) > 2 else "waterline")
