#include "base/clock.h"
#include "base/text.h"
#include "identity/identity.h"
#include "server/server_internal.h"

#define ANY_ACCOUNT "000000000000"
#define ACCOUNT_DIGITS 12

static void refuse(struct auth_result *result, enum front_error error, struct text message)
{
    result->error = error;
    result->message = message;
}

static bool find_key(struct server *server, struct text key_id, struct server_key *out_key)
{
    if (server->options.find_key != NULL) {
        return server->options.find_key(server->options.context, key_id, out_key);
    }
    const struct identity_record_access_key *key = identity_key(server->core, key_id);
    if (key == NULL) {
        return false;
    }
    *out_key = (struct server_key){.secret = key->secret_access_key,
                                   .account = key->account,
                                   .arn = key->arn,
                                   .node_id = key->node_id};
    return true;
}

static bool is_account(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return text.size == ACCOUNT_DIGITS;
}

// The scope names a region and a service; both are part of what was signed.
static bool scope_good(const struct sigv4_claim *claim, struct text signing_name,
                       struct arena *arena, struct auth_result *result)
{
    if (!text_equal(claim->service, signing_name)) {
        refuse(result, FRONT_INVALID_SIGNATURE,
               arena_format(arena, "Credential should be scoped to correct service: '%.*s'. ",
                            TEXT_FMT(signing_name)));
        return false;
    }
    if (!identity_region_known(claim->region)) {
        refuse(result, FRONT_INVALID_SIGNATURE,
               arena_format(arena, "Credential should be scoped to a valid region, not '%.*s'.",
                            TEXT_FMT(claim->region)));
        return false;
    }
    return true;
}

// --any-credentials: the key id chooses the account and nothing is verified.
static void accept_any(const struct sigv4_claim *claim, struct arena *arena,
                       struct auth_result *result)
{
    struct text account = is_account(claim->key_id) ? claim->key_id : TEXT(ANY_ACCOUNT);
    result->error = FRONT_OK;
    result->caller = (struct core_caller){
        .account = arena_text(arena, account),
        .region = arena_text(arena, claim->region),
        .arn = arena_format(arena, "arn:aws:iam::%.*s:root", TEXT_FMT(account)),
        .key_id = arena_text(arena, claim->key_id),
    };
}

void auth_check(struct server *server, const struct sigv4_request *request,
                struct text signing_name, struct arena *arena, struct auth_result *out_result)
{
    *out_result = (struct auth_result){.error = FRONT_INTERNAL};
    struct sigv4_claim claim = {0};
    struct text reason = TEXT("");
    enum sigv4_result parsed = sigv4_parse(request, arena, &claim, &reason);
    if (parsed != SIGV4_OK) {
        refuse(out_result,
               parsed == SIGV4_MISSING ? FRONT_MISSING_AUTHENTICATION : FRONT_INCOMPLETE_SIGNATURE,
               reason);
        return;
    }
    if (!scope_good(&claim, signing_name, arena, out_result)) {
        return;
    }

    struct server_key key = {0};
    bool known = find_key(server, claim.key_id, &key);
    // Keys of nodes are verified even so: what a node says about itself must be its own word.
    if (server->options.any_credentials && (!known || text_empty(key.node_id))) {
        accept_any(&claim, arena, out_result);
        return;
    }
    // No key of ours comes with a session token yet.
    if (!known || claim.session_token.data != NULL) {
        refuse(out_result, FRONT_UNRECOGNIZED_CLIENT,
               TEXT("The security token included in the request is invalid."));
        return;
    }
    enum sigv4_result verified = sigv4_verify(request, &claim, key.secret, clock_wall_ms(),
                                              server->sigv4_cache, arena, &reason);
    if (verified != SIGV4_OK) {
        refuse(out_result, FRONT_INVALID_SIGNATURE, reason);
        return;
    }
    out_result->error = FRONT_OK;
    out_result->caller = (struct core_caller){
        .account = arena_text(arena, key.account),
        .region = arena_text(arena, claim.region),
        .arn = arena_text(arena, key.arn),
        .node_id = text_empty(key.node_id) ? (struct text){0} : arena_text(arena, key.node_id),
        .key_id = arena_text(arena, claim.key_id),
    };
}
