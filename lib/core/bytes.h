/* Numbers and bytes of a peer, for all codecs. */
#ifndef BALLOON_CORE_BYTES_H
#define BALLOON_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Numbers of 1 to 8 bytes, little-endian. */
static inline uint64_t bl_get_le(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

static inline void bl_put_le(unsigned char *bytes, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)value;
        value >>= 8;
    }
}

/* The peer may change its memory at any moment, so nothing is decided on it: bytes are first
 * copied to where the peer cannot reach. The barrier forbids the compiler to look at the source
 * again in place of the copy. */
static inline void bl_copy_in(unsigned char *private_copy, const unsigned char *peer, size_t bytes)
{
#if defined(__GNUC__)
    memcpy(private_copy, peer, bytes);
    __asm__ volatile("" : : "r"(private_copy) : "memory");
#else
    const volatile unsigned char *source = peer;

    for (size_t i = 0; i < bytes; i++)
        private_copy[i] = source[i];
#endif
}

/* A buffer of page numbers is short, but longer than what compilers copy in place: in pieces of
 * that size it costs less than a call of memcpy(). */
static inline void bl_copy_pieces(void *private_copy, const void *peer, size_t bytes)
{
    const unsigned char *from = peer;
    unsigned char *to = private_copy;

#ifndef __OPTIMIZE_SIZE__
    enum { PIECE = 64 };

    for (; bytes >= PIECE; bytes -= PIECE, to += PIECE, from += PIECE)
        bl_copy_in(to, from, PIECE);
#endif
    if (bytes)
        bl_copy_in(to, from, bytes);
}

/* Does this machine have the lowest byte of a number first? */
static inline bool bl_little_endian(void)
{
    const uint16_t probe = 1;

    return *(const unsigned char *)&probe == 1;
}

/* Words of 8 little-endian bytes become numbers of this machine, or the other way round. On most
 * machines they are. */
static inline void bl_swap_words(uint64_t *words, size_t count)
{
    if (bl_little_endian())
        return;
    for (size_t i = 0; i < count; i++) {
        unsigned char bytes[8];

        memcpy(bytes, &words[i], sizeof(bytes));
        words[i] = bl_get_le(bytes, sizeof(bytes));
    }
}

/* Where gcc knows a bound of some KiB it copies by a string instruction, which takes longer than a
 * call of memcpy(). */
static inline void bl_copy_words_in(uint64_t *words, const unsigned char *peer, size_t count)
{
    size_t bytes = count * sizeof(*words);

#if defined(__GNUC__) && !defined(__OPTIMIZE_SIZE__)
    __asm__("" : "+r"(bytes));
#endif
    bl_copy_in((unsigned char *)words, peer, bytes);
    bl_swap_words(words, count);
}

/* The words are swapped in place. */
static inline void bl_copy_words_out(unsigned char *peer, uint64_t *words, size_t count)
{
    bl_swap_words(words, count);
    memcpy(peer, words, count * sizeof(*words));
}

#endif
