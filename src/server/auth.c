#include "base/clock.h"
#include "base/text.h"
#include "identity/identity.h"
#include "server/role.h"
#include "server/server_internal.h"

#define ANY_ACCOUNT "000000000000"
#define ACCOUNT_DIGITS 12
#define TOKEN_INVALID "The security token included in the request is invalid."

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

// A key with a session token is one that was minted here for a role.
static bool read_token(struct server *server, const struct sigv4_claim *claim, struct arena *arena,
                       struct server_key *out_key, struct auth_result *result)
{
    struct identity_record_role_session session = {0};
    struct text signing_key =
        server->core == NULL ? (struct text){0} : identity_signing_key(server->core);
    struct text secret = {0};
    if (text_empty(signing_key) ||
        role_verify(signing_key, claim->session_token, arena, &session, &secret) != 0 ||
        !text_equal(session.access_key_id, claim->key_id)) {
        refuse(result, FRONT_UNRECOGNIZED_CLIENT, TEXT(TOKEN_INVALID));
        return false;
    }
    if (session.expires_at <= clock_wall_ms()) {
        refuse(result, FRONT_EXPIRED_TOKEN,
               TEXT("The security token included in the request is expired"));
        return false;
    }
    *out_key = (struct server_key){
        .secret = secret,
        .account = session.account,
        .arn = arena_format(arena, "arn:aws:sts::%.*s:assumed-role/%.*s/%.*s",
                            TEXT_FMT(session.account), TEXT_FMT(session.role),
                            TEXT_FMT(session.session)),
    };
    return true;
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
    bool role = claim.session_token.data != NULL;
    if (role && !read_token(server, &claim, arena, &key, out_result)) {
        return;
    }
    // Keys of nodes are verified even so: what a node says about itself must be its own word.
    if (server->options.any_credentials && !role && (!known || text_empty(key.node_id))) {
        accept_any(&claim, arena, out_result);
        return;
    }
    if (!known && !role) {
        refuse(out_result, FRONT_UNRECOGNIZED_CLIENT, TEXT(TOKEN_INVALID));
        return;
    }
    enum sigv4_result verified = sigv4_verify(request, &claim, key.secret, clock_wall_ms(),
                                              server->sigv4_cache, arena, &reason);
    if (verified != SIGV4_OK) {
        refuse(out_result, FRONT_INVALID_SIGNATURE, reason);
        return;
    }
    out_result->error = FRONT_OK;
    out_result->role = role;
    out_result->caller = (struct core_caller){
        .account = arena_text(arena, key.account),
        .region = arena_text(arena, claim.region),
        .arn = arena_text(arena, key.arn),
        .node_id = text_empty(key.node_id) ? (struct text){0} : arena_text(arena, key.node_id),
        .key_id = arena_text(arena, claim.key_id),
    };
}
