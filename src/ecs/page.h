#pragma once

#include "core/core.h"

/*
 * What the listings and the batch operations of ECS begin with: how many entries a page has, where
 * it begins, and how many things one request may name. All sizes are in one table of page.c, by
 * operation.
 *
 * A token names the last entry shown, so a walk goes on behind it whether the entry is still there
 * or not: what exists during the whole walk is shown once. Tokens are opaque, live as long as what
 * they name could, and are good only for the operation, account and region that gave them.
 */

/** A page of a listing. */
struct ecs_page {
    struct text after; ///< key bytes of the last entry shown, absent on the first page
    size_t size;       ///< how many entries it may have
};

/**
 * Open the page that a request asks for.
 *
 * @param next_token       absent or empty: the first page
 * @param has_max_results  false: as many as ECS shows by itself
 * @param out_page         its text is in the call's arena
 * @return 0, or ERR_FAULT with InvalidParameterException: "Invalid token", or the size's message
 */
MUST_CHECK int ecs_page_open(struct core_call *call, struct text next_token, bool has_max_results,
                             int32_t max_results, struct ecs_page *out_page);

/** Refuse a token whose entry is of another form than this listing's. @return ERR_FAULT */
int ecs_page_refuse(struct core_call *call);

/** @return the token for the page that follows an entry, in the call's arena */
struct text ecs_page_token(struct core_call *call, struct text last_entry);

/**
 * Of listings in the order of records' keys: the key behind which a page begins.
 *
 * @param out_after  0 on the first page
 * @return 0, or ERR_FAULT with "Invalid token"
 */
MUST_CHECK int ecs_page_after_key(struct core_call *call, const struct ecs_page *page,
                                  int64_t *out_after);

/** @return the token for the page that follows the entry of a key, in the call's arena */
struct text ecs_page_token_of_key(struct core_call *call, int64_t last_key);

/**
 * Check how many things a batch operation names.
 *
 * @return 0, or ERR_FAULT with InvalidParameterException that says which are none or too many
 */
MUST_CHECK int ecs_batch_check(struct core_call *call, size_t count);

/** Find a batch operation's cluster as ecs_cluster_resolve does, then check the count. */
MUST_CHECK int ecs_batch_open(struct core_call *call, struct text cluster_reference, size_t count,
                              int64_t *out_cluster);
