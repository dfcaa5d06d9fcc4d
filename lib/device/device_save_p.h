/* The saved form of a device. All numbers are little-endian; a bool is a byte of 0 or 1; times are
 * nanoseconds left or passed, all ones meaning never.
 *
 *   magic u32, version u32
 *   device   offered u32, chosen u32, driver bool, config interrupt due bool, pressure bool,
 *            pressure due bool, flush bool, target u32, actual u32, most held since the target was
 *            set u64, since progress u64; of a guest that is short since it took pages u64, and of
 *            one that was and gives again, the most held is what is held now
 *   virtio   numbering u8, speech u8 (bit 0 version 1, bit 1 a big-endian guest without
 *            it, bit 2 64-bit PFNs), poison written bool, poison u32, actual latch 4 bytes;
 *            zero for others
 *   binding  number u8, 64 bytes that are its own, zero for virtio
 *   hinting  state u8, id u32, next id u32
 *   stats    held bool, late bool, sample bool, sample due bool, request u8, queue u8, cookie u64,
 *            deadline u64, period u64, next u64, age u64, present u32, ignored u32, 16 values u64
 *   buffers  count u32, each: cookie u64, queue u8, settle bool
 *   regions  count u32, each by rising PFN: first u64, count u64, then for every 512 pages, the
 *            last ones maybe fewer: a byte with the kind of held in bits 0-1, of pending in bits
 *            2-3, and SAVED_KEPT; and a bitmap of 64 bytes for each of the two that is of kind
 *            SAVED_SOME */
#ifndef BALLOON_DEVICE_DEVICE_SAVE_P_H
#define BALLOON_DEVICE_DEVICE_SAVE_P_H

#include "device_p.h"

#define SAVED_MAGIC       UINT32_C(0x564e4c42) /* "BLNV" */
#define SAVED_VERSION     UINT32_C(1)
#define SAVED_BLOCK_PAGES UINT64_C(512)
#define SAVED_BLOCK_BYTES ((size_t)64)

/* Of a byte of kinds, without MUST_TELL_HOST: some pages may be held, not pending, and not given
 * back to the host. */
#define SAVED_KEPT 16u

/* What virtio's binding saves, in two pieces with the poison between them; a device that no
 * transport was bound to has the same at the start of its room. */
#define SAVED_SPEECH_BYTES 2u
#define SAVED_FIRST_BYTES  6u

enum saved_bits { SAVED_NONE = 0, SAVED_ALL = 1, SAVED_SOME = 2 };

/* The region with the first page at or after a PFN. */
bool bl_device_next_region(const balloon_tracker *t, balloon_pfn_t from, balloon_region *region);

#endif
