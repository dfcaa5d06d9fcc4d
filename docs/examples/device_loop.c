/* The whole of embedding a balloon in a VMM: set up, kick, poll, deadline, configuration space. */
#include <balloon/balloon.h>
#include <balloon/os.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { GUEST_PAGES = 4096, RUN_BATCH = 256 };

/* The rings, the interrupt and the timer are the VMM's own; a few variables stand for them. */
struct vm {
    uint8_t *ram;
    balloon_device *balloon;
    balloon_os *os;
    const balloon_virtio_buffer *ring; /* what the guest has put on a queue */
    uint64_t used;                     /* cookie of the last buffer that it got back */
    unsigned config_irqs;
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

/* ---- The host loop: from here ... ---- */
static void vm_poll(struct vm *vm)
{
    balloon_run failed[RUN_BATCH];
    size_t failures = 0;
    balloon_action action;

    while (balloon_device_poll(vm->balloon, now(), &action)) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD:
            if (balloon_os_discard(vm->os, action.runs, action.run_count, failed, &failures))
                for (size_t i = 0; i < failures; i++)
                    balloon_device_discard_failed(vm->balloon, &failed[i], now());
            break;
        case BALLOON_ACTION_ACK:
            vm->used = action.cookie; /* put it on the used ring of action.queue, interrupt */
            break;
        case BALLOON_ACTION_CONFIG_IRQ:
            vm->config_irqs++;
            break;
        default: /* news for whoever manages the guest: statistics, pressure, end of hints */
            break;
        }
    }
    vm->timer = balloon_device_deadline(vm->balloon); /* poll again then */
}

static void vm_kicked(struct vm *vm, uint32_t queue)
{
    for (; vm->ring; vm->ring = NULL) { /* for each descriptor chain */
        balloon_status status;

        while ((status = balloon_virtio_receive(vm->balloon, queue, vm->ring, now())) ==
               BALLOON_ERR_BUSY)
            vm_poll(vm);
        /* On ERR_PROTOCOL too the guest gets its buffer back by an action. */
        CHECK(status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
    }
    vm_poll(vm);
}
/* ---- ... to here. ---- */

static void *take_memory(balloon_layout layout)
{
    void *memory = NULL;

    CHECK(posix_memalign(&memory, layout.align, layout.bytes) == 0);
    return memory;
}

static void vm_start(struct vm *vm)
{
    uint64_t granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    balloon_region ram = {.first = 0, .count = GUEST_PAGES, .granule = granule};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .run_batch = RUN_BATCH};
    balloon_os_config os_config = {.size = sizeof(os_config)};
    balloon_os_region backing = {.size = sizeof(backing), .pages = ram, .fd = -1};
    balloon_layout size;

    vm->ram = mmap(NULL, GUEST_PAGES * BALLOON_PAGE_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(vm->ram != MAP_FAILED);
    backing.host = vm->ram;

    CHECK(!balloon_device_layout(&config, &size));
    CHECK(!balloon_device_init(take_memory(size), size.bytes, &config, &vm->balloon));
    CHECK(!balloon_os_layout(&os_config, &size));
    CHECK(!balloon_os_init(take_memory(size), size.bytes, &os_config, &vm->os));
    CHECK(!balloon_os_add_region(vm->os, 0, &backing));

    /* The driver takes all the features it is offered, and is ready. */
    CHECK(!balloon_virtio_set_features(vm->balloon, balloon_virtio_features(vm->balloon)));
    CHECK(!balloon_virtio_driver_ok(vm->balloon, 0, now()));
}

/* Manages a guest, and plays it too: its driver's bytes. */
int main(void)
{
    struct vm vm = {0};
    uint32_t pfns[256];
    uint8_t num_pages[4];

    vm_start(&vm);
    memset(vm.ram, 0xaa, GUEST_PAGES * BALLOON_PAGE_SIZE);

    /* Host: 256 pages, please. The guest is interrupted and reads the configuration. */
    CHECK(!balloon_device_set_target(vm.balloon, 256, now()));
    vm_poll(&vm);
    balloon_virtio_config_read(vm.balloon, 0, num_pages, sizeof(num_pages));
    CHECK(vm.config_irqs == 1 && num_pages[0] == 0 && num_pages[1] == 1);

    /* Guest: here they are, last page first as from Linux; and `actual` is 256 now. */
    for (uint32_t i = 0; i < 256; i++)
        pfns[i] = 1279 - i;
    balloon_virtio_write_pfns(pfns, 256, BALLOON_LITTLE_ENDIAN, vm.ram, BALLOON_PAGE_SIZE);
    balloon_iov bytes = {vm.ram, sizeof(pfns)};
    vm.ring = &(balloon_virtio_buffer){.cookie = 7, .readable = &bytes, .readable_count = 1};
    vm_kicked(&vm, BALLOON_QUEUE_INFLATE);
    balloon_virtio_config_write(vm.balloon, 4, num_pages, sizeof(num_pages));
    CHECK(vm.used == 7);

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
    free(vm.os);
    free(vm.balloon);
    return 0;
}
