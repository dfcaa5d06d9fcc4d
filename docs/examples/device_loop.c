/* The whole of embedding a balloon in a VMM: set up, kick, poll, deadline, configuration space. */
#define _DEFAULT_SOURCE
#include <balloon/balloon.h>
#include <balloon/os.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { GUEST_PAGES = 4096, RUN_BATCH = 256, RING = 4 };

/* The rings, the interrupt and the timer are the VMM's own; a few variables stand for them. */
struct vm {
    uint8_t *ram;
    balloon_device *balloon;
    balloon_os *os;
    balloon_virtio_buffer ring[8][RING]; /* what the guest has put on its queues */
    size_t waiting[8];
    uint64_t used; /* cookie of the last buffer that it got back */
    unsigned gave, interrupts, config_irqs;
    balloon_time_t timer;
};

static balloon_time_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (balloon_time_t)t.tv_sec * 1000000000u + (balloon_time_t)t.tv_nsec;
}

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

/* Put it on the used ring of its queue with this length; the interrupt comes later. */
static void vm_give(struct vm *vm, uint64_t cookie)
{
    vm->used = cookie;
    vm->gave++;
}

/* ---- The host loop: from here ... ---- */
static void vm_poll(struct vm *vm)
{
    balloon_run failed[RUN_BATCH];
    size_t failures = 0, n;
    balloon_action action;
    balloon_ack acks[RING];
    unsigned before = vm->gave;

    while (balloon_device_poll(vm->balloon, now(), &action)) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD:
            if (balloon_os_discard(vm->os, action.runs, action.run_count, failed, &failures))
                for (size_t i = 0; i < failures; i++)
                    balloon_device_discard_failed(vm->balloon, &failed[i], now());
            break;
        case BALLOON_ACTION_ACK:
            vm_give(vm, action.cookie);
            break;
        case BALLOON_ACTION_CONFIG_IRQ:
            vm->config_irqs++;
            break;
        default: /* news for whoever manages the guest: see balloon_action_type in device.h */
            break;
        }
        /* Other buffers that can go back now, without a poll for each of them. */
        while ((n = balloon_device_poll_acks(vm->balloon, acks, RING)) > 0)
            for (size_t i = 0; i < n; i++)
                vm_give(vm, acks[i].cookie);
    }
    vm->interrupts += vm->gave != before;             /* one for all of them */
    vm->timer = balloon_device_deadline(vm->balloon); /* poll again then */
}

/* A kick: pass on all descriptor chains of the queue. On ERR_PROTOCOL, too, the guest gets its
 * buffer back by an action. */
static void vm_kicked(struct vm *vm, uint32_t queue)
{
    balloon_virtio_buffer *ring = vm->ring[queue];
    balloon_status statuses[RING];

    while (vm->waiting[queue]) {
        size_t taken = balloon_virtio_receive_many(vm->balloon, queue, ring, vm->waiting[queue],
                                                   statuses, now());
        size_t left = vm->waiting[queue] -= taken;

        memmove(ring, ring + taken, left * sizeof(*ring));
        if (!left || statuses[taken] == BALLOON_ERR_STATE)
            break; /* too early: they wait in the ring for DRIVER_OK */
        /* Anything else would be our own mistake, whatever the guest does. */
        CHECK(statuses[taken] == BALLOON_ERR_BUSY);
        vm_poll(vm);
    }
    vm_poll(vm);
}

/* DRIVER_OK: look into all queues, since Linux fills its statistics queue before. */
static void vm_driver_ok(struct vm *vm)
{
    if (balloon_virtio_driver_ok(vm->balloon, 0, now()) != BALLOON_OK)
        return; /* said twice */
    for (uint32_t queue = 0; queue < balloon_virtio_queue_count(vm->balloon); queue++)
        vm_kicked(vm, queue);
}
/* ---- ... to here. ---- */

/* The guest puts a buffer on a queue, and does not kick it. */
static void guest_puts(struct vm *vm, uint32_t queue, balloon_virtio_buffer buffer)
{
    vm->ring[queue][vm->waiting[queue]++] = buffer;
}

static void vm_start(struct vm *vm)
{
    uint64_t granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    balloon_region ram = {.first = 0, .count = GUEST_PAGES, .granule = granule};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .run_batch = RUN_BATCH};
    balloon_os_config os_config = {.size = sizeof(os_config)};
    balloon_os_region backing = {.size = sizeof(backing), .pages = ram, .fd = -1};

    vm->ram = mmap(NULL, GUEST_PAGES * BALLOON_PAGE_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(vm->ram != MAP_FAILED);
    backing.host = vm->ram;

    CHECK(!balloon_device_create(&config, &vm->balloon));
    CHECK(!balloon_os_create(&os_config, &vm->os));
    CHECK(!balloon_os_add_region(vm->os, 0, &backing));
}

/* Manages a guest, and plays it too: its driver's bytes. */
int main(void)
{
    struct vm vm = {0};
    uint32_t pfns[256];
    uint8_t num_pages[4];

    vm_start(&vm);
    memset(vm.ram, 0xaa, GUEST_PAGES * BALLOON_PAGE_SIZE);

    /* The driver takes the features it is offered, but for reporting; fills its statistics queue,
     * kicks too early, and is ready. It uses the queue that it did not take, and gets its buffer
     * back. */
    CHECK(!balloon_virtio_set_features(vm.balloon, balloon_virtio_features(vm.balloon) &
                                                       ~(uint64_t)BALLOON_F_REPORTING));
    guest_puts(&vm, BALLOON_QUEUE_STATS, (balloon_virtio_buffer){.cookie = 1});
    vm_kicked(&vm, BALLOON_QUEUE_STATS);
    CHECK(vm.waiting[BALLOON_QUEUE_STATS] == 1);
    vm_driver_ok(&vm);
    CHECK(vm.waiting[BALLOON_QUEUE_STATS] == 0);
    guest_puts(&vm, 3, (balloon_virtio_buffer){.cookie = 2});
    vm_kicked(&vm, 3);
    CHECK(vm.used == 2);

    /* Host: 256 pages, please. The guest is interrupted and reads the configuration. */
    CHECK(!balloon_device_set_target(vm.balloon, 256, now()));
    vm_poll(&vm);
    balloon_virtio_config_read(vm.balloon, 0, num_pages, sizeof(num_pages));
    CHECK(vm.config_irqs == 1 && num_pages[0] == 0 && num_pages[1] == 1);

    /* Guest: here they are in two buffers, last page first as from Linux; and `actual` is 256 now.
     */
    for (uint32_t i = 0; i < 256; i++)
        pfns[i] = 1279 - i;
    balloon_virtio_write_pfns(pfns, 256, BALLOON_LITTLE_ENDIAN, vm.ram, BALLOON_PAGE_SIZE);
    balloon_iov bytes[2] = {{vm.ram, sizeof(pfns) / 2},
                            {vm.ram + sizeof(pfns) / 2, sizeof(pfns) / 2}};
    unsigned interrupts = vm.interrupts;
    for (unsigned i = 0; i < 2; i++)
        guest_puts(
            &vm, BALLOON_QUEUE_INFLATE,
            (balloon_virtio_buffer){.cookie = 6 + i, .readable = &bytes[i], .readable_count = 1});
    vm_kicked(&vm, BALLOON_QUEUE_INFLATE);
    balloon_virtio_config_write(vm.balloon, 4, num_pages, sizeof(num_pages));
    CHECK(vm.used == 7 && vm.interrupts == interrupts + 1);

    /* This guest will not touch them before the host has answered a deflate, so the discard may
     * wait for more pages until its deadline. */
    while (vm.timer != BALLOON_TIME_NEVER) {
        usleep(1000);
        if (now() >= vm.timer)
            vm_poll(&vm);
    }
    for (size_t page = 0; page < GUEST_PAGES; page++)
        CHECK(vm.ram[page * BALLOON_PAGE_SIZE + 4095] == (page >= 1024 && page < 1280 ? 0 : 0xaa));
    puts(balloon_reason_text(balloon_device_explain(vm.balloon, now(), NULL)));

    balloon_os_destroy(vm.os);
    balloon_device_destroy(vm.balloon);
    return 0;
}
