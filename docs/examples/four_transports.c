/* One host loop for guests of virtio, Hyper-V, VMware and Xen; only what arrives differs. */
#include <balloon/balloon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 8192, GUESTS = 4 }; /* 32 MiB each */
#define MS UINT64_C(1000000)

static void check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

static balloon_time_t now;

/* A guest as the host sees it, and, since this is an example, its kernel with the driver. */
struct vm {
    const char *name;
    balloon_device *device;
    balloon_driver *driver;
    uint64_t discarded;
    void (*attach)(struct vm *vm);
    void (*to_guest)(struct vm *vm, const balloon_action *action);       /* SEND, ACK, CONFIG_IRQ */
    void (*to_host)(struct vm *vm, const balloon_driver_action *action); /* SEND, CONFIG */
    unsigned char in_use[PAGES];
};

/* ---- The host loop, the same for all ---- */
static void host_works(struct vm *vm)
{
    balloon_action action;

    while (balloon_device_poll(vm->device, now, &action)) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD: /* balloon_os_discard() in a program with real memory */
            for (uint32_t i = 0; i < action.run_count; i++)
                vm->discarded += action.runs[i].range.count;
            break;
        case BALLOON_ACTION_ACK:
        case BALLOON_ACTION_CONFIG_IRQ:
        case BALLOON_ACTION_SEND:
            vm->to_guest(vm, &action);
            break;
        default: /* statistics, pressure */
            break;
        }
    }
}

/* ---- virtio: buffers in, acknowledgements out ---- */
static void virtio_config(struct vm *vm)
{
    unsigned char config[BALLOON_VIRTIO_CONFIG_BYTES];

    balloon_virtio_config_read(vm->device, 0, config, sizeof(config));
    balloon_virtio_driver_config(vm->driver, config, sizeof(config), now);
}

static void virtio_attach(struct vm *vm)
{
    uint64_t features;

    CHECK(!balloon_virtio_driver_negotiate(vm->driver, balloon_virtio_features(vm->device), NULL,
                                           &features));
    CHECK(!balloon_virtio_set_features(vm->device, features));
    CHECK(!balloon_virtio_driver_ok(vm->device, 0, now));
    CHECK(!balloon_virtio_driver_start(vm->driver, now));
    virtio_config(vm);
}

static void virtio_to_guest(struct vm *vm, const balloon_action *action)
{
    if (action->type == BALLOON_ACTION_ACK)
        CHECK(!balloon_virtio_driver_acked(vm->driver, action->queue, now));
    else
        virtio_config(vm);
}

static void virtio_to_host(struct vm *vm, const balloon_driver_action *action)
{
    static unsigned char bytes[65536];
    balloon_virtio_message message;
    unsigned char value[4];

    if (action->type == BALLOON_DRIVER_CONFIG) {
        for (int i = 0; i < 4; i++)
            value[i] = (unsigned char)(action->value >> 8 * i);
        balloon_virtio_config_write(vm->device, action->offset, value, sizeof(value));
        return;
    }
    CHECK(
        !balloon_virtio_driver_write(vm->driver, action->channel, bytes, sizeof(bytes), &message));
    balloon_iov piece = {bytes, message.bytes};
    balloon_virtio_buffer buffer = {.readable = &piece, .readable_count = 1};

    CHECK(!balloon_virtio_receive(vm->device, message.queue, &buffer, now));
}

/* ---- Hyper-V: packets in, packets out ---- */
static void hyperv_attach(struct vm *vm)
{
    balloon_hyperv_options options = {.size = sizeof(options), .start_delay = MS};

    CHECK(!balloon_hyperv_configure(vm->device, &options));
    CHECK(!balloon_hyperv_open(vm->device));
    CHECK(!balloon_hyperv_driver_open(vm->driver, NULL, now));
}

static void hyperv_to_guest(struct vm *vm, const balloon_action *action)
{
    static unsigned char packet[BALLOON_HYPERV_MESSAGE_BYTES];
    size_t bytes;

    (void)action;
    CHECK(!balloon_hyperv_write(vm->device, packet, sizeof(packet), now, &bytes));
    CHECK(!balloon_hyperv_driver_receive(vm->driver, packet, bytes, now));
}

static void hyperv_to_host(struct vm *vm, const balloon_driver_action *action)
{
    static unsigned char packet[BALLOON_HYPERV_MESSAGE_BYTES];
    size_t bytes;

    CHECK(!balloon_hyperv_driver_write(vm->driver, action->channel, packet, sizeof(packet), now,
                                       &bytes));
    CHECK(!balloon_hyperv_receive(vm->device, packet, bytes, now));
}

/* ---- VMware: calls, answered in the registers ---- */
static void vmware_attach(struct vm *vm)
{
    balloon_vmware_options options = {.size = sizeof(options)};

    CHECK(!balloon_vmware_configure(vm->device, &options));
    CHECK(!balloon_vmware_driver_open(vm->driver, NULL, now));
}

static void vmware_to_guest(struct vm *vm, const balloon_action *action)
{
    (void)action;
    balloon_vmware_driver_doorbell(vm->driver, now);
}

static void vmware_to_host(struct vm *vm, const balloon_driver_action *action)
{
    static unsigned char batch[4096]; /* a page of the guest, outside of its balloon */
    balloon_vmware_frame frame;

    CHECK(!balloon_vmware_driver_write(vm->driver, action->channel, &frame, batch, sizeof(batch),
                                       PAGES));
    CHECK(
        !balloon_vmware_call(vm->device, &frame, BALLOON_VMWARE_64_BIT, batch, sizeof(batch), now));
    CHECK(!balloon_vmware_driver_reply(vm->driver, &frame, batch, sizeof(batch), now));
}

/* ---- Xen: messages of the store, and hypercalls ---- */
static void xen_attach(struct vm *vm)
{
    balloon_xen_options options = {.size = sizeof(options)};

    CHECK(!balloon_xen_configure(vm->device, &options));
    CHECK(!balloon_xen_driver_open(vm->driver, NULL));
}

static void xen_to_guest(struct vm *vm, const balloon_action *action)
{
    unsigned char message[BALLOON_XEN_SEND_BYTES];
    size_t bytes;

    (void)action;
    if (balloon_xen_write(vm->device, message, sizeof(message), &bytes) == BALLOON_OK)
        CHECK(!balloon_xen_driver_receive(vm->driver, message, bytes, now));
}

static void xen_to_host(struct vm *vm, const balloon_driver_action *action)
{
    static uint64_t list[512];
    unsigned char message[BALLOON_XEN_SEND_BYTES];
    balloon_xen_reservation reservation;
    balloon_iov piece = {list, sizeof(list)};
    uint32_t command;
    int64_t result;
    size_t bytes;

    if (action->channel == BALLOON_CHANNEL_CONTROL) {
        CHECK(!balloon_xen_driver_write(vm->driver, message, sizeof(message), &bytes));
        CHECK(!balloon_xen_receive(vm->device, message, bytes, now));
        return;
    }
    CHECK(!balloon_xen_driver_reservation(vm->driver, list, sizeof(list), PAGES, &command,
                                          &reservation));
    CHECK(!balloon_xen_memory_op(vm->device, command, &reservation, &piece, 1, &result, now));
    CHECK(!balloon_xen_driver_result(vm->driver, result, now));
}

/* ---- The kernel of a guest: guest_driver.c has it at length ---- */
static size_t take_pages(struct vm *vm, uint64_t pages, uint32_t block, balloon_range *runs,
                         size_t max)
{
    size_t count = 0;

    for (size_t page = 0; page + block <= PAGES && count < max && pages >= block; page += block) {
        if (memchr(vm->in_use + page, 1, block))
            continue;
        memset(vm->in_use + page, 1, block);
        runs[count++] = (balloon_range){page, block};
        pages -= block;
    }
    return count;
}

static void guest_works(struct vm *vm)
{
    static balloon_range runs[512];
    balloon_driver_action action;

    while (balloon_driver_poll(vm->driver, now, &action)) {
        if (action.type == BALLOON_DRIVER_ALLOC)
            CHECK(!balloon_driver_give(
                vm->driver, action.channel, runs,
                take_pages(vm, action.pages, action.block, runs, action.max_runs), now));
        else if (action.type == BALLOON_DRIVER_FREE)
            for (uint32_t i = 0; i < action.run_count; i++)
                memset(vm->in_use + action.runs[i].first, 0, action.runs[i].count);
        else
            vm->to_host(vm, &action);
    }
}

static void start(struct vm *vm)
{
    static _Alignas(64) unsigned char memory[2 * GUESTS][64 * 1024];
    static unsigned used;
    balloon_region ram = {0, PAGES, 1};
    balloon_device_config device = {.size = sizeof(device), .regions = &ram, .region_count = 1};
    balloon_driver_config driver = {
        .size = sizeof(driver), .regions = &ram, .region_count = 1, .floor_pages = 1024};

    CHECK(!balloon_device_init(memory[used++], sizeof(memory[0]), &device, &vm->device));
    CHECK(!balloon_driver_init(memory[used++], sizeof(memory[0]), &driver, &vm->driver));
    vm->attach(vm);
}

int main(void)
{
    static struct vm vms[GUESTS] = {
        {.name = "virtio",
         .attach = virtio_attach,
         .to_guest = virtio_to_guest,
         .to_host = virtio_to_host},
        {.name = "Hyper-V",
         .attach = hyperv_attach,
         .to_guest = hyperv_to_guest,
         .to_host = hyperv_to_host},
        {.name = "VMware",
         .attach = vmware_attach,
         .to_guest = vmware_to_guest,
         .to_host = vmware_to_host},
        {.name = "Xen", .attach = xen_attach, .to_guest = xen_to_guest, .to_host = xen_to_host},
    };
    static const uint64_t targets[] = {4096, 6144, 1024, 0};

    for (size_t i = 0; i < GUESTS; i++)
        start(&vms[i]);
    for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++) {
        printf("target %4llu:", (unsigned long long)targets[t]);
        for (size_t i = 0; i < GUESTS; i++)
            CHECK(!balloon_device_set_target(vms[i].device, targets[t], now));
        for (int tick = 0; tick < 200; tick++, now += 50 * MS)
            for (size_t i = 0; i < GUESTS; i++) {
                host_works(&vms[i]);
                guest_works(&vms[i]);
                host_works(&vms[i]);
            }
        for (size_t i = 0; i < GUESTS; i++) {
            balloon_device_status status;

            balloon_device_status_get(vms[i].device, &status);
            CHECK(status.held == targets[t]);
            printf("  %s has %4llu", vms[i].name, (unsigned long long)status.held);
        }
        puts("");
    }
    for (size_t i = 0; i < GUESTS; i++)
        printf("%s: %llu pages were given back\n", vms[i].name,
               (unsigned long long)vms[i].discarded);
    return 0;
}
