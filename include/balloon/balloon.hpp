/** @file
 * @brief C++17: owners for the objects of the library, and loops over what they hand out.
 */
#ifndef BALLOON_BALLOON_HPP
#define BALLOON_BALLOON_HPP

#include <balloon/balloon.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

/** @defgroup balloon_cpp C++
 * @brief The same library for C++17, in one header.
 *
 * Each class owns one object and frees it; it can be moved, not copied. What can fail says so by a
 * balloon_status, as in C, and what is made by a balloon::result of it: nothing throws but an
 * allocation of the standard library's own (std::vector, when memory is exhausted), so the header
 * is for programs without exceptions and RTTI, too. Structs, enums and constants are those of C.
 *
 * The members are the verbs of the loops of a VMM and of a manager. For all others, the functions
 * of the transports above all, there is get():
 *
 *     auto made = balloon::device::create(config);
 *     if (!made)
 *         return made.status();
 *     balloon::device device = made.take();
 *     if (balloon_virtio_driver_ok(device.get(), 0, now) != BALLOON_OK) ...
 *
 * One caller at a time for each object, as always.
 * @{ */

/** All that is C++ here. */
namespace balloon
{

/** A struct of the library that starts with its size: that is set, and all else is 0. */
template <class Struct> [[nodiscard]] Struct sized() noexcept
{
    Struct made{};

    made.size = sizeof(Struct);
    return made;
}

/** What a function makes, or why it has not. */
template <class Made> class [[nodiscard]] result
{
  public:
    /** It was not made.
     * @param status why; not BALLOON_OK. */
    explicit result(balloon_status status) noexcept : status_(status)
    {
    }
    /** It was made. */
    explicit result(Made &&made) noexcept : status_(BALLOON_OK), made_(std::move(made))
    {
    }

    /** Whether it was made. */
    explicit operator bool() const noexcept
    {
        return made_.has_value();
    }
    /** BALLOON_OK, or why not. */
    [[nodiscard]] balloon_status status() const noexcept
    {
        return status_;
    }
    /** What was made, once; only when there is something. */
    [[nodiscard]] Made take() noexcept
    {
        return std::move(*made_);
    }

  private:
    balloon_status status_;
    std::optional<Made> made_{};
};

/** An array of someone else's, for range-for. Valid as long as that is. */
template <class Item> class array_view
{
  public:
    /** The first count items at first. */
    array_view(const Item *first, std::size_t count) noexcept : first_(first), count_(count)
    {
    }
    /** The first item. */
    [[nodiscard]] const Item *begin() const noexcept
    {
        return first_;
    }
    /** Behind the last. */
    [[nodiscard]] const Item *end() const noexcept
    {
        return first_ + count_;
    }
    /** How many. */
    [[nodiscard]] std::size_t size() const noexcept
    {
        return count_;
    }

  private:
    const Item *first_;
    std::size_t count_;
};

/** The runs of a DISCARD. Valid until the next call on the device. */
[[nodiscard]] inline array_view<balloon_run> runs(const balloon_action &action) noexcept
{
    return {action.runs, action.run_count};
}

/** How an object is freed: by its function of alloc.h. */
template <auto Destroy> struct free_by {
    /** Free it. */
    template <class Object> void operator()(Object *object) const noexcept
    {
        Destroy(object);
    }
};

/** How an object is freed that lies in an array. */
struct free_array {
    std::max_align_t *memory = nullptr; /**< The array. */
    /** Free it. */
    void operator()(const void *) const noexcept
    {
        delete[] memory;
    }
};

/** What the owners have in common. Once moved from they may only be assigned to and destroyed. */
template <class Object, class Free> class owner
{
  public:
    /** For functions that have no member here; the object stays owned. */
    [[nodiscard]] Object *get() noexcept
    {
        return object_.get();
    }
    /** The same for questions. */
    [[nodiscard]] const Object *get() const noexcept
    {
        return object_.get();
    }

  protected:
    /** Own this object. */
    explicit owner(Object *object, Free how = Free{}) noexcept : object_(object, how)
    {
    }
    /** Make one by a function of alloc.h. */
    template <class Owner, class Config>
    static result<Owner> make(balloon_status (*create)(const Config *, Object **),
                              const Config &config) noexcept
    {
        Object *object = nullptr;
        const balloon_status status = create(&config, &object);

        return status == BALLOON_OK ? result<Owner>(Owner(object)) : result<Owner>(status);
    }

    /** Make one in an array by the functions of its header. */
    template <class Owner, class Config>
    static result<Owner> place(balloon_status (*lay)(const Config *, balloon_layout *),
                               balloon_status (*init)(void *, std::size_t, const Config *,
                                                      Object **),
                               const Config &config) noexcept
    {
        balloon_layout layout{};
        Object *object = nullptr;
        balloon_status status = lay(&config, &layout);

        if (status != BALLOON_OK)
            return result<Owner>(status);
        const std::size_t count = layout.bytes / sizeof(std::max_align_t) + 1;
        const free_array array{new (std::nothrow) std::max_align_t[count]};
        status =
            array.memory ? init(array.memory, layout.bytes, &config, &object) : BALLOON_ERR_NOSPACE;
        if (status == BALLOON_OK)
            return result<Owner>(Owner(object, array));
        array(object);
        return result<Owner>(status);
    }

  private:
    std::unique_ptr<Object, Free> object_;
};

/** The page map: see @ref balloon_tracker. */
class tracker : public owner<balloon_tracker, free_by<balloon_tracker_destroy>>
{
  public:
    /** Make one; see balloon_tracker_create(). */
    static result<tracker> create(const balloon_tracker_config &config) noexcept
    {
        return make<tracker>(balloon_tracker_create, config);
    }

    /** balloon_tracker_set_gather(). */
    void set_gather(bool gather) noexcept
    {
        balloon_tracker_set_gather(get(), gather);
    }
    /** balloon_tracker_add_region(). */
    [[nodiscard]] balloon_status add_region(const balloon_region &region,
                                            std::uint32_t *id = nullptr) noexcept
    {
        return balloon_tracker_add_region(get(), &region, id);
    }
    /** balloon_tracker_inflate(). */
    void inflate(const std::uint32_t *pfns, std::size_t count,
                 balloon_tally *tally = nullptr) noexcept
    {
        balloon_tracker_inflate(get(), pfns, count, tally);
    }
    /** balloon_tracker_deflate(). */
    void deflate(const std::uint32_t *pfns, std::size_t count,
                 balloon_tally *tally = nullptr) noexcept
    {
        balloon_tracker_deflate(get(), pfns, count, tally);
    }
    /** balloon_tracker_inflate_range(). */
    void inflate(balloon_range range, balloon_tally *tally = nullptr) noexcept
    {
        balloon_tracker_inflate_range(get(), range, tally);
    }
    /** balloon_tracker_deflate_range(). */
    void deflate(balloon_range range, balloon_tally *tally = nullptr) noexcept
    {
        balloon_tracker_deflate_range(get(), range, tally);
    }
    /** balloon_tracker_take(): up to max runs, all to be discarded now. */
    std::size_t take(balloon_run *to, std::size_t max) noexcept
    {
        return balloon_tracker_take(get(), to, max);
    }
    /** balloon_tracker_settle(). */
    void settle() noexcept
    {
        balloon_tracker_settle(get());
    }
    /** balloon_tracker_held(). */
    [[nodiscard]] std::uint64_t held() const noexcept
    {
        return balloon_tracker_held(get());
    }
    /** balloon_tracker_ready(). */
    [[nodiscard]] std::uint64_t ready() const noexcept
    {
        return balloon_tracker_ready(get());
    }
    /** balloon_tracker_count(). */
    [[nodiscard]] std::uint64_t count(balloon_set set, balloon_range range) const noexcept
    {
        return balloon_tracker_count(get(), set, range);
    }
    /** balloon_tracker_next(). */
    [[nodiscard]] std::optional<balloon_run> next(balloon_set set,
                                                  balloon_range range) const noexcept
    {
        balloon_run run{};

        return balloon_tracker_next(get(), set, range, &run) ? std::optional(run) : std::nullopt;
    }

  private:
    friend owner;
    using owner::owner;
};

/** The host end of one balloon: see @ref balloon_device. */
class device : public owner<balloon_device, free_by<balloon_device_destroy>>
{
  public:
    /** Make one; see balloon_device_create(). */
    static result<device> create(const balloon_device_config &config) noexcept
    {
        return make<device>(balloon_device_create, config);
    }

    /** balloon_device_set_target(). */
    [[nodiscard]] balloon_status set_target(std::uint64_t pages, balloon_time_t now) noexcept
    {
        return balloon_device_set_target(get(), pages, now);
    }
    /** balloon_virtio_receive(). */
    [[nodiscard]] balloon_status receive(std::uint32_t queue, const balloon_virtio_buffer &buffer,
                                         balloon_time_t now) noexcept
    {
        return balloon_virtio_receive(get(), queue, &buffer, now);
    }
    /** balloon_device_poll(): the next thing to do. What it points to is valid until the next call
     * on the device. */
    [[nodiscard]] std::optional<balloon_action> poll(balloon_time_t now) noexcept
    {
        balloon_action action{};

        return balloon_device_poll(get(), now, &action) ? std::optional(action) : std::nullopt;
    }
    /** Poll until there is nothing to do.
     * @param now  the time.
     * @param todo called with a const balloon_action & each time. It may call
     *             discard_failed() and balloon_device_discard_zeroed(), nothing else on the device.
     */
    template <class Do> void serve(balloon_time_t now, Do &&todo)
    {
        while (const std::optional<balloon_action> action = poll(now))
            todo(*action);
    }
    /** balloon_device_deadline(). */
    [[nodiscard]] balloon_time_t deadline() const noexcept
    {
        return balloon_device_deadline(get());
    }
    /** balloon_device_discard_failed(). */
    void discard_failed(const balloon_run &run, balloon_time_t now) noexcept
    {
        balloon_device_discard_failed(get(), &run, now);
    }
    /** balloon_device_status_get(). */
    [[nodiscard]] balloon_device_status status() const noexcept
    {
        balloon_device_status status{};

        balloon_device_status_get(get(), &status);
        return status;
    }
    /** balloon_device_counters_get(). */
    [[nodiscard]] balloon_device_counters counters() const noexcept
    {
        balloon_device_counters counters{};

        balloon_device_counters_get(get(), &counters);
        return counters;
    }
    /** balloon_device_sample(). */
    [[nodiscard]] std::optional<balloon_sample> sample() const noexcept
    {
        balloon_sample sample{};

        return balloon_device_sample(get(), &sample) ? std::optional(sample) : std::nullopt;
    }
    /** balloon_device_save() into memory of the right size. */
    [[nodiscard]] std::vector<std::uint8_t> save(balloon_time_t now) const
    {
        std::vector<std::uint8_t> bytes(balloon_device_save_bytes(get()));
        std::size_t used = 0;

        if (balloon_device_save(get(), now, bytes.data(), bytes.size(), &used) != BALLOON_OK)
            used = 0; /* Cannot be: the size was asked for. */
        bytes.resize(used);
        return bytes;
    }
    /** balloon_device_load(). */
    [[nodiscard]] balloon_status load(const std::vector<std::uint8_t> &bytes,
                                      balloon_time_t now) noexcept
    {
        return balloon_device_load(get(), now, bytes.data(), bytes.size());
    }

  private:
    friend owner;
    using owner::owner;
};

/** The guest end: see @ref balloon_driver. */
class driver : public owner<balloon_driver, free_by<balloon_driver_destroy>>
{
  public:
    /** Make one; see balloon_driver_create(). */
    static result<driver> create(const balloon_driver_config &config) noexcept
    {
        return make<driver>(balloon_driver_create, config);
    }

    /** balloon_driver_poll(): the next thing to do. What it points to is valid until the next call
     * on the driver. */
    [[nodiscard]] std::optional<balloon_driver_action> poll(balloon_time_t now) noexcept
    {
        balloon_driver_action action{};

        return balloon_driver_poll(get(), now, &action) ? std::optional(action) : std::nullopt;
    }
    /** balloon_driver_give(). */
    [[nodiscard]] balloon_status give(balloon_driver_channel channel, const balloon_range *blocks,
                                      std::size_t count, balloon_time_t now) noexcept
    {
        return balloon_driver_give(get(), channel, blocks, count, now);
    }
    /** balloon_driver_deadline(). */
    [[nodiscard]] balloon_time_t deadline() const noexcept
    {
        return balloon_driver_deadline(get());
    }
    /** balloon_driver_status_get(). */
    [[nodiscard]] balloon_driver_status status() const noexcept
    {
        balloon_driver_status status{};

        balloon_driver_status_get(get(), &status);
        return status;
    }

  private:
    friend owner;
    using owner::owner;
};

/** All guests of a host: see @ref balloon_pool. */
class pool : public owner<balloon_pool, free_by<balloon_pool_destroy>>
{
  public:
    /** Make one; see balloon_pool_create(). */
    static result<pool> create(const balloon_pool_config &config) noexcept
    {
        return make<pool>(balloon_pool_create, config);
    }

    /** balloon_pool_add(): the number of the guest. */
    result<std::uint64_t> add(const balloon_pool_guest &guest, balloon_time_t now) noexcept
    {
        std::uint64_t id = 0;
        const balloon_status status = balloon_pool_add(get(), &guest, now, &id);

        return status == BALLOON_OK ? result<std::uint64_t>(std::move(id))
                                    : result<std::uint64_t>(status);
    }
    /** balloon_pool_remove(). */
    [[nodiscard]] balloon_status remove(std::uint64_t id) noexcept
    {
        return balloon_pool_remove(get(), id);
    }
    /** balloon_pool_set_size(). */
    [[nodiscard]] balloon_status set_size(std::uint64_t id, std::uint64_t pages,
                                          balloon_time_t now) noexcept
    {
        return balloon_pool_set_size(get(), id, pages, now);
    }
    /** balloon_pool_set_owed(). */
    [[nodiscard]] balloon_status set_owed(std::uint64_t id, std::uint64_t pages) noexcept
    {
        return balloon_pool_set_owed(get(), id, pages);
    }
    /** balloon_pool_sample(). */
    [[nodiscard]] balloon_status sample(std::uint64_t id, const balloon_sample &sample,
                                        balloon_time_t now) noexcept
    {
        return balloon_pool_sample(get(), id, &sample, now);
    }
    /** balloon_host_feed(): size, statistics and the rest from the guest's device. */
    [[nodiscard]] balloon_status feed(std::uint64_t id, const device &of,
                                      balloon_time_t now) noexcept
    {
        return balloon_host_feed(get(), id, of.get(), now);
    }
    /** balloon_pool_decide(), and balloon_pool_next() until there is no change left.
     * @param now   the time.
     * @param apply called with a const balloon_change & each time. It may ask the pool, not change
     *              it.
     * @return how the decision came out. */
    template <class Apply> balloon_verdict decide(balloon_time_t now, Apply &&apply)
    {
        const balloon_verdict verdict = balloon_pool_decide(get(), now);
        balloon_change change{};

        while (balloon_pool_next(get(), &change))
            apply(static_cast<const balloon_change &>(change));
        return verdict;
    }
    /** balloon_pool_deadline(). */
    [[nodiscard]] balloon_time_t deadline() const noexcept
    {
        return balloon_pool_deadline(get());
    }
    /** balloon_pool_wants(). */
    [[nodiscard]] std::uint32_t wants(std::uint64_t id, balloon_time_t now) const noexcept
    {
        return balloon_pool_wants(get(), id, now);
    }
    /** balloon_pool_status_get(). */
    [[nodiscard]] balloon_pool_status status() const noexcept
    {
        balloon_pool_status status{};

        balloon_pool_status_get(get(), &status);
        return status;
    }
    /** balloon_pool_guest_get(). */
    [[nodiscard]] std::optional<balloon_pool_guest_status> guest(std::uint64_t id) const noexcept
    {
        balloon_pool_guest_status status{};

        return balloon_pool_guest_get(get(), id, &status) == BALLOON_OK ? std::optional(status)
                                                                        : std::nullopt;
    }

  private:
    friend owner;
    using owner::owner;
};

/** A built-in scenario: see @ref balloon_sim. Simulations of it must not outlive it; it may move.
 */
class scenario : public owner<const balloon_scenario, free_array>
{
  public:
    /** balloon_scenario_build() in memory of its own. */
    static result<scenario> create(const balloon_scenario_options &options) noexcept
    {
        return place<scenario>(balloon_scenario_layout, balloon_scenario_build, options);
    }

  private:
    friend owner;
    using owner::owner;
};

/** A simulation: see @ref balloon_sim. */
class simulation : public owner<balloon_sim, free_array>
{
  public:
    /** balloon_sim_init() in memory of its own. What the config names (scenario, policy, records,
     * actuator) has to outlive it. */
    static result<simulation> create(const balloon_sim_config &config) noexcept
    {
        return place<simulation>(balloon_sim_layout, balloon_sim_init, config);
    }

    /** balloon_sim_run(). */
    void run(std::uint64_t until_ms) noexcept
    {
        balloon_sim_run(get(), until_ms);
    }
    /** balloon_sim_records(). */
    [[nodiscard]] std::size_t records() const noexcept
    {
        return balloon_sim_records(get());
    }
    /** balloon_sim_result_get(). */
    [[nodiscard]] balloon_sim_result outcome() const noexcept
    {
        balloon_sim_result outcome{};

        balloon_sim_result_get(get(), &outcome);
        return outcome;
    }

  private:
    friend owner;
    using owner::owner;
};

} // namespace balloon

/** @} */

#endif
