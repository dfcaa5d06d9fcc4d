/* A balloon in a VMM that has no virtio: guest RAM, a device at some guest addresses, discards.
 * Rings are virtqueue.c, registers virtio_mmio.c; the rest of a VMM's part stands here. Where there
 * are several threads, hold one lock around all of it (docs/threads.md). */
#define _DEFAULT_SOURCE
#include "mmio_guest.h"
#include <balloon/alloc.h>
#include <balloon/os.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RAM_AT UINT64_C(0x80000000) /* where RAM begins for the guest: 2 GiB, page 0x80000 */
enum { PAGES = 4096, RUN_BATCH = 256 };
struct vm {
    uint8_t *ram;
    balloon_device *balloon;
    balloon_os *os;
    struct virtio_mmio mmio;
    bool line;            /* the interrupt */
    balloon_time_t timer; /* poll again then */
};

static balloon_time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (balloon_time_t)t.tv_sec * 1000000000u + (balloon_time_t)t.tv_nsec;
}

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    struct vm *vm = self;
    uint64_t at = address - RAM_AT, size = PAGES * BALLOON_PAGE_SIZE;
    if (at >= size)
        return NULL;
    *bytes = *bytes < size - at ? *bytes : size - at;
    return vm->ram + at;
}

/* Do what the library asks for: after each write to a register, each command, and at vm->timer. */
static void act(struct vm *vm)
{
    balloon_run failed[RUN_BATCH];
    size_t failures;
    balloon_action a;
    while (balloon_device_poll(vm->balloon, now(), &a)) {
        if (a.type == BALLOON_ACTION_DISCARD) {
            if (balloon_os_discard(vm->os, a.runs, a.run_count, failed, &failures) == BALLOON_OK)
                balloon_device_discard_zeroed(vm->balloon); /* nobody copies this guest's memory */
            else
                for (size_t i = 0; i < failures; i++)
                    balloon_device_discard_failed(vm->balloon, &failed[i], now());
        } else if (a.type == BALLOON_ACTION_ACK)
            virtio_mmio_give(&vm->mmio, &a);
        else if (a.type == BALLOON_ACTION_CONFIG_IRQ)
            virtio_mmio_config_changed(&vm->mmio);
    }
    vm->line = virtio_mmio_line(&vm->mmio);
    vm->timer = vm->mmio.again ? now() : balloon_device_deadline(vm->balloon);
}

static void timer_expired(struct vm *vm)
{
    virtio_mmio_again(&vm->mmio, now());
    act(vm);
}

/* The guest has written 4 bytes to the device's addresses. */
static void register_written(void *self, uint64_t offset, uint32_t value)
{
    struct vm *vm = self;
    virtio_mmio_write(&vm->mmio, offset, value, 4, now());
    act(vm);
}

static bool start(struct vm *vm, bool legacy)
{
    uint64_t granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    balloon_region ram = {RAM_AT / BALLOON_PAGE_SIZE, PAGES, granule};
    balloon_device_config config = {.size = sizeof config, .regions = &ram, .region_count = 1};
    balloon_os_region host = {.size = sizeof host, .pages = ram, .fd = -1};
    balloon_os_config os = {.size = sizeof os};
    host.host = vm->ram = mmap(NULL, PAGES * BALLOON_PAGE_SIZE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm->ram == MAP_FAILED || balloon_device_create(&config, &vm->balloon) != BALLOON_OK ||
        balloon_os_create(&os, &vm->os) != BALLOON_OK ||
        balloon_os_add_region(vm->os, 0, &host) != BALLOON_OK)
        return false;
    vm->mmio = (struct virtio_mmio){.balloon = vm->balloon, .memory = {find, vm}, .legacy = legacy};
    virtio_mmio_reset(&vm->mmio);
    return true;
}

/* The host wants 256 pages, and a guest of a few lines gives it the last 256. */
int main(void)
{
    static struct vm vm;
    uint32_t pages[256];
    uint8_t bytes[sizeof pages];
    balloon_device_status status = {0};
    struct mmio_guest guest = {
        .mmio = &vm.mmio, .write = register_written, .self = &vm, .window_at = RAM_AT};
    if (!start(&vm, false) || balloon_device_set_target(vm.balloon, 256, now()) != BALLOON_OK ||
        !mmio_guest_choose(&guest, mmio_guest_offered(&guest)))
        return 1;
    uint8_t *last = vm.ram + (PAGES - 1) * BALLOON_PAGE_SIZE;
    *last = 1;
    guest.window = vm.ram;
    mmio_guest_set_up(&guest, 0xf);
    mmio_guest_ready(&guest);
    for (uint32_t i = 0; i < 256; i++)
        pages[i] = (uint32_t)(RAM_AT / BALLOON_PAGE_SIZE) + PAGES - 256 + i;
    balloon_virtio_write_pfns(pages, 256, BALLOON_LITTLE_ENDIAN, bytes, sizeof bytes);
    mmio_guest_put(&guest, BALLOON_QUEUE_INFLATE, bytes, sizeof bytes, NULL, 0);
    mmio_guest_kick(&guest, BALLOON_QUEUE_INFLATE);
    for (unsigned ms = 0; ms < 5000 && status.returned < 256; ms++, usleep(1000)) {
        timer_expired(&vm); /* now and then, for vm.timer */
        balloon_device_status_get(vm.balloon, &status);
    }
    printf("%u pages came back to the host\n", (unsigned)status.returned);
    return !mmio_guest_take(&guest, BALLOON_QUEUE_INFLATE) || *last != 0;
}
