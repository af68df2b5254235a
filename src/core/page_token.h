#pragma once

#include "core/core.h"

/*
 * Tokens of listings. A token names the last entry shown, so a walk goes on behind it whether the
 * entry is still there or not: what exists during the whole walk is shown once.
 *
 * Tokens are opaque to clients, and good only for the operation, account and region that gave them.
 * A token is hex: a check value of eight digits, then the entry. The check tells what this listing
 * gave this account from anything else; it keeps no secret, and who computes one himself gets a
 * page of what is his.
 */

#define PAGE_TOKEN_ENTRY_MAX 1024 ///< bytes; no key of an entry is longer: names are bounded

/** @return the token for the page that follows an entry, which is not empty, in the call's arena */
struct text page_token_make(struct core_call *call, struct text entry);

/**
 * Read a token of the same operation, account and region.
 *
 * @param out_entry  in the call's arena
 * @return 0, or ERR_INVALID
 */
MUST_CHECK int page_token_open(struct core_call *call, struct text token, struct text *out_entry);
