/* docs/examples/virtio_mmio.c, with a device behind it, under a guest that accesses registers and
 * writes to its memory as it likes: the device stays consistent, only RAM is read, what is
 * discarded is RAM, and after a reset an ordinary driver finds all as it should be.
 *
 * Input: layout and features; then steps: a register access, bytes into memory, a turn, polls. RAM
 * is an allocation of its own, for the address sanitizer to watch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mmio_guest.h"

enum { AT = 0x100000, PAGES = MMIO_GUEST_PAGES + 2 };
#define BYTES (PAGES * BALLOON_PAGE_SIZE)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint8_t *ram;
static struct virtio_mmio m;
static balloon_device *device;
static balloon_time_t now;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    (void)self;
    if (address < AT || address - AT >= BYTES)
        return NULL;
    uint64_t left = AT + BYTES - address;
    *bytes = *bytes < left ? *bytes : left;
    return ram + (address - AT);
}

static uint32_t number(const uint8_t **at, const uint8_t *end, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes && *at < end; i++, (*at)++) {
        const uint32_t byte = **at;

        value |= byte << 8 * i;
    }
    return value;
}

static void act(void)
{
    balloon_action a;

    while (balloon_device_poll(device, now, &a)) {
        if (a.type == BALLOON_ACTION_ACK)
            virtio_mmio_give(&m, &a);
        else if (a.type == BALLOON_ACTION_CONFIG_IRQ)
            virtio_mmio_config_changed(&m);
        for (uint32_t i = 0; i < a.run_count; i++)
            CHECK(a.runs[i].range.first >= AT / BALLOON_PAGE_SIZE &&
                  a.runs[i].range.first + a.runs[i].range.count <= AT / BALLOON_PAGE_SIZE + PAGES);
    }
    CHECK(virtio_mmio_line(&m) == (virtio_mmio_read(&m, 0x60, 4) != 0));
}

static void write_register(void *self, uint64_t offset, uint32_t value)
{
    (void)self;
    virtio_mmio_write(&m, offset, value, 4, now);
    act();
}

/* Whatever was before: reset, inflate a page, and see it taken. */
static void ordinary_driver(void)
{
    struct mmio_guest guest = {.mmio = &m, .write = write_register, .window = ram, .window_at = AT};
    uint32_t page = AT / BALLOON_PAGE_SIZE + PAGES - 1;
    balloon_device_status status;
    uint8_t bytes[4];

    CHECK(mmio_guest_choose(&guest, mmio_guest_offered(&guest)));
    mmio_guest_set_up(&guest, 3);
    mmio_guest_ready(&guest);
    balloon_virtio_write_pfns(&page, 1, BALLOON_LITTLE_ENDIAN, bytes, 4);
    CHECK(mmio_guest_put(&guest, BALLOON_QUEUE_INFLATE, bytes, 4, NULL, 0));
    mmio_guest_kick(&guest, BALLOON_QUEUE_INFLATE);
    CHECK(mmio_guest_interrupts(&guest) & 1);
    CHECK(mmio_guest_take(&guest, BALLOON_QUEUE_INFLATE));
    balloon_device_status_get(device, &status);
    CHECK(status.held == 1 && !(virtio_mmio_read(&m, 0x70, 4) & 0x40));
}

static void step(const uint8_t **at, const uint8_t *end)
{
    /* Registers whose value is an address or a size are worth small numbers, and addresses in RAM.
     */
    uint32_t kind = number(at, end, 1), offset, value;

    switch (kind % 8) {
    case 0:
    case 1:
        offset = number(at, end, 1) * 4u;
        value = number(at, end, 1);
        write_register(NULL, offset, value);
        break;
    case 2:
        offset = number(at, end, 1) * 4u;
        value = number(at, end, 3);
        write_register(NULL, offset, AT + value);
        break;
    case 3:
        offset = number(at, end, 2) % 0x400;
        value = number(at, end, 4);
        virtio_mmio_write(&m, offset, value, kind / 8 % 10, now);
        (void)virtio_mmio_read(&m, offset, kind / 8 % 10);
        break;
    case 4:
        virtio_mmio_again(&m, now);
        break;
    case 5:
        now += (uint64_t)number(at, end, 2) * 1000000;
        (void)!balloon_device_set_target(device, number(at, end, 1), now);
        (void)!balloon_device_request_stats(device, now);
        act();
        break;
    default:
        offset = number(at, end, 2);
        for (uint32_t count = kind / 8; count > 0 && *at < end; count--)
            ram[offset++ % BYTES] = (uint8_t)number(at, end, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t memory[65536];
    const uint8_t *end = data + size;
    const char *why = "";
    balloon_region region = {AT / BALLOON_PAGE_SIZE, PAGES, 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &region, .region_count = 1, .max_buffers = 8};
    uint32_t first = number(&data, end, 1);

    config.features = first >> 1 & BALLOON_F_ALL;
    if (!ram)
        ram = malloc(BYTES);
    CHECK(ram && balloon_device_init(memory, sizeof(memory), &config, &device) == BALLOON_OK);
    memset(ram, 0, BYTES);
    m = (struct virtio_mmio){.balloon = device, .memory = {find, NULL}, .legacy = first & 1};
    virtio_mmio_reset(&m);
    now = 0;
    while (data < end) {
        step(&data, end);
        CHECK(balloon_device_check(device, &why));
    }
    act();
    ordinary_driver();
    CHECK(balloon_device_check(device, &why));
    return 0;
}
