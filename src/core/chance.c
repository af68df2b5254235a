#include "core/chance.h"

#include <string.h>

#define CHANCE_DOUBLE_ROUNDS 10

static uint32_t rotate_left(uint32_t word, unsigned bits)
{
    return (word << bits) | (word >> (32 - bits));
}

// The quarter round of RFC 8439, section 2.1.
static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b;
    *d = rotate_left(*d ^ *a, 16);
    *c += *d;
    *b = rotate_left(*b ^ *c, 12);
    *a += *b;
    *d = rotate_left(*d ^ *a, 8);
    *c += *d;
    *b = rotate_left(*b ^ *c, 7);
}

void chance_block(const uint32_t key[8], uint32_t out_words[16])
{
    const uint32_t start[16] = {
        0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, // the constants of RFC 8439, section 2.3
        key[0],     key[1],     key[2],     key[3],     //
        key[4],     key[5],     key[6],     key[7],     // then counter and nonce, all zero
    };
    uint32_t x[16];
    memcpy(x, start, sizeof(x));
    for (size_t round = 0; round < CHANCE_DOUBLE_ROUNDS; round++) {
        for (size_t i = 0; i < 4; i++) {
            quarter_round(&x[i], &x[4 + i], &x[8 + i], &x[12 + i]);
        }
        for (size_t i = 0; i < 4; i++) {
            quarter_round(&x[i], &x[4 + (i + 1) % 4], &x[8 + (i + 2) % 4], &x[12 + (i + 3) % 4]);
        }
    }
    for (size_t i = 0; i < 16; i++) {
        out_words[i] = x[i] + start[i];
    }
}

void chance_init(struct chance *chance, const unsigned char entropy[32])
{
    // Words are read byte by byte, least first, so that byte order of the machine does not matter.
    for (size_t i = 0; i < 8; i++) {
        const unsigned char *from = entropy + i * 4;
        chance->key[i] = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
                         (uint32_t)from[3] << 24;
    }
    chance->ready_count = 0;
}

uint64_t chance_next(struct chance *chance)
{
    if (chance->ready_count == 0) {
        uint32_t words[16];
        chance_block(chance->key, words);
        memcpy(chance->key, words, sizeof(chance->key));
        chance->ready_count = ARRAY_LEN(chance->ready);
        for (size_t i = 0; i < chance->ready_count; i++) {
            chance->ready[i] = (uint64_t)words[8 + 2 * i] | (uint64_t)words[9 + 2 * i] << 32;
        }
    }
    chance->ready_count--;
    return chance->ready[chance->ready_count];
}
