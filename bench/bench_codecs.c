/* Codecs alone: numbers out of the bytes of a buffer, and into them.
 *
 *   bench_codecs [CASE]: only the cases whose name contains that text, as in codec/xen. */
#include <balloon/hyperv.h>
#include <balloon/virtio.h>
#include <balloon/vmware.h>
#include <balloon/xen.h>

#include "cases.h"
#include "patterns.h"

enum { ROUNDS = 1000, PIECES = 8 };

static unsigned char bytes[8 * BUFFER_PAGES + 1];
static uint32_t pfns[BUFFER_PAGES];
static uint64_t frames[BUFFER_PAGES];
static balloon_vmware_entry entries[BUFFER_PAGES];
static balloon_range ranges[BUFFER_PAGES];
static balloon_sample sample;
static size_t used;

static void must(bool good)
{
    if (good)
        return;
    fprintf(stderr, "a codec does not read what it wrote\n");
    exit(1);
}

/* --- virtio ------------------------------------------------------------------------------- */

/* In that many pieces, of which all but the last end in the middle of a number. */
static void read_pieces(size_t pieces, balloon_endian endian)
{
    balloon_iov iov[PIECES];
    balloon_virtio_reader reader;
    size_t at = 0;

    for (size_t i = 0; i < pieces; i++) {
        size_t end = i + 1 == pieces ? 4 * BUFFER_PAGES : (i + 1) * 4 * BUFFER_PAGES / pieces + 1;

        iov[i] = (balloon_iov){bytes + at, end - at};
        at = end;
    }
    balloon_virtio_reader_init(&reader, iov, pieces, sizeof(bytes), endian);
    must(balloon_virtio_read_pfns(&reader, pfns, BUFFER_PAGES) == BUFFER_PAGES);
    cases_sink += pfns[BUFFER_PAGES - 1];
}

static void virtio_write(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        must(balloon_virtio_write_pfns(pfns, BUFFER_PAGES, BALLOON_LITTLE_ENDIAN, bytes,
                                       sizeof(bytes)) == 4 * BUFFER_PAGES);
}

static void virtio_read(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        read_pieces(1, BALLOON_LITTLE_ENDIAN);
}

static void virtio_read_pieces(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        read_pieces(PIECES, BALLOON_LITTLE_ENDIAN);
}

static void virtio_read_big(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        read_pieces(1, BALLOON_BIG_ENDIAN);
}

static void stats_read(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++) {
        balloon_iov iov = {bytes, used};
        balloon_virtio_reader reader;

        balloon_virtio_reader_init(&reader, &iov, 1, used, BALLOON_LITTLE_ENDIAN);
        must(balloon_virtio_read_stats(&reader, &sample) == used / BALLOON_VIRTIO_STAT_BYTES);
    }
}

static void stats_write(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        used = balloon_virtio_write_stats(&sample, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
}

/* --- the others --------------------------------------------------------------------------- */

static void hyperv_write(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t count = 0;

        for (uint32_t k = 0; k < BUFFER_PAGES; k++)
            must(balloon_hyperv_pack(&(balloon_range){2 * k, 1}, bytes, &count, BUFFER_PAGES) ==
                 BALLOON_OK);
    }
}

static void hyperv_read(void *self)
{
    balloon_hyperv_ranges list = {bytes, BUFFER_PAGES, false};

    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        must(balloon_hyperv_read_ranges(&list, 0, ranges, BUFFER_PAGES) == BUFFER_PAGES);
}

static void vmware_write(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        must(balloon_vmware_write_batch(entries, BUFFER_PAGES, bytes, sizeof(bytes)) ==
             8 * BUFFER_PAGES);
}

static void vmware_read(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        must(balloon_vmware_read_batch(bytes, sizeof(bytes), BUFFER_PAGES, entries) == BALLOON_OK);
}

static void xen_write(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++)
        must(balloon_xen_write_frames(frames, BUFFER_PAGES, BALLOON_XEN_64, bytes, sizeof(bytes)) ==
             8 * BUFFER_PAGES);
}

static void xen_read(void *self)
{
    (void)self;
    for (int i = 0; i < ROUNDS; i++) {
        balloon_iov iov = {bytes, 8 * BUFFER_PAGES};
        balloon_xen_frames reader;

        balloon_xen_frames_init(&reader, &iov, 1, BUFFER_PAGES, BALLOON_XEN_64);
        must(balloon_xen_read_frames(&reader, frames, BUFFER_PAGES) == BUFFER_PAGES);
    }
}

/* --- all ---------------------------------------------------------------------------------- */

static void print(const char *name, const char *unit, uint32_t units, case_function *work)
{
    work(NULL); /* what is read next was written by the one before */
    if (case_wanted(name))
        case_print(name, "libballoon", unit, (uint64_t)ROUNDS * units, case_measure(work, NULL));
}

int main(int argc, char **argv)
{
    uint64_t seed = 0;

    if (argc > 1)
        cases_only = argv[1];
    for (uint32_t i = 0; i < BUFFER_PAGES; i++) {
        pfns[i] = (uint32_t)measure_random(&seed);
        frames[i] = pfns[i];
        entries[i] = (balloon_vmware_entry){pfns[i], 0};
    }
    print("codec/virtio/write", "page", BUFFER_PAGES, virtio_write);
    print("codec/virtio/read", "page", BUFFER_PAGES, virtio_read);
    print("codec/virtio/read-8-pieces", "page", BUFFER_PAGES, virtio_read_pieces);
    print("codec/virtio/read-big-endian", "page", BUFFER_PAGES, virtio_read_big);
    for (int i = 0; i < 10; i++)
        balloon_sample_set(&sample, (balloon_stat)i, 1000);
    print("codec/virtio/write-statistics", "record", 10, stats_write);
    print("codec/virtio/read-statistics", "record", 10, stats_read);
    print("codec/hyperv/write", "range", BUFFER_PAGES, hyperv_write);
    print("codec/hyperv/read", "range", BUFFER_PAGES, hyperv_read);
    print("codec/vmware/write", "page", BUFFER_PAGES, vmware_write);
    print("codec/vmware/read", "page", BUFFER_PAGES, vmware_read);
    print("codec/xen/write", "page", BUFFER_PAGES, xen_write);
    print("codec/xen/read", "page", BUFFER_PAGES, xen_read);
    return 0;
}
