/* Guest memory changes while it is read: whatever was read, the books agree with the page map. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 1024 };

struct shared {
    _Atomic uint32_t words[WORDS];
    atomic_bool stop;
};

/* The guest: another process with the same memory, as a guest is. Ends with its parent. */
static void scribble(struct shared *shared, pid_t parent)
{
    struct prng prng = prng_start(prng_seed(), 4000);
    while (!atomic_load(&shared->stop) && getppid() == parent) {
        for (int n = 0; n < 64; n++) {
            uint32_t at = (uint32_t)prng_below(&prng, WORDS);
            uint32_t value = (uint32_t)prng_below(&prng, 6000);
            for (uint32_t i = at; i < WORDS && i < at + 40; i++)
                atomic_store_explicit(&shared->words[i], value + i, memory_order_relaxed);
        }
    }
    _exit(0);
}

static void race(uint32_t features)
{
    static const balloon_region ram[] = {{7, 3000, 4}, {3100, 2000, 1}};
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 2, .features = BALLOON_F_ALL};
    void *memory;
    balloon_device *device = rig_make(&config, &memory);
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    pid_t parent = getpid(), guest = fork();
    cr_assert_neq(guest, -1);
    if (!guest)
        scribble(shared, parent);
    rig_start(device, features, 0);
    uint64_t discarded = 0;
    for (uint64_t i = 0; i < (prng_check_all() ? 100000 : 3000); i++) {
        balloon_virtio_queue kind = i % 3 ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE;
        /* The device reads the words as bytes of somebody else's memory. */
        (void)!rig_send(device, kind, i, (const void *)shared->words, sizeof(shared->words) - i % 4,
                        i * 1000000);
        balloon_action action;
        uint64_t acks = 0;
        while (balloon_device_poll(device, i * 1000000, &action)) {
            acks += action.type == BALLOON_ACTION_ACK;
            for (uint32_t r = 0; r < action.run_count; r++)
                discarded += action.runs[r].range.count;
        }
        cr_assert_eq(acks, 1);
        balloon_device_counters c;
        balloon_device_counters_get(device, &c);
        uint64_t held = balloon_tracker_held(balloon_device_tracker(device));
        cr_assert_eq(c.inflated - c.deflated, held);
        cr_assert_eq(c.inflated + c.inflate_duplicate + c.inflate_outside + c.deflated +
                         c.deflate_unheld + c.deflate_outside,
                     /* Odd lengths lose their last number. */
                     (i + 1) * WORDS - (i + 1 - (i + 4) / 4));
        cr_assert_eq(c.discarded, discarded);
        const char *why = NULL;
        if (i % 16 == 0)
            cr_assert(balloon_device_check(device, &why), "%s", why);
    }
    atomic_store(&shared->stop, true);
    cr_assert_eq(waitpid(guest, NULL, 0), guest);
    munmap(shared, sizeof(*shared));
    free(memory);
}

Test(racing_guest, settling)
{
    race(0);
}

Test(racing_guest, gathering)
{
    race(BALLOON_F_MUST_TELL);
}
