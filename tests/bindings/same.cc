// C++ against C: same tracker|pool|sim prints what reference does, same owners fails when an owner
// does not own.
#include <balloon/balloon.hpp>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <type_traits>

namespace
{

[[noreturn]] void give_up(const char *why)
{
    std::fprintf(stderr, "%s\n", why);
    std::exit(1);
}

void check(balloon_status status)
{
    if (status != BALLOON_OK)
        give_up(balloon_status_text(status));
}

template <class Made> Made must(balloon::result<Made> made)
{
    check(made.status());
    return made.take();
}

std::uint32_t draw(std::uint32_t below)
{
    static std::uint64_t drawn = 1;

    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>((drawn >> 33) % below);
}

balloon::tracker make_tracker()
{
    auto config = balloon::sized<balloon_tracker_config>();

    config.max_pages = 65536;
    balloon::tracker tracker = must(balloon::tracker::create(config));
    check(tracker.add_region({0, 32768, 1}));
    std::uint32_t id = 0;
    check(tracker.add_region({0x80000, 32768, 512}, &id));
    if (id != 1)
        give_up("the second region is not number 1");
    return tracker;
}

void run_tracker()
{
    balloon::tracker tracker = make_tracker();
    balloon_tally tally{};

    tracker.set_gather(true);
    for (std::uint32_t step = 0; step < 400; step++) {
        std::uint32_t pfns[64];
        const std::uint32_t op = draw(5);
        const std::uint32_t base = draw(2) ? 0x80000 : 0;
        const std::uint32_t first = base + draw(32768);
        const std::uint32_t count = 1 + draw(64);
        const balloon_range range{first, std::uint64_t{count} * 37};

        for (std::uint32_t i = 0; i < count; i++)
            pfns[i] = first + i * 3;
        if (op < 2)
            tracker.inflate(pfns, count, &tally);
        else if (op == 2)
            tracker.inflate(range, &tally);
        else if (op == 3)
            tracker.deflate(pfns, count, &tally);
        else
            tracker.deflate(range, &tally);
        if (step == 300)
            tracker.set_gather(false);
        if (step % 8 == 7) {
            balloon_run runs[5];
            const std::size_t got = tracker.take(runs, 5);

            for (std::size_t i = 0; i < got; i++)
                std::printf("%" PRIu32 " %" PRIu64 "+%" PRIu64 "\n", runs[i].region,
                            runs[i].range.first, runs[i].range.count);
            std::printf("held %" PRIu64 " ready %" PRIu64 "\n", tracker.held(), tracker.ready());
            tracker.settle();
        }
    }
    std::printf("changed %" PRIu64 " unchanged %" PRIu64 " outside %" PRIu64 " cancelled %" PRIu64
                "\n",
                tally.changed, tally.unchanged, tally.outside, tally.cancelled);

    balloon_range all{0, 0x100000};

    std::printf("free %" PRIu64 "\n", tracker.count(BALLOON_SET_FREE, all));
    while (const auto run = tracker.next(BALLOON_SET_HELD, all)) {
        std::printf("%" PRIu64 "+%" PRIu64 "\n", run->range.first, run->range.count);
        all.first = run->range.first + run->range.count;
        all.count = 0x100000 - all.first;
    }
}

struct toy {
    std::uint64_t id, size = 65536, target = 65536, swapped_in = 0;
};

void run_pool(const char *policy)
{
    auto config = balloon::sized<balloon_pool_config>();

    config.max_guests = 3;
    config.pages = 229376;
    config.policy = balloon_policy_find(policy);
    balloon::pool pool = must(balloon::pool::create(config));
    std::vector<toy> guests;

    for (int g = 0; g < 3; g++) {
        auto guest = balloon::sized<balloon_pool_guest>();

        guest.min = 16384;
        guest.max = 131072;
        guest.current = 65536;
        guests.push_back(toy{must(pool.add(guest, 0))});
    }
    for (std::uint64_t tick = 1; tick <= 160; tick++) {
        const balloon_time_t now = tick * 500000000;

        for (std::uint64_t g = 0; g < 3; g++) {
            toy &t = guests[g];
            const std::uint64_t need = (tick / 32 + g) % 3 == 0 ? 114688 : 32768;
            const std::uint64_t rest = t.size > need ? t.size - need : 0;
            balloon_sample sample{};

            if (t.target > t.size)
                t.size += t.target - t.size < 6400 ? t.target - t.size : 6400;
            else
                t.size -= t.size - t.target < 6400 ? t.size - t.target : 6400;
            if (rest == 0)
                t.swapped_in += 4 << 20;
            sample.time = now;
            balloon_sample_set(&sample, BALLOON_STAT_SWAP_IN, t.swapped_in);
            balloon_sample_set(&sample, BALLOON_STAT_TOTAL, t.size * BALLOON_PAGE_SIZE);
            balloon_sample_set(&sample, BALLOON_STAT_FREE, rest / 2 * BALLOON_PAGE_SIZE);
            balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, rest * BALLOON_PAGE_SIZE);
            check(pool.set_size(t.id, t.size, now));
            check(pool.sample(t.id, sample, now));
        }
        const balloon_verdict verdict = pool.decide(now, [&](const balloon_change &change) {
            for (toy &t : guests) {
                if (t.id == change.id)
                    t.target = change.target;
            }
            std::printf("%" PRIu64 ": guest %" PRIu64 " to %" PRIu64 ", %s%s\n", tick, change.id,
                        change.target, balloon_why_text(change.why), change.emergency ? "!" : "");
        });
        if (verdict != BALLOON_VERDICT_OK)
            std::printf("%" PRIu64 ": verdict %d\n", tick, static_cast<int>(verdict));
    }

    const balloon_pool_status status = pool.status();
    std::printf("used %" PRIu64 " committed %" PRIu64 " budget %" PRIu64 " next at %" PRIu64 "\n",
                status.used, status.committed, status.budget, pool.deadline());
}

void run_sim(const char *policy)
{
    auto options = balloon::sized<balloon_scenario_options>();

    options.number = 3;
    options.guests = 4;
    options.seed = 7;
    // Moved, to see that the simulation still finds it.
    balloon::scenario first = must(balloon::scenario::create(options));
    const balloon_scenario *at = first.get();
    const balloon::scenario scenario = std::move(first);
    if (scenario.get() != at)
        give_up("a scenario has moved in memory");

    const balloon_scenario &played = *scenario.get();
    std::vector<balloon_sim_record> records(
        static_cast<std::size_t>(played.duration_ms / 5000 + 1) * played.guest_count);
    auto config = balloon::sized<balloon_sim_config>();

    config.scenario = &played;
    config.pool.policy = balloon_policy_find(policy);
    config.seed = 11;
    config.records = records.data();
    config.record_count = records.size();
    config.record_ms = 5000;
    config.profile = BALLOON_SIM_VIRTIO;
    balloon::simulation sim = must(balloon::simulation::create(config));
    sim.run(played.duration_ms);

    const balloon_sim_result result = sim.outcome();
    std::printf("%s: %" PRIu32 " guests in %" PRIu64 " pages\n", played.name, played.guest_count,
                played.pages);
    std::printf("cost %" PRIu64 " misses %" PRIu64 " swap-ins %" PRIu64 " kills %" PRIu64 "\n",
                result.cost, result.misses, result.swap_ins, result.oom_kills);
    std::printf("stall %" PRIu64 " p99 %" PRIu64 " pressure %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                result.stall_mean, result.stall_p99, result.pressure[0], result.pressure[1],
                result.pressure[2]);
    std::printf("churn %" PRIu64 " decisions %" PRIu64 " waiting %" PRIu64 "\n", result.churn,
                result.decisions, result.waiting_ms);
    records.resize(sim.records() * played.guest_count);
    for (const balloon_sim_record &r : records)
        std::printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 "\n",
                    r.size, r.target, r.need, r.misses, r.stall, r.present);
}

template <class Owner>
constexpr bool moves_only = std::conjunction_v<
    std::is_nothrow_move_constructible<Owner>, std::is_nothrow_move_assignable<Owner>,
    std::negation<std::is_copy_constructible<Owner>>, std::negation<std::is_copy_assignable<Owner>>,
    std::negation<std::is_default_constructible<Owner>>>;

static_assert(moves_only<balloon::tracker> && moves_only<balloon::device> &&
              moves_only<balloon::driver> && moves_only<balloon::pool> &&
              moves_only<balloon::scenario> && moves_only<balloon::simulation>);

// Failures have their status; what is moved, assigned over and dropped is freed once: the address
// sanitizer looks.
void run_owners()
{
    balloon_tracker_config zero{};
    if (balloon::tracker::create(zero).status() != BALLOON_ERR_INVALID)
        give_up("a tracker of nothing");
    if (balloon::scenario::create(balloon_scenario_options{}).status() != BALLOON_ERR_INVALID ||
        balloon::simulation::create(balloon_sim_config{}).status() != BALLOON_ERR_INVALID)
        give_up("a scenario of nothing");

    balloon::tracker one = make_tracker();
    balloon::tracker two = make_tracker();
    const balloon_tracker *at = one.get();
    one.inflate(balloon_range{8, 4});
    two = std::move(one);
    if (two.get() != at || two.held() != 4)
        give_up("a tracker is lost by moving");

    // The guest end allocates, the host end is made from what it saved.
    const balloon_region ram{0, 16384, 1};
    auto guest_config = balloon::sized<balloon_driver_config>();
    guest_config.regions = &ram;
    guest_config.region_count = 1;
    balloon::driver driver = must(balloon::driver::create(guest_config));
    std::uint64_t chosen = 0;
    check(balloon_virtio_driver_negotiate(driver.get(), 0, nullptr, &chosen));
    check(balloon_virtio_driver_start(driver.get(), 0));
    const std::uint8_t space[8] = {64};
    balloon_virtio_driver_config(driver.get(), space, sizeof(space), 0);
    const auto wanted = driver.poll(0);
    if (!wanted || wanted->type != BALLOON_DRIVER_ALLOC)
        give_up("the driver does not ask for pages");
    const balloon_range block{4096, wanted->pages};
    check(driver.give(wanted->channel, &block, 1, 0));
    if (driver.status().on_way_in != wanted->pages)
        give_up("pages given to the driver are not on their way");

    auto host_config = balloon::sized<balloon_device_config>();
    host_config.regions = &ram;
    host_config.region_count = 1;
    balloon::device device = must(balloon::device::create(host_config));
    check(device.set_target(4096, 0));
    const std::vector<std::uint8_t> saved = device.save(0);
    balloon::device copy = must(balloon::device::create(host_config));
    check(copy.load(saved, 0));
    if (copy.status().target != 4096 || copy.sample())
        give_up("a device is not what was saved");

    // A pool knows of a device by itself.
    auto pool_config = balloon::sized<balloon_pool_config>();
    pool_config.max_guests = 1;
    pool_config.pages = 32768;
    pool_config.policy = &balloon_policy_fixed;
    balloon::pool pool = must(balloon::pool::create(pool_config));
    auto guest = balloon::sized<balloon_pool_guest>();
    guest.max = 16384;
    guest.current = 8192;
    const std::uint64_t id = must(pool.add(guest, 0));
    check(pool.feed(id, copy, 1));
    if (pool.guest(id)->config.current != 16384 || pool.guest(id + 1))
        give_up("a pool was not fed");
    check(pool.remove(id));
    if (pool.add(balloon_pool_guest{}, 0).status() != BALLOON_ERR_INVALID)
        give_up("a guest without size");
}

} // namespace

int main(int argc, char **argv)
{
    const std::string_view what = argc > 1 ? argv[1] : "";
    const char *policy = argc > 2 ? argv[2] : "waterline";

    if (what == "tracker")
        run_tracker();
    else if (what == "pool")
        run_pool(policy);
    else if (what == "sim")
        run_sim(policy);
    else if (what == "owners")
        run_owners();
    else
        return 2;
    return 0;
}
