/* The device of VMware under guests that send anything: no page that a sane reading of the protocol
 * leaves to the guest is discarded, and none counts twice. */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prng.h"
#include "vmware_support.h"

TestSuite(vmware_device_hostile, .fini = vm_end);

#define PAGES 4096

/* By what the answers said: which pages are locked. */
struct oracle {
    bool locked[PAGES];
    uint64_t count;
};

static void note(struct oracle *o, uint64_t command, balloon_pfn_t pfn, uint32_t status)
{
    bool in = command == BALLOON_VMWARE_LOCK || command == BALLOON_VMWARE_BATCHED_LOCK ||
              command == BALLOON_VMWARE_BATCHED_2M_LOCK;
    balloon_range range;

    if (status != BALLOON_VMWARE_SUCCESS)
        return;
    cr_assert_eq(balloon_vmware_entry_range((balloon_vmware_command)command, pfn, &range),
                 BALLOON_OK);
    cr_assert_leq(range.first + range.count, PAGES);
    for (uint64_t i = range.first; i < range.first + range.count; i++) {
        cr_assert(!in || !o->locked[i], "page %d was locked twice", (int)i);
        o->count += (uint64_t)in - o->locked[i];
        o->locked[i] = in;
    }
}

static void check_discards(const struct oracle *o, balloon_device *device, balloon_time_t now)
{
    balloon_action action;
    const char *why = NULL;

    while (balloon_device_poll(device, now, &action)) {
        cr_assert_neq(action.type, BALLOON_ACTION_ACK);
        for (uint32_t i = 0; i < action.run_count; i++)
            for (uint64_t p = 0; p < action.runs[i].range.count; p++)
                cr_assert(o->locked[action.runs[i].range.first + p]);
    }
    cr_assert_eq(vm_status(device).held, o->count);
    cr_assert(balloon_device_check(device, &why), "%s", why);
}

static balloon_pfn_t draw_pfn(struct prng *prng)
{
    switch (prng_below(prng, 8)) {
    case 0:
        return prng_next(prng);
    case 1:
        return ((uint64_t)1 << prng_below(prng, 64)) - prng_below(prng, 2);
    case 2:
        return prng_below(prng, 10) * 512;
    case 3:
    case 4:
        return prng_below(prng, 40);
    default:
        return prng_below(prng, PAGES + 20);
    }
}

/* Registers that are rubbish, or a call that is nearly right. */
static balloon_vmware_frame draw_frame(struct prng *prng)
{
    balloon_vmware_frame frame = {
        .ax = prng_next(prng) << 32 | BALLOON_VMWARE_MAGIC,
        .bx = draw_pfn(prng),
        .cx = prng_next(prng) << 16 | prng_below(prng, 12),
        .dx = prng_next(prng) << 16 | BALLOON_VMWARE_PORT,
        .si = prng_next(prng) << 32 | 1 << prng_below(prng, 11),
        .di = prng_next(prng),
    };

    if (prng_one_in(prng, 100))
        frame.ax = prng_next(prng);
    if (prng_one_in(prng, 100))
        frame.si = prng_next(prng);
    if ((uint16_t)frame.cx == BALLOON_VMWARE_START && !prng_one_in(prng, 30))
        frame.cx += 1;
    return frame;
}

static void step(struct prng *prng, struct oracle *o, balloon_device *device, balloon_time_t now)
{
    static uint8_t page[4096];
    balloon_vmware_entry before[BALLOON_VMWARE_BATCH_MAX], after[BALLOON_VMWARE_BATCH_MAX];
    balloon_vmware_width width = (balloon_vmware_width)prng_below(prng, 2);
    balloon_vmware_frame frame = draw_frame(prng), sent = frame;
    balloon_vmware_request request = {0};
    bool known = balloon_vmware_read_request(&frame, width, &request) == BALLOON_OK;

    for (uint32_t i = 0; i < BALLOON_VMWARE_BATCH_MAX; i++) {
        uint64_t word = draw_pfn(prng) << 12 | prng_below(prng, 4096);

        for (unsigned b = 0; b < 8; b++)
            page[8 * i + b] = (uint8_t)(word >> 8 * b);
    }
    if (request.entries)
        cr_assert_eq(balloon_vmware_read_batch(page, 4096, request.entries, before), BALLOON_OK);

    balloon_status status = balloon_vmware_call(device, &frame, width, page, 4096, now);
    cr_assert_eq(status, balloon_vmware_is_call(&sent) ? BALLOON_OK : BALLOON_ERR_INVALID);
    if (!known || status != BALLOON_OK)
        return;
    if (request.command == BALLOON_VMWARE_START)
        *o = (struct oracle){.count = 0};
    if (!request.entries &&
        (request.command == BALLOON_VMWARE_LOCK || request.command == BALLOON_VMWARE_UNLOCK))
        note(o, request.command, request.pfn, (uint32_t)frame.ax);
    if (!request.entries || frame.ax != BALLOON_VMWARE_SUCCESS)
        return;
    cr_assert_eq(balloon_vmware_read_batch(page, 4096, request.entries, after), BALLOON_OK);
    for (uint32_t i = 0; i < request.entries; i++) {
        cr_assert_eq(after[i].pfn, before[i].pfn);
        note(o, request.command, before[i].pfn, after[i].status);
        /* open-vm-tools loses the page with any other. */
        cr_assert(request.command == BALLOON_VMWARE_BATCHED_UNLOCK ||
                  request.command == BALLOON_VMWARE_BATCHED_2M_UNLOCK || after[i].status == 0 ||
                  after[i].status == 2 || after[i].status == 5 || after[i].status == 6);
    }
}

static void storm(uint64_t stream, uint64_t capabilities, uint64_t granule)
{
    struct prng prng = prng_start(prng_seed(), stream);
    balloon_device *device = vmw_started(capabilities, granule, 1024);
    uint64_t steps = prng_check_all() ? 200000 : 4000;
    static struct oracle oracle;
    uint64_t inhibits = 0;

    oracle = (struct oracle){.count = 0};
    for (uint64_t i = 0; i < steps; i++) {
        balloon_time_t now = i * VM_MS;

        step(&prng, &oracle, device, now);
        if (prng_one_in(&prng, 4))
            check_discards(&oracle, device, now);
        if (prng_one_in(&prng, 50))
            cr_assert_eq(balloon_device_set_target(device, prng_below(&prng, PAGES), now),
                         BALLOON_OK);
        if (prng_one_in(&prng, 300) && !inhibits)
            balloon_device_inhibit(device), inhibits++;
        else if (prng_one_in(&prng, 30) && inhibits)
            inhibits -= balloon_device_release(device) == BALLOON_OK;
    }
    cr_assert_gt(vm_counters(device).inflated, steps / 500);
    cr_assert_gt(vm_counters(device).deflated, steps / 500);
    cr_assert_gt(vm_counters(device).discarded, steps / 500);
}

Test(vmware_device_hostile, random_calls)
{
    storm(1, VMW_ALL, 1);
}

Test(vmware_device_hostile, random_calls_with_large_granules)
{
    storm(2, VMW_ALL, 512);
}

Test(vmware_device_hostile, random_calls_to_an_old_host)
{
    storm(3, BALLOON_VMWARE_BASIC, 1);
}

/* Another processor of the guest writes to the batch page while the host reads it. */
struct shared {
    _Atomic uint64_t words[BALLOON_VMWARE_BATCH_MAX];
    atomic_bool stop;
};

/* A power of two, so that a mixture of two words, as a processor of 32 bits may read it, names one
 * of these pages, too. */
enum { SCRIBBLED = 512 };

/* A word that reads as this number in the guest's byte order. */
static uint64_t little_endian(uint64_t value)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* Ends with its parent. */
static void scribble(struct shared *shared, pid_t parent)
{
    struct prng prng = prng_start(prng_seed(), 4);

    while (!atomic_load(&shared->stop) && getppid() == parent)
        for (uint32_t i = 0; i < BALLOON_VMWARE_BATCH_MAX; i++)
            atomic_store_explicit(&shared->words[i],
                                  little_endian(prng_below(&prng, SCRIBBLED << BALLOON_PAGE_SHIFT)),
                                  memory_order_relaxed);
    _exit(0);
}

/* Whatever was read, the books agree with the page map, and nothing is locked that was never named.
 */
Test(vmware_device_hostile, a_batch_that_changes_meanwhile)
{
    balloon_device *device = vmw_started(0, 1, 512);
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    pid_t parent = getpid(), guest = fork();
    balloon_range named = {0, SCRIBBLED};

    cr_assert_neq(guest, -1);
    if (!guest)
        scribble(shared, parent);
    for (uint64_t i = 0; i < 3000; i++) {
        balloon_vmware_request request = {.command = i % 2 ? BALLOON_VMWARE_BATCHED_UNLOCK
                                                           : BALLOON_VMWARE_BATCHED_LOCK,
                                          .pfn = VMW_BATCH,
                                          .entries = 1 + (uint32_t)(i % BALLOON_VMWARE_BATCH_MAX)};

        cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, (void *)shared->words,
                                sizeof(shared->words), 0)
                         .status,
                     BALLOON_VMWARE_SUCCESS);

        balloon_device_counters c = vm_counters(device);
        uint64_t held = vm_status(device).held;

        cr_assert_eq(c.inflated - c.deflated, held);
        cr_assert_eq(c.inflate_outside + c.deflate_outside, 0);
        cr_assert_eq(balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HELD, named),
                     held);
    }
    atomic_store(&shared->stop, true);
    cr_assert_eq(waitpid(guest, NULL, 0), guest);
    munmap(shared, sizeof(*shared));
}

/* An embedder may map the page anywhere. */
Test(vmware_device_hostile, a_batch_at_an_odd_address)
{
    balloon_device *device = vmw_started(0, 1, 64);
    uint8_t page[4096 + 8] = {0};
    balloon_vmware_entry entries[2] = {{5, 0}, {6, 0}};
    balloon_vmware_request request = {
        .command = BALLOON_VMWARE_BATCHED_LOCK, .pfn = VMW_BATCH, .entries = 2};

    cr_assert_eq(balloon_vmware_write_batch(entries, 2, page + 3, 4096), 16);
    cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page + 3, 4096, 0).status,
                 BALLOON_VMWARE_SUCCESS);
    cr_assert(vmw_held(device, 5));
    cr_assert(vmw_held(device, 6));
    cr_assert_eq(vm_status(device).held, 2);
}
