/* Registers and batch pages as VMware guests and hosts have them, and what they mean. */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/vmware.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes of hexadecimal digits; blanks are skipped. */
static size_t parse(const char *text, unsigned char *bytes, size_t room)
{
    static const char digits[] = "0123456789abcdef";
    size_t count = 0;

    for (; *text; text++) {
        const char *digit = strchr(digits, *text);

        if (*text == ' ')
            continue;
        cr_assert_not_null(digit);
        cr_assert_lt(count / 2, room);
        bytes[count / 2] = (unsigned char)(bytes[count / 2] << 4 | (digit - digits));
        count++;
    }
    cr_assert_eq(count % 2, 0);
    return count / 2;
}

/* The registers of a vector: of a 64-bit guest as they are, of a 32-bit guest their lower halves.
 * They are the same bytes again when written. */
static balloon_vmware_frame frame_of(const char *text, balloon_vmware_width width)
{
    unsigned char bytes[48] = {0};
    unsigned char again[48];
    size_t size = parse(text, bytes, sizeof(bytes));
    balloon_vmware_frame frame;

    cr_assert_eq(size, 48);
    if (width == BALLOON_VMWARE_32_BIT) {
        for (size_t i = 0; i < 6; i++)
            memmove(bytes + i * 4, bytes + i * 8, 4);
        size = 24;
    }
    cr_assert_eq(balloon_vmware_read_frame(bytes, size, width, &frame), BALLOON_OK);
    cr_assert_eq(balloon_vmware_write_frame(&frame, width, again, sizeof(again)), size);
    cr_assert_eq(memcmp(bytes, again, size), 0);
    return frame;
}

static void check_request(const char *text, const balloon_vmware_request *expected)
{
    for (int i = 0; i < 2; i++) {
        balloon_vmware_width width = (balloon_vmware_width)i;
        balloon_vmware_frame frame = frame_of(text, width);
        balloon_vmware_frame again;
        balloon_vmware_request found;

        cr_assert_eq(balloon_vmware_read_request(&frame, width, &found), BALLOON_OK);
        cr_assert_eq(found.command, expected->command);
        cr_assert_eq(found.entries, expected->entries);
        cr_assert_eq(found.pfn, expected->pfn);
        cr_assert_eq(found.capabilities, expected->capabilities);
        cr_assert_eq(found.limit, expected->limit);
        cr_assert_eq(found.guest, expected->guest);
        cr_assert_eq(found.context, expected->context);
        cr_assert_eq(found.resource, expected->resource);

        memset(&again, 0xaa, sizeof(again));
        cr_assert_eq(balloon_vmware_write_request(expected, width, &again), BALLOON_OK);
        cr_assert_eq(memcmp(&frame, &again, sizeof(frame)), 0);
    }
}

/* The answer `text` to the request `asked`. */
static void check_reply(const char *asked, const char *text, balloon_vmware_command command,
                        const balloon_vmware_reply *expected)
{
    for (int i = 0; i < 2; i++) {
        balloon_vmware_width width = (balloon_vmware_width)i;
        balloon_vmware_frame frame = frame_of(text, width);
        balloon_vmware_frame answered = frame_of(asked, width);
        balloon_vmware_reply found;

        cr_assert_eq(balloon_vmware_read_reply(command, &frame, width, &found), BALLOON_OK);
        cr_assert_eq(found.status, expected->status);
        cr_assert_eq(found.target, expected->target);
        cr_assert_eq(found.capabilities, expected->capabilities);

        cr_assert_eq(balloon_vmware_write_reply(command, expected, width, &answered), BALLOON_OK);
        cr_assert_eq(memcmp(&frame, &answered, sizeof(frame)), 0);
    }
}

static void check_page(const char *text, const balloon_vmware_entry *expected, uint32_t count)
{
    unsigned char bytes[64] = {0};
    unsigned char again[64];
    balloon_vmware_entry entries[8];
    size_t size = parse(text, bytes, sizeof(bytes));

    cr_assert_eq(size, (size_t)count * 8);
    cr_assert_eq(balloon_vmware_read_batch(bytes, size, count, entries), BALLOON_OK);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(entries[i].pfn, expected[i].pfn);
        cr_assert_eq(entries[i].status, expected[i].status);
    }
    cr_assert_eq(balloon_vmware_write_batch(expected, count, again, sizeof(again)), size);
    cr_assert_eq(memcmp(bytes, again, size), 0);
}

static const char vector_01[] = "6f6d6c45 00000000 3e000000 00000000 00000000 00000000 "
                                "70560000 00000000 00000000 00000000 00000000 00000000";
static const char vector_03[] = "6f6d6c45 00000000 00001000 00000000 01000000 00000000 "
                                "70560000 00000000 00000000 00000000 00000000 00000000";
static const char vector_05[] = "6f6d6c45 00000000 45230100 00000000 02000000 00000000 "
                                "70560000 00000000 00000000 00000000 00000000 00000000";
static const char vector_07[] = "6f6d6c45 00000000 00100000 00000000 06000000 00000000 "
                                "70560000 00000000 03000000 00000000 00000000 00000000";
static const char vector_08[] = "6f6d6c45 00000000 00100000 00000000 08000000 00000000 "
                                "70560000 00000000 01000000 00000000 00000000 00000000";

Test(golden_vmware, vector_01_start_with_all_capabilities)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_START, .capabilities = 0x3e};

    check_request(vector_01, &request);
    cr_assert_eq(request.capabilities, BALLOON_VMWARE_CAPABILITIES_ALL);
}

Test(golden_vmware, vector_02_all_but_the_doorbell_are_granted)
{
    static const char text[] = "00000003 00000000 3e000000 00000000 2e000000 00000000 "
                               "70560000 00000000 00000000 00000000 00000000 00000000";
    balloon_vmware_reply reply;

    balloon_vmware_answer_start(0x3e, BALLOON_VMWARE_CAPABILITIES_ALL & ~BALLOON_VMWARE_DOORBELL,
                                &reply);
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES);
    cr_assert_eq(reply.capabilities, 0x2e);
    check_reply(vector_01, text, BALLOON_VMWARE_START, &reply);
}

Test(golden_vmware, vector_03_get_target_with_a_limit_of_4_gib)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_GET_TARGET, .limit = 0x100000};

    check_request(vector_03, &request);
}

Test(golden_vmware, vector_04_a_target_of_1_gib)
{
    static const char text[] = "00000000 00000000 00000400 00000000 01000000 00000000 "
                               "70560000 00000000 00000000 00000000 00000000 00000000";
    balloon_vmware_reply reply = {.status = BALLOON_VMWARE_SUCCESS, .target = 0x40000};

    check_reply(vector_03, text, BALLOON_VMWARE_GET_TARGET, &reply);
}

Test(golden_vmware, vector_05_lock)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_LOCK, .pfn = 0x12345};

    check_request(vector_05, &request);
}

Test(golden_vmware, vector_06_the_page_is_pinned)
{
    static const char text[] = "05000000 00000000 00000400 00000000 02000000 00000000 "
                               "70560000 00000000 00000000 00000000 00000000 00000000";
    balloon_vmware_reply reply = {.status = BALLOON_VMWARE_PPN_PINNED, .target = 0x40000};

    check_reply(vector_05, text, BALLOON_VMWARE_LOCK, &reply);
}

Test(golden_vmware, vector_07_a_batch_of_three)
{
    balloon_vmware_request request = {
        .command = BALLOON_VMWARE_BATCHED_LOCK, .pfn = 0x1000, .entries = 3};

    check_request(vector_07, &request);
}

Test(golden_vmware, vector_07a_the_batch_page_before_the_call)
{
    static const balloon_vmware_entry entries[] = {{0x12345, 0}, {0x12346, 0}, {0x20000, 0}};

    check_page("00503412 00000000 00603412 00000000 00000020 00000000", entries, 3);
}

Test(golden_vmware, vector_07b_the_batch_page_after_the_call)
{
    static const balloon_vmware_entry entries[] = {{0x12345, BALLOON_VMWARE_SUCCESS},
                                                   {0x12346, BALLOON_VMWARE_PPN_PINNED},
                                                   {0x20000, BALLOON_VMWARE_PPN_NOTNEEDED}};

    check_page("00503412 00000000 05603412 00000000 06000020 00000000", entries, 3);
}

Test(golden_vmware, vector_08_a_large_page)
{
    static const balloon_vmware_entry entry = {0x40000, 0};
    balloon_vmware_request request = {
        .command = BALLOON_VMWARE_BATCHED_2M_LOCK, .pfn = 0x1000, .entries = 1};
    balloon_range range;

    check_request(vector_08, &request);
    check_page("00000040 00000000", &entry, 1);
    cr_assert_eq(balloon_vmware_entry_range(request.command, entry.pfn, &range), BALLOON_OK);
    cr_assert_eq(range.first, 0x40000);
    cr_assert_eq(range.first + range.count - 1, 0x401ff);
}

/* The vector has 0 in SI, as after a command without a second argument. */
Test(golden_vmware, vector_09_reset)
{
    static const char asked[] = "6f6d6c45 00000000 00100000 00000000 08000000 00000000 "
                                "70560000 00000000 00000000 00000000 00000000 00000000";
    static const char text[] = "07000000 00000000 00000000 00000000 08000000 00000000 "
                               "70560000 00000000 00000000 00000000 00000000 00000000";
    balloon_vmware_reply reply = {.status = BALLOON_VMWARE_RESET};

    check_reply(asked, text, BALLOON_VMWARE_BATCHED_2M_LOCK, &reply);
}

Test(golden_vmware, vector_10_a_doorbell)
{
    balloon_vmware_request request = {
        .command = BALLOON_VMWARE_SET_DOORBELL, .context = 3, .resource = 0x10001};

    check_request("6f6d6c45 00000000 03000000 00000000 0a000000 00000000 "
                  "70560000 00000000 01000100 00000000 00000000 00000000",
                  &request);
}

Test(golden_vmware, vector_11_no_doorbell_as_linux_sends_it)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_SET_DOORBELL,
                                      .context = BALLOON_VMWARE_NO_ID,
                                      .resource = BALLOON_VMWARE_NO_ID};

    check_request("6f6d6c45 00000000 ffffffff ffffffff 0a000000 00000000 "
                  "70560000 00000000 ffffffff ffffffff 00000000 00000000",
                  &request);
}

Test(golden_vmware, vector_12_the_guest_is_linux)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_SET_GUEST,
                                      .guest = BALLOON_VMWARE_GUEST_LINUX};

    check_request("6f6d6c45 00000000 01000000 00000000 04000000 00000000 "
                  "70560000 00000000 00000000 00000000 00000000 00000000",
                  &request);
}

Test(golden_vmware, vector_13_start_with_no_capabilities)
{
    balloon_vmware_request request = {.command = BALLOON_VMWARE_START};

    check_request("6f6d6c45 00000000 00000000 00000000 00000000 00000000 "
                  "70560000 00000000 00000000 00000000 00000000 00000000",
                  &request);
}

/* What guests before capabilities send and look for: Linux until 3.19, open-vm-tools until 2012. */
Test(golden_vmware, start_of_a_guest_with_version_2)
{
    static const char asked[] = "6f6d6c45 00000000 02000000 00000000 00000000 00000000 "
                                "70560000 00000000 00000000 00000000 00000000 00000000";
    static const char text[] = "00000000 00000000 02000000 00000000 02000000 00000000 "
                               "70560000 00000000 00000000 00000000 00000000 00000000";
    balloon_vmware_request request = {.command = BALLOON_VMWARE_START,
                                      .capabilities = BALLOON_VMWARE_VERSION_2};
    balloon_vmware_reply reply;

    check_request(asked, &request);
    balloon_vmware_answer_start(request.capabilities, BALLOON_VMWARE_CAPABILITIES_ALL, &reply);
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(reply.capabilities, BALLOON_VMWARE_BASIC);
    check_reply(asked, text, BALLOON_VMWARE_START, &reply);
}

/* open-vm-tools sets only the lower halves and 16-bit parts; the rest is what was on its stack. */
Test(golden_vmware, registers_with_leftovers_of_the_stack)
{
    static const char text[] = "6f6d6c45 efbeadde 00100000 00000000 0700adde 10325476 "
                               "7056ff7f 98badcfe 00020000 ffff7f00 11223344 55667788";
    balloon_vmware_frame frame = frame_of(text, BALLOON_VMWARE_64_BIT);
    balloon_vmware_reply reply = {.status = BALLOON_VMWARE_SUCCESS, .target = 0x123456789};
    balloon_vmware_frame after = frame;
    balloon_vmware_request request;

    cr_assert(balloon_vmware_is_call(&frame));
    cr_assert_eq(balloon_vmware_read_request(&frame, BALLOON_VMWARE_64_BIT, &request), BALLOON_OK);
    cr_assert_eq(request.command, BALLOON_VMWARE_BATCHED_UNLOCK);
    cr_assert_eq(request.pfn, 0x1000);
    cr_assert_eq(request.entries, 512);

    cr_assert_eq(balloon_vmware_write_reply(request.command, &reply, BALLOON_VMWARE_64_BIT, &after),
                 BALLOON_OK);
    cr_assert_eq(after.ax, 0);
    cr_assert_eq(after.bx, 0x123456789);
    cr_assert(after.cx == frame.cx && after.dx == frame.dx && after.si == frame.si &&
              after.di == frame.di);
}

Test(golden_vmware, offers_in_use_and_what_comes_of_them)
{
    static const struct {
        uint64_t offered;
        uint64_t supported;
        uint64_t granted;
        int32_t status;
    } cases[] = {
        {0x3e, 0x3e, 0x3e, 0x03000000}, /* Linux, 64-bit. */
        {0x1e, 0x3e, 0x1e, 0x03000000}, /* Linux, 32-bit or before wide targets. */
        {0x0e, 0x3e, 0x0e, 0x03000000}, /* open-vm-tools, Linux and macOS. */
        {0x06, 0x3e, 0x06, 0x03000000}, /* open-vm-tools, FreeBSD. */
        {0x02, 0x3e, 0x02, 0},          /* open-vm-tools, Solaris; or version 2. */
        {0x03, 0x3e, 0x02, 0},          /* Version 3 of builds never shipped. */
        {0x00, 0x3e, 0x00, 1},          /* About to leave: no success, or Linux would not. */
        {0x3e, 0x02, 0x02, 0},          /* A host without batches. */
        {0x3e, 0x2a, 0x22, 0x03000000}, /* Large pages need batches. */
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        balloon_vmware_reply reply;

        balloon_vmware_answer_start(cases[i].offered, cases[i].supported, &reply);
        cr_assert_eq(reply.capabilities, cases[i].granted, "case %zu", i);
        cr_assert_eq(reply.status, cases[i].status, "case %zu", i);
        cr_assert_eq(reply.target, 0);
    }
}
