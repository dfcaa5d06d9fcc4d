"""The pool and the simulator of libballoon, by ctypes: nothing to compile.

    import balloon
    run = balloon.Simulation(balloon.Scenario(number=3, guests=4, seed=7), policy="waterline")
    run.run()
    print(run.outcome().stall_mean, run.records()[-1])

Sizes are in pages of 4 KiB; a pool's times are in nanoseconds, a simulation's in milliseconds. The
fields and their limits are those of balloon/pool.h and balloon/sim.h. Every call holds Python's
global lock, so threads cannot get into each other's way. Objects are freed with the last reference.
"""

import ctypes
import enum
import os
from ctypes import POINTER, byref, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p

# PyDLL keeps the lock; one caller at a time is what the library asks for.
_lib = ctypes.PyDLL(os.environ.get("BALLOON_LIBRARY", "libballoon.so.0"))

PAGE = 4096
MIB = 256
NEVER = 2**64 - 1


class Error(Exception):
    """A call failed; status is its balloon_status."""

    def __init__(self, status, why=None):
        super().__init__(why or _lib.balloon_status_text(status).decode())
        self.status = status


def _check(status):
    if status:
        raise Error(status)


class _Struct(ctypes.Structure):
    """Sets size where there is one, and refuses fields that do not exist."""

    def __init__(self, **fields):
        names = {name for name, *_ in self._fields_}
        for name in fields:
            if name not in names or name == "size_of_struct":
                raise TypeError(f"{type(self).__name__} has no {name}")
        if "size_of_struct" in names:
            fields["size_of_struct"] = ctypes.sizeof(self)
        super().__init__(**fields)

    def __repr__(self):
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name, *_ in self._fields_)
        return f"{type(self).__name__}({fields})"


def _struct(c_name, **fields):
    kind = type(c_name, (_Struct,), {"_fields_": list(fields.items()), "c_name": c_name})
    kind.__doc__ = f"{c_name} of the C headers."
    return kind


u32, u64 = c_uint32, c_uint64
_Layout = _struct("balloon_layout", bytes=c_size_t, align=c_size_t)
CurvePoint = _struct("balloon_curve_point", pages=u64, misses=u64)
Curve = _struct("balloon_curve", points=POINTER(CurvePoint), count=u32)
Sample = _struct("balloon_sample", time=u64, present=u32, ignored=u32, value=u64 * 32)
PoolConfig = _struct(
    "balloon_pool_config", size_of_struct=c_size_t, max_guests=u32, pages=u64, reserve=u64,
    policy=c_void_p, knobs=c_void_p, stale_after=u64, boot_grace=u64, inactive_after=u64,
    retry_after=u64)
PoolGuest = _struct(
    "balloon_pool_guest", size_of_struct=c_size_t, min=u64, max=u64, current=u64, shares=u32,
    priority=u32)
Change = _struct("balloon_change", id=u64, target=u64, why=u32, emergency=u32)
PoolStatus = _struct(
    "balloon_pool_status", pages=u64, reserve=u64, reserved=u64, owed=u64, budget=u64, used=u64,
    committed=u64, shortfall=u64, guests=u32, state=ctypes.c_int, verdict=ctypes.c_int)
GuestStatus = _struct(
    "balloon_pool_guest_status", config=PoolGuest, target=u64, flags=u32, why=u32, stall=u32,
    flagged=u32, owed=u64)
PoolCounters = _struct(
    "balloon_pool_counters", decisions=u64, changes=u64, clamped_limit=u64, clamped_budget=u64,
    clamped_guard=u64, samples=u64, samples_odd=u64, reboots=u64, emergencies=u64, inactive=u64)
SimPhase = _struct(
    "balloon_sim_phase", at_ms=u64, pages=u64, cold=u64, misses=u64, curve=u32, file=u32, flags=u32,
    grow=u32)
SimGuest = _struct(
    "balloon_sim_guest", min=u64, max=u64, start=u64, floor=u64, swap=u64, cache=u64, shares=u32,
    priority=u32, weight=u32, miss_us=u32, refill=u32, inflate=u32, deflate=u32, sends=u32,
    period_ms=u32, age_ms=u32, jitter_ms=u32, noise=u32, loss=u32, flags=u32, manner=u32,
    forgery=u32, arrive_ms=u64, depart_ms=u64, boot_ms=u64, repeat_ms=u64,
    phases=POINTER(SimPhase), phase_count=u32)
SimEvent = _struct("balloon_sim_event", at_ms=u64, kind=u32, guest=u32, value=u64)
_Scenario = _struct(
    "balloon_scenario", name=c_char_p, text=c_char_p, pages=u64, reserve=u64, duration_ms=u64,
    step_ms=u64, curves=POINTER(Curve), curve_count=u32, guest_count=u32,
    guests=POINTER(SimGuest), events=POINTER(SimEvent), event_count=u32)
_ScenarioOptions = _struct(
    "balloon_scenario_options", size_of_struct=c_size_t, number=u32, guests=u32, seed=u64,
    period_ms=u64, sends=u32, flags=u32, trace=c_void_p)
SimRecord = _struct(
    "balloon_sim_record", size=u64, target=u64, need=u64, misses=u64, stall=u32, present=u32)
_SimConfig = _struct(
    "balloon_sim_config", size_of_struct=c_size_t, scenario=POINTER(_Scenario), pool=PoolConfig,
    seed=u64, tick_ms=u32, step_ms=u32, actuator=c_void_p, records=POINTER(SimRecord),
    record_count=c_size_t, record_ms=u64, profile=u32, rest_ms=u32)
SimResult = _struct(
    "balloon_sim_result", time_ms=u64, guest_ms=u64, cost=u64, misses=u64, swap_ins=u64,
    major_faults=u64, oom_kills=u64, stall_mean=u64, stall_p99=u64, pressure=u64 * 3,
    pressure_worst=u64 * 3, jain=u64, entitlement_min=u64, entitlement_max=u64, reversals=u64,
    reversals_per_hour=u64, churn=u64, churn_per_second=u64, idle=u64, convergence_ms=u64,
    overshoot=u64, decisions=u64, unsafe_growth=u64, unsafe_targets=u64, over_pool=u64, overrun=u64,
    overrun_ms=u64, low_ms=u64, emergency_ms=u64, emergency_longest=u64, shortfall=u64,
    waiting_ms=u64)
# All of them, with the C type that each has to be like.
STRUCTS = [kind for kind in list(globals().values()) if hasattr(kind, "c_name")]


class Stat(enum.IntEnum):
    """balloon_stat."""

    SWAP_IN, SWAP_OUT, MAJOR_FAULTS, MINOR_FAULTS, FREE, TOTAL, AVAILABLE, CACHES = range(8)
    HUGE_ALLOC, HUGE_FAIL, OOM_KILL, ALLOC_STALL, ASYNC_SCAN, DIRECT_SCAN = range(8, 14)
    ASYNC_RECLAIM, DIRECT_RECLAIM, COMMITTED, STALL_SOME, STALL_FULL = range(14, 19)


class Profile(enum.IntEnum):
    """balloon_sim_profile."""

    AS_SET, VIRTIO, VIRTIO_PSI, MEASURED, CURVES = range(5)


class Verdict(enum.IntEnum):
    """balloon_verdict."""

    OK, DEGRADED, SHORT = range(3)


def _declare(result, name, *arguments):
    function = getattr(_lib, name)
    function.restype = result
    function.argtypes = arguments


status = ctypes.c_int
_declare(c_char_p, "balloon_version")
_declare(c_char_p, "balloon_status_text", status)
_declare(c_char_p, "balloon_why_text", u32)
_declare(c_void_p, "balloon_policy_find", c_char_p)
_declare(POINTER(c_void_p), "balloon_policies", POINTER(c_size_t))
_declare(None, "balloon_sample_set", POINTER(Sample), status, u64)
_declare(c_char_p, "balloon_pool_config_check", POINTER(PoolConfig))
_declare(status, "balloon_pool_create", POINTER(PoolConfig), POINTER(c_void_p))
_declare(None, "balloon_pool_destroy", c_void_p)
_declare(status, "balloon_pool_resize", c_void_p, u64, u64)
for _name in "balloon_pool_add", "balloon_pool_adopt":
    _declare(status, _name, c_void_p, POINTER(PoolGuest), u64, POINTER(u64))
_declare(status, "balloon_pool_set_guest", c_void_p, u64, POINTER(PoolGuest))
_declare(status, "balloon_pool_remove", c_void_p, u64)
_declare(status, "balloon_pool_reserve", c_void_p, u64)
_declare(status, "balloon_pool_set_owed", c_void_p, u64, u64)
for _name in "balloon_pool_set_size", "balloon_pool_set_active":
    _declare(status, _name, c_void_p, u64, u64, u64)
_declare(status, "balloon_pool_set_flags", c_void_p, u64, u32, u64)
_declare(status, "balloon_pool_set_curve", c_void_p, u64, POINTER(Curve))
_declare(status, "balloon_pool_sample", c_void_p, u64, POINTER(Sample), u64)
_declare(status, "balloon_pool_decide", c_void_p, u64)
_declare(c_bool, "balloon_pool_next", c_void_p, POINTER(Change))
_declare(u64, "balloon_pool_deadline", c_void_p)
_declare(u32, "balloon_pool_wants", c_void_p, u64, u64)
_declare(None, "balloon_pool_status_get", c_void_p, POINTER(PoolStatus))
_declare(status, "balloon_pool_guest_get", c_void_p, u64, POINTER(GuestStatus))
_declare(None, "balloon_pool_counters_get", c_void_p, POINTER(PoolCounters))
_declare(status, "balloon_scenario_layout", POINTER(_ScenarioOptions), POINTER(_Layout))
_declare(status, "balloon_scenario_build", c_void_p, c_size_t, POINTER(_ScenarioOptions),
         POINTER(POINTER(_Scenario)))
_declare(c_char_p, "balloon_sim_config_check", POINTER(_SimConfig))
_declare(status, "balloon_sim_layout", POINTER(_SimConfig), POINTER(_Layout))
_declare(status, "balloon_sim_init", c_void_p, c_size_t, POINTER(_SimConfig), POINTER(c_void_p))
_declare(None, "balloon_sim_run", c_void_p, u64)
_declare(c_bool, "balloon_sim_step", c_void_p)
_declare(u64, "balloon_sim_now", c_void_p)
_declare(c_size_t, "balloon_sim_records", c_void_p)
_declare(None, "balloon_sim_result_get", c_void_p, POINTER(SimResult))


def version():
    """Version of the library that was found."""
    return _lib.balloon_version().decode()


def policies():
    """Names of the built-in policies, the default first."""
    count = c_size_t()
    table = _lib.balloon_policies(byref(count))
    # A policy begins with its size; its name is next.
    return [c_char_p.from_address(table[i] + ctypes.sizeof(c_size_t)).value.decode()
            for i in range(count.value)]


def why_text(why):
    """A few words for change.why."""
    return _lib.balloon_why_text(why).decode()


def sample(time, **values):
    """Statistics by the names of Stat, in lower case: sample(now, free=..., available=...)."""
    made = Sample(time=time)
    for name, value in values.items():
        _lib.balloon_sample_set(byref(made), Stat[name.upper()], value)
    return made


def _policy(name):
    found = _lib.balloon_policy_find(name.encode())
    if not found:
        raise ValueError(f"no policy {name}; there are {', '.join(policies())}")
    return found


def _curve(points):
    array = (CurvePoint * len(points))(*(CurvePoint(pages=x, misses=y) for x, y in points))
    return Curve(points=array, count=len(points))


def _block(layout):
    """Memory of the layout's size and alignment: what keeps it, and its address."""
    room = ctypes.create_string_buffer(layout.bytes + layout.align)
    return room, -ctypes.addressof(room) % layout.align + ctypes.addressof(room)


class Pool:
    """All guests of a host: balloon/pool.h. config: the fields of balloon_pool_config."""

    def __init__(self, policy="waterline", **config):
        made = PoolConfig(policy=_policy(policy), **config)
        pool = c_void_p()
        why = _lib.balloon_pool_config_check(byref(made))
        if why:
            raise Error(1, why.decode())
        _check(_lib.balloon_pool_create(byref(made), byref(pool)))
        self._pool = pool

    def __del__(self):
        if hasattr(self, "_pool"):
            _lib.balloon_pool_destroy(self._pool)

    def resize(self, pages, reserve=0):
        _check(_lib.balloon_pool_resize(self._pool, pages, reserve))

    def add(self, now, **guest):
        """A guest comes, with fields of balloon_pool_guest. Returns its number."""
        number = u64()
        _check(_lib.balloon_pool_add(self._pool, byref(PoolGuest(**guest)), now, byref(number)))
        return number.value

    def adopt(self, now, **guest):
        """A guest is there already, of any size. Returns its number."""
        number = u64()
        _check(_lib.balloon_pool_adopt(self._pool, byref(PoolGuest(**guest)), now, byref(number)))
        return number.value

    def set_guest(self, guest, **limits):
        _check(_lib.balloon_pool_set_guest(self._pool, guest, byref(PoolGuest(**limits))))

    def remove(self, guest):
        _check(_lib.balloon_pool_remove(self._pool, guest))

    def reserve(self, pages):
        _check(_lib.balloon_pool_reserve(self._pool, pages))

    def set_size(self, guest, pages, now):
        _check(_lib.balloon_pool_set_size(self._pool, guest, pages, now))

    def set_owed(self, guest, pages):
        _check(_lib.balloon_pool_set_owed(self._pool, guest, pages))

    def set_active(self, guest, pages, now):
        _check(_lib.balloon_pool_set_active(self._pool, guest, pages, now))

    def set_flags(self, guest, flags, now):
        _check(_lib.balloon_pool_set_flags(self._pool, guest, flags, now))

    def set_curve(self, guest, points):
        """points: pairs of pages and misses."""
        curve = _curve(points)
        _check(_lib.balloon_pool_set_curve(self._pool, guest, byref(curve)))

    def sample(self, guest, sample, now):
        _check(_lib.balloon_pool_sample(self._pool, guest, byref(sample), now))

    def decide(self, now):
        """Decide, and return the verdict and all changes."""
        verdict = Verdict(_lib.balloon_pool_decide(self._pool, now))
        changes = []
        change = Change()
        while _lib.balloon_pool_next(self._pool, byref(change)):
            changes.append(change)
            change = Change()
        return verdict, changes

    def deadline(self):
        return _lib.balloon_pool_deadline(self._pool)

    def wants(self, guest, now):
        return _lib.balloon_pool_wants(self._pool, guest, now)

    def status(self):
        got = PoolStatus()
        _lib.balloon_pool_status_get(self._pool, byref(got))
        return got

    def guest(self, guest):
        got = GuestStatus()
        _check(_lib.balloon_pool_guest_get(self._pool, guest, byref(got)))
        return got

    def counters(self):
        got = PoolCounters()
        _lib.balloon_pool_counters_get(self._pool, byref(got))
        return got


class Scenario:
    """What is played: a built-in one by number (and guests, seed, ...), or one of your own.

    Scenario.of(name="mine", pages=..., duration_ms=..., curves=[[(pages, misses), ...]],
                guests=[(dict of balloon_sim_guest, [dict of balloon_sim_phase, ...]), ...],
                events=[dict of balloon_sim_event, ...])
    """

    def __init__(self, **options):
        layout = _Layout()
        built = POINTER(_Scenario)()
        made = _ScenarioOptions(**options)
        _check(_lib.balloon_scenario_layout(byref(made), byref(layout)))
        self._keep, at = _block(layout)
        _check(_lib.balloon_scenario_build(at, layout.bytes, byref(made), byref(built)))
        self._c = built.contents

    @classmethod
    def of(cls, curves, guests, events=(), name="", text="", **fields):
        self = cls.__new__(cls)
        shapes = (Curve * len(curves))(*(_curve(points) for points in curves))
        all_guests = (SimGuest * len(guests))()
        for i, (guest, phases) in enumerate(guests):
            array = (SimPhase * len(phases))(*(SimPhase(**phase) for phase in phases))
            all_guests[i] = SimGuest(phases=array, phase_count=len(phases), **guest)
        happenings = (SimEvent * len(events))(*(SimEvent(**event) for event in events))
        # Assigning a pointer keeps what it points to.
        self._c = _Scenario(
            name=name.encode(), text=text.encode(), curves=shapes, curve_count=len(curves),
            guests=all_guests, guest_count=len(guests), events=happenings,
            event_count=len(events), **fields)
        self._keep = shapes, all_guests, happenings
        return self

    name = property(lambda self: self._c.name.decode())
    pages = property(lambda self: self._c.pages)
    guests = property(lambda self: self._c.guest_count)
    duration_ms = property(lambda self: self._c.duration_ms)


class Simulation:
    """One run of a scenario: balloon/sim.h. config: fields of balloon_sim_config, and pool as a dict
    of those of balloon_pool_config."""

    def __init__(self, scenario, policy="waterline", record_ms=1000, pool=None, **config):
        self.scenario, self.record_ms = scenario, record_ms
        count = (scenario.duration_ms // record_ms + 1) * scenario.guests
        self._records = (SimRecord * count)()
        made = _SimConfig(
            scenario=ctypes.pointer(scenario._c), records=self._records, record_count=count,
            pool=PoolConfig(policy=_policy(policy), **(pool or {})), record_ms=record_ms, **config)
        layout = _Layout()
        sim = c_void_p()
        why = _lib.balloon_sim_config_check(byref(made))
        if why:
            raise Error(1, why.decode())
        _check(_lib.balloon_sim_layout(byref(made), byref(layout)))
        self._keep, at = _block(layout)
        _check(_lib.balloon_sim_init(at, layout.bytes, byref(made), byref(sim)))
        self._sim = sim

    def run(self, until_ms=None):
        """To that time, or to the end."""
        end = self.scenario.duration_ms
        _lib.balloon_sim_run(self._sim, end if until_ms is None else until_ms)

    def step(self):
        """To the next decision; False at the end."""
        return _lib.balloon_sim_step(self._sim)

    def now(self):
        return _lib.balloon_sim_now(self._sim)

    def records(self):
        """A list for each moment (every record_ms), of a record for each guest."""
        guests = self.scenario.guests
        return [[SimRecord.from_buffer_copy(self._records[i * guests + g]) for g in range(guests)]
                for i in range(_lib.balloon_sim_records(self._sim))]

    def outcome(self):
        got = SimResult()
        _lib.balloon_sim_result_get(self._sim, byref(got))
        return got
