/* A balloon without a heap: its memory is set aside when the program is built. */
#include <balloon/device.h>
#include <balloon/virtio.h>

#include <stdio.h>
#include <string.h>

enum {
    GUEST_PAGES = 262144,      /* 1 GiB */
    BALLOON_BYTES = 96 * 1024, /* 2 bits a page, a few lists; the program checks it below */
    BALLOON_ALIGN = 64
};

static _Alignas(BALLOON_ALIGN) unsigned char memory[BALLOON_BYTES];

/* How to find out what to write above: ask once, on a desk. */
static int fits(const balloon_device_config *config)
{
    balloon_layout need;

    if (balloon_device_layout(config, &need) != BALLOON_OK)
        return 0;
    printf("1 GiB of guest needs %zu bytes, aligned to %zu; set aside are %d and %d\n", need.bytes,
           need.align, BALLOON_BYTES, BALLOON_ALIGN);
    return need.bytes <= BALLOON_BYTES && need.align <= BALLOON_ALIGN;
}

int main(void)
{
    balloon_region ram = {.first = 0, .count = GUEST_PAGES, .granule = 1};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_buffers = 64};
    balloon_device *balloon;
    balloon_action action;

    if (!fits(&config) ||
        balloon_device_init(memory, sizeof(memory), &config, &balloon) != BALLOON_OK)
        return 1;

    /* From here on it is used as any other. */
    if (balloon_virtio_set_features(balloon, balloon_virtio_features(balloon)) != BALLOON_OK ||
        balloon_virtio_driver_ok(balloon, 0, 0) != BALLOON_OK ||
        balloon_device_set_target(balloon, 4096, 0) != BALLOON_OK)
        return 1;
    while (balloon_device_poll(balloon, 0, &action))
        printf("action %d\n", (int)action.type);

    /* Nothing needs to be undone: to be rid of the balloon, use the memory for something else. */
    memset(memory, 0, sizeof(memory));
    return 0;
}
