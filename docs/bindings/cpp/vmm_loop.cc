// The loop of a VMM, with a toy guest that inflates and deflates where it likes. What a real one
// adds is its memory and its rings.
//
//     c++ -std=c++17 vmm_loop.cc $(pkg-config --cflags --libs libballoon)
#include <balloon/balloon.hpp>

#include <cinttypes>
#include <cstdio>

namespace
{

constexpr balloon_time_t ms = 1000000;

// The guest's choices; any will do.
class chooser
{
  public:
    std::uint32_t below(std::uint32_t limit)
    {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>((state_ >> 33) % limit);
    }

  private:
    std::uint64_t state_ = 1;
};

// After each kick and each command, and at the deadline: do what the device says.
void serve(balloon::device &device, balloon_time_t now)
{
    static unsigned discards = 0;

    device.serve(now, [&](const balloon_action &action) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD: // madvise(); see balloon/os.h
            for (const balloon_run &run : balloon::runs(action))
                std::printf("discard %" PRIu32 " %" PRIu64 "+%" PRIu64 "\n", run.region,
                            run.range.first, run.range.count);
            if (++discards % 7 == 0) { // Now and then the system refuses.
                device.discard_failed(balloon_run(action.runs[0]), now);
                std::printf("failed\n");
            }
            break;
        case BALLOON_ACTION_ACK: // put it on the used ring, interrupt
            std::printf("ack %" PRIu32 " %" PRIu64 " %" PRIu32 "\n", action.queue, action.cookie,
                        action.used_bytes);
            break;
        case BALLOON_ACTION_CONFIG_IRQ: { // the guest reads its configuration
            unsigned char space[4];

            balloon_virtio_config_read(device.get(), 0, space, sizeof(space));
            std::printf("target %d\n", space[0] | space[1] << 8 | space[2] << 16);
            break;
        }
        case BALLOON_ACTION_PRESSURE:
            std::printf("the guest is short of memory\n");
            break;
        default: // Statistics and hints, which nobody has asked for.
            break;
        }
    });
}

// A buffer of the guest: so many page numbers from first on, in little-endian bytes.
balloon_status kick(balloon::device &device, std::uint32_t queue, std::uint64_t cookie,
                    std::uint32_t first, std::uint32_t count, balloon_time_t now)
{
    std::vector<std::uint8_t> bytes;

    for (std::uint32_t pfn = first; pfn < first + count; pfn++) {
        for (int shift = 0; shift < 32; shift += 8)
            bytes.push_back(static_cast<std::uint8_t>(pfn >> shift));
    }
    const balloon_iov readable{bytes.data(), bytes.size()};
    balloon_virtio_buffer buffer{};

    buffer.cookie = cookie;
    buffer.readable = &readable;
    buffer.readable_count = 1;
    return device.receive(queue, buffer, now);
}

balloon_status run()
{
    const balloon_region ram[] = {{0, 16384, 1}, {0x80000, 16384, 16}};
    auto config = balloon::sized<balloon_device_config>();

    config.regions = ram;
    config.region_count = 2;
    auto made = balloon::device::create(config);
    if (!made)
        return made.status();
    balloon::device device = made.take();

    // The driver chooses features and starts; the host asks for a balloon of 32 MiB.
    balloon_time_t now = 0;
    const std::uint64_t features = balloon_virtio_features(device.get());
    balloon_status status = balloon_virtio_set_features(device.get(), features);
    if (status == BALLOON_OK)
        status = balloon_virtio_driver_ok(device.get(), 0, now);
    if (status == BALLOON_OK)
        status = device.set_target(8192, now);
    if (status != BALLOON_OK)
        return status;
    serve(device, now);

    chooser choose;
    for (std::uint32_t step = 0; step < 300; step++) {
        const std::uint32_t queue = choose.below(4) ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE;
        const std::uint32_t base = choose.below(2) ? 0x80000 : 0;
        const std::uint32_t first = base + choose.below(16384 - 64);
        const std::uint32_t count = 1 + choose.below(64);

        now += 7 * ms;
        status = kick(device, queue, step, first, count, now);
        if (status != BALLOON_OK)
            return status;
        serve(device, now);
    }
    for (int i = 0; i < 3; i++) {
        now = device.deadline();
        std::printf("sleep until %" PRIu64 "\n", now);
        serve(device, now);
    }

    const balloon_device_status end = device.status();
    const balloon_device_counters n = device.counters();
    std::printf("held %" PRIu64 " pending %" PRIu64 " returned %" PRIu64 "\n", end.held,
                end.pending, end.returned);
    std::printf("inflated %" PRIu64 " deflated %" PRIu64 " cancelled %" PRIu64 " discarded %" PRIu64
                " in %" PRIu64 " failed %" PRIu64 "\n",
                n.inflated, n.deflated, n.cancelled, n.discarded, n.discard_runs, n.discard_failed);
    std::printf("%s\n", balloon_reason_text(balloon_device_explain(device.get(), now, nullptr)));

    // For migration or a snapshot.
    const std::vector<std::uint8_t> saved = device.save(now);
    std::uint64_t sum = 0;
    for (const std::uint8_t byte : saved)
        sum = sum * 31 + byte;
    std::printf("saved %zu %016" PRIx64 "\n", saved.size(), sum);
    return BALLOON_OK;
}

} // namespace

int main()
{
    const balloon_status status = run();

    if (status != BALLOON_OK)
        std::fprintf(stderr, "%s\n", balloon_status_text(status));
    return status == BALLOON_OK ? 0 : 1;
}
