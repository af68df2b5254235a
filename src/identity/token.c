#include "identity/identity_internal.h"

#include "api/berth.h"
#include "base/limits.h"
#include "base/text.h"

#define TOKEN_LIFE_SECONDS (24 * 60 * 60)
#define TOKEN_ID_DIGITS 16
#define TOKEN_SECRET_DIGITS 64

/** Compare in a time that depends on the sizes only. */
static bool secret_equal(struct text a, struct text b)
{
    if (a.size != b.size) {
        return false;
    }
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < a.size; i++) {
        difference = (unsigned char)(difference | (a.data[i] ^ b.data[i]));
    }
    return difference == 0;
}

int identity_create_join_token(struct core_call *call, void *pointer, const void *request,
                               void *response)
{
    (void)pointer;
    const struct berth_create_join_token_request *in = request;
    struct berth_create_join_token_response *out = response;
    const struct core_caller *caller = call->caller;
    ASSERT(caller != NULL);
    if (!text_empty(caller->node_id)) {
        return core_fault(call, &berth_error_access_denied_exception,
                          "The key of a node cannot make join tokens.");
    }
    if (core_count(call->core, &identity_join_token_kind) >= IDENTITY_TOKENS_MAX) {
        return core_fault(call, &berth_error_limit_exceeded_exception,
                          "There are %d join tokens that still work. Wait until some expire, and "
                          "make one token with several uses instead of many.",
                          IDENTITY_TOKENS_MAX);
    }
    int64_t life_seconds = in->has_expires_in_seconds ? in->expires_in_seconds : TOKEN_LIFE_SECONDS;
    const struct identity_record_join_token record = {
        .token_id = core_random_hex(call, TOKEN_ID_DIGITS),
        .secret = core_random_hex(call, TOKEN_SECRET_DIGITS),
        .expires_at = call->now_ms + life_seconds * 1000,
        .has_uses_left = true,
        .uses_left = in->has_uses ? in->uses : 1,
        .created_at = call->now_ms,
        .account = caller->account,
        .region = caller->region,
    };
    int64_t key = core_new_key(call);
    core_put(call, &identity_join_token_kind, key, &record);
    core_timer(call, &identity_token_manager, key, record.expires_at);

    out->token =
        arena_format(call->arena, "%.*s.%.*s", TEXT_FMT(record.token_id), TEXT_FMT(record.secret));
    out->expires_at = record.expires_at;
    out->has_uses = true;
    out->uses = record.uses_left;
    return 0;
}

static void token_delete(struct core_call *call, int64_t key)
{
    core_timer(call, &identity_token_manager, key, 0);
    core_delete(call, &identity_join_token_kind, key);
}

int identity_join_node(struct core_call *call, void *pointer, const void *request, void *response)
{
    struct identity_state *state = pointer;
    const struct berth_join_node_request *in = request;
    struct berth_join_node_response *out = response;

    int64_t key = identity_map_get(&state->tokens, in->token_id);
    const struct identity_record_join_token *token =
        key == 0 ? NULL : core_get(call->core, &identity_join_token_kind, key);
    // One answer for all three, so that it tells nothing about tokens to somebody who guesses.
    if (token == NULL || !secret_equal(token->secret, in->token_secret) ||
        token->expires_at <= call->now_ms) {
        return core_fault(call, &berth_error_access_denied_exception,
                          "The join token is unknown, expired or used up. Make a new one.");
    }
    if (index_count(state->node_keys) >= LIMIT_NODES) {
        return core_fault(call, &berth_error_limit_exceeded_exception,
                          "There are %d nodes already. Remove some that are gone.", LIMIT_NODES);
    }

    struct text suffix = core_random_hex(call, 17);
    const struct identity_node node = {
        .node_id = arena_format(call->arena, "n-%.*s", TEXT_FMT(suffix)),
        .name = in->name,
        .account = token->account,
        .region = token->region,
    };
    const struct identity_record_access_key *access_key =
        identity_node_key_create(call, node.account, node.node_id);
    if (token->uses_left <= 1) {
        token_delete(call, key);
    } else {
        struct identity_record_join_token *used = core_edit(call, &identity_join_token_kind, key);
        used->uses_left--;
        core_put(call, &identity_join_token_kind, key, used);
    }
    if (state->joined != NULL) {
        state->joined(call, &node);
    }
    out->node_id = node.node_id;
    out->access_key_id = access_key->access_key_id;
    out->secret_access_key = access_key->secret_access_key;
    out->region = node.region;
    return 0;
}

static void token_work(struct core_call *call, void *state, int64_t key)
{
    (void)state;
    const struct identity_record_join_token *token =
        core_get(call->core, &identity_join_token_kind, key);
    if (token != NULL && token->expires_at <= call->now_ms) {
        core_delete(call, &identity_join_token_kind, key);
    } else if (token != NULL) {
        core_timer(call, &identity_token_manager, key, token->expires_at);
    }
}

void identity_token_recover(struct core_call *call, void *state)
{
    (void)state;
    for (int64_t key = core_next(call->core, &identity_join_token_kind, 0); key != 0;
         key = core_next(call->core, &identity_join_token_kind, key)) {
        const struct identity_record_join_token *token =
            core_get(call->core, &identity_join_token_kind, key);
        core_timer(call, &identity_token_manager, key, token->expires_at);
    }
}

const struct core_manager identity_token_manager = {.name = "join_token", .work = token_work};
