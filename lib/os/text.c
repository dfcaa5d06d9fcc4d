/* Names of methods and reasons, on all systems. */
#include <balloon/os.h>

const char *balloon_os_method_text(balloon_os_method method)
{
    switch (method) {
    case BALLOON_OS_METHOD_AUTO:
        return "the right one";
    case BALLOON_OS_DONTNEED:
        return "madvise(MADV_DONTNEED)";
    case BALLOON_OS_REMOVE:
        return "madvise(MADV_REMOVE)";
    case BALLOON_OS_PUNCH:
        return "fallocate(FALLOC_FL_PUNCH_HOLE)";
    case BALLOON_OS_REMAP:
        return "mmap(MAP_FIXED)";
    }
    return "unknown";
}

const char *balloon_os_reason_text(balloon_os_reason reason)
{
    switch (reason) {
    case BALLOON_OS_REASON_NONE:
        return "nothing was refused";
    case BALLOON_OS_REASON_SYSTEM:
        return "the system refused a call";
    case BALLOON_OS_REASON_ARGUMENT:
        return "a number is outside of its limits";
    case BALLOON_OS_REASON_GRANULE:
        return "granule, addresses or file offset do not fit the host's page or huge page";
    case BALLOON_OS_REASON_MAPPING:
        return "the region is not mapped throughout in one way";
    case BALLOON_OS_REASON_FILE:
        return "the file descriptor is not what is mapped there, or not at that offset";
    case BALLOON_OS_REASON_BACKING:
        return "the backing is not the one that was stated";
    case BALLOON_OS_REASON_READ_ONLY:
        return "the memory cannot be written, or its file is sealed";
    case BALLOON_OS_REASON_CONTENTS:
        return "a private mapping of a hugetlbfs file that may have contents";
    case BALLOON_OS_REASON_DEVICE:
        return "the file is no regular file";
    case BALLOON_OS_REASON_SECRET:
        return "no call frees single pages of memfd_secret() memory";
    case BALLOON_OS_REASON_METHOD:
        return "the method does not suit the backing";
    case BALLOON_OS_REASON_MAPPINGS:
        return "half of vm.max_map_count is in use: larger granules need fewer mappings";
    case BALLOON_OS_REASON_LOCKED:
        return "mlockall(MCL_FUTURE) brings back what is discarded";
    case BALLOON_OS_REASON_RANGE:
        return "a run is outside of its region, or not of whole host pages";
    }
    return "unknown";
}

const char *balloon_os_note_text(uint32_t note)
{
    switch (note) {
    case BALLOON_OS_NOTE_HUGE:
        return "transparent huge pages larger than the granule may hold more than was given back";
    case BALLOON_OS_NOTE_RESERVED:
        return "discarded huge pages stay reserved for this process";
    case BALLOON_OS_NOTE_SIGBUS:
        return "touching a discarded page kills the process when no page is left for it";
    case BALLOON_OS_NOTE_MAPPINGS:
        return "scattered discards take mappings, and are refused before these run out";
    case BALLOON_OS_NOTE_LOCKED:
        return "memory is locked, also what comes back";
    }
    return "unknown";
}
