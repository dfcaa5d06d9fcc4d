#include <criterion/criterion.h>

#include <balloon/virtio.h>

/* The expectation is a table written by hand, not the counting of the library: numbers of the
 * statistics, hint and report queues by which of them exist (1 statistics, 2 hints, 4 reports). */
#define NO (-1)

static const int dense[8][3] = {
    {NO, NO, NO}, {2, NO, NO}, {NO, 2, NO}, {2, 3, NO},
    {NO, NO, 2},  {2, NO, 3},  {NO, 2, 3},  {2, 3, 4},
};

static const int fixed[3] = {2, 3, 4};

static unsigned queues_of(uint32_t features)
{
    return (features & BALLOON_F_STATS ? 1u : 0u) | (features & BALLOON_F_HINTING ? 2u : 0u) |
           (features & BALLOON_F_REPORTING ? 4u : 0u);
}

static int expected_index(int rule, uint32_t offered, uint32_t negotiated, unsigned kind)
{
    unsigned optional = kind - BALLOON_QUEUE_STATS;

    if (kind < BALLOON_QUEUE_STATS)
        return (int)kind;
    if ((queues_of(negotiated) >> optional & 1) == 0)
        return NO;
    switch (rule) {
    case BALLOON_QUEUES_BY_OFFER:
        return dense[queues_of(offered)][optional];
    case BALLOON_QUEUES_BY_NEGOTIATION:
        return dense[queues_of(negotiated)][optional];
    default:
        return fixed[optional];
    }
}

static uint32_t expected_enabled(int rule, uint32_t offered, uint32_t negotiated)
{
    uint32_t enabled = 0;

    for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
        int index = expected_index(rule, offered, negotiated, kind);

        if (index != NO)
            enabled |= (uint32_t)1 << index;
    }
    return enabled;
}

/* All offered sets with all sets a driver can choose of them. */
#define FOR_EACH_CHOICE(offered, negotiated)                                                       \
    for (uint32_t offered = 0; offered <= BALLOON_F_ALL; offered++)                                \
        for (uint32_t negotiated = 0; negotiated <= BALLOON_F_ALL; negotiated++)                   \
            if ((negotiated & ~offered) == 0)

Test(queues, numbers_are_those_of_the_table_for_every_choice)
{
    int choices = 0;

    FOR_EACH_CHOICE(offered, negotiated)
    {
        choices++;
        for (int rule = 0; rule < 3; rule++) {
            for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++)
                cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)rule, offered,
                                                        negotiated, (balloon_virtio_queue)kind),
                             expected_index(rule, offered, negotiated, kind),
                             "rule %d, offered %#x, negotiated %#x, kind %u", rule, offered,
                             negotiated, kind);
        }
    }
    cr_assert_eq(choices, 729); /* Each feature is absent, offered, or chosen. */
}

Test(queues, kind_is_the_inverse_of_index)
{
    FOR_EACH_CHOICE(offered, negotiated)
    {
        for (int rule = 0; rule < 3; rule++) {
            for (uint32_t index = 0; index < 8; index++) {
                unsigned expected = BALLOON_QUEUE_NONE;

                for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
                    if (expected_index(rule, offered, negotiated, kind) == (int)index)
                        expected = kind;
                }
                cr_assert_eq((unsigned)balloon_virtio_queue_kind((balloon_virtio_numbering)rule,
                                                                 offered, negotiated, index),
                             expected, "rule %d, offered %#x, negotiated %#x, index %u", rule,
                             offered, negotiated, index);
            }
        }
    }
}

Test(queues, numbers_that_no_queue_has)
{
    static const uint32_t indices[] = {5, 6, 255, 0x7fffffff, 0x80000000, UINT32_MAX};

    for (int rule = 0; rule < 3; rule++) {
        for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++)
            cr_assert_eq(balloon_virtio_queue_kind((balloon_virtio_numbering)rule, BALLOON_F_ALL, 0,
                                                   indices[i]),
                         BALLOON_QUEUE_NONE);
        cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)rule, BALLOON_F_ALL,
                                                BALLOON_F_ALL, BALLOON_QUEUE_KINDS),
                     -1);
        cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)rule, BALLOON_F_ALL,
                                                BALLOON_F_ALL, BALLOON_QUEUE_NONE),
                     -1);
        cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)rule, BALLOON_F_ALL,
                                                BALLOON_F_ALL, (balloon_virtio_queue)-1),
                     -1);
    }
    cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)3, BALLOON_F_ALL,
                                            BALLOON_F_ALL, BALLOON_QUEUE_INFLATE),
                 -1);
    cr_assert_eq(
        balloon_virtio_queue_kind((balloon_virtio_numbering)3, BALLOON_F_ALL, BALLOON_F_ALL, 0),
        BALLOON_QUEUE_NONE);
}

Test(queues, what_was_not_offered_makes_no_queue)
{
    for (uint32_t offered = 0; offered <= BALLOON_F_ALL; offered++) {
        for (int rule = 0; rule < 3; rule++) {
            for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++)
                cr_assert_eq(balloon_virtio_queue_index((balloon_virtio_numbering)rule, offered,
                                                        UINT32_MAX, (balloon_virtio_queue)kind),
                             expected_index(rule, offered, offered, kind));
        }
    }
}

Test(queues, the_first_rule_that_fits_is_found)
{
    FOR_EACH_CHOICE(offered, negotiated)
    {
        for (uint32_t enabled = 0; enabled < 128; enabled++) {
            balloon_virtio_numbering found = (balloon_virtio_numbering)77;
            int expected = 77;

            for (int rule = 2; rule >= 0; rule--) {
                if (expected_enabled(rule, offered, negotiated) == enabled)
                    expected = rule;
            }
            cr_assert_eq(balloon_virtio_find_numbering(offered, negotiated, enabled, &found),
                         expected != 77, "offered %#x, negotiated %#x, enabled %#x", offered,
                         negotiated, enabled);
            cr_assert_eq((int)found, expected, "offered %#x, negotiated %#x, enabled %#x", offered,
                         negotiated, enabled);
        }
    }
}

Test(queues, drivers_in_the_field_are_recognised)
{
    const uint32_t all = BALLOON_F_STATS | BALLOON_F_HINTING | BALLOON_F_REPORTING;
    const uint32_t no_hints = BALLOON_F_STATS | BALLOON_F_REPORTING;
    balloon_virtio_numbering rule;

    /* Reports at 3 without hints: Linux and QEMU. */
    cr_assert(balloon_virtio_find_numbering(no_hints, no_hints, 0x0f, &rule));
    cr_assert_eq(rule, BALLOON_QUEUES_BY_OFFER);
    /* The same at 4: a driver that goes by the specification's text. */
    cr_assert(balloon_virtio_find_numbering(no_hints, no_hints, 0x17, &rule));
    cr_assert_eq(rule, BALLOON_QUEUES_FIXED);
    /* A driver that refuses hints that were offered, and counts what it chose. */
    cr_assert(balloon_virtio_find_numbering(all, no_hints, 0x0f, &rule));
    cr_assert_eq(rule, BALLOON_QUEUES_BY_NEGOTIATION);
    /* Everything: all rules agree, so the first is told. */
    cr_assert(balloon_virtio_find_numbering(all, all, 0x1f, &rule));
    cr_assert_eq(rule, BALLOON_QUEUES_BY_OFFER);
    /* A driver that left its statistics queue alone fits no rule. */
    cr_assert_not(balloon_virtio_find_numbering(all, all, 0x1b, &rule));
}
