#pragma once

#include "base/base.h"

/*
 * The engine's randomness: a stream of bits that is a pure function of the 32 bytes of entropy an
 * input arrives with.
 *
 * ChaCha20 (RFC 8439) keyed with the entropy. Each block of 64 bytes gives the next key first and
 * then 32 bytes to hand out, so what was handed out tells neither earlier nor later bits: ids of
 * one input may be public while a secret drawn beside them stays one. A plain generator such as
 * xoshiro would not give that, and costs about the same.
 */

/** A stream. Set up with chance_init. */
struct chance {
    uint32_t key[8];
    uint64_t ready[4]; ///< drawn but not handed out yet, from the end
    size_t ready_count;
};

/** Begin the stream of these 32 bytes; the same bytes give the same stream on every machine. */
void chance_init(struct chance *chance, const unsigned char entropy[32]);

/** @return the next 64 bits */
uint64_t chance_next(struct chance *chance);

/**
 * One ChaCha20 block with a zero counter and nonce, as sixteen words in the order of the RFC. For
 * chance.c and its test against the vectors of RFC 8439.
 */
void chance_block(const uint32_t key[8], uint32_t out_words[16]);
