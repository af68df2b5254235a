#include "server/session_upgrade.h"

#include "base/limits.h"
#include "base/text.h"

#include <libwebsockets.h>
#include <string.h>

#define HEADERS_MAX 40
#define PARAMETERS_MAX 64
#define SIGNING_NAME "ecs"

struct parameter {
    struct text name;
    struct text value;
};

// The request in the shape that signatures are computed from. The library keeps the parameters of
// the query decoded; the canonical request encodes them anew, so nothing is lost.
struct upgrade_request {
    struct sigv4_request request;
    struct sigv4_header headers[HEADERS_MAX];
    struct parameter parameters[PARAMETERS_MAX];
    size_t parameter_count;
};

static struct text copy_token(struct lws *wsi, enum lws_token_indexes token, struct arena *arena)
{
    int size = lws_hdr_total_length(wsi, token);
    if (size <= 0) {
        return (struct text){0};
    }
    char *bytes = arena_alloc(arena, (size_t)size + 1);
    int copied = lws_hdr_copy(wsi, bytes, size + 1, token);
    return copied < 0 ? (struct text){0} : (struct text){bytes, (size_t)copied};
}

// The library gives headers it knows by number and all others by name; names end with a colon.
static struct text copy_header(struct lws *wsi, struct text name, struct arena *arena)
{
    AUTO(buf_deinit) struct buf wanted = {0};
    for (size_t i = 0; i < name.size; i++) {
        buf_byte(&wanted, text_lower(name.data[i]));
    }
    buf_byte(&wanted, ':');
    for (int token = 0; token < WSI_TOKEN_COUNT; token++) {
        const unsigned char *known = lws_token_to_string((enum lws_token_indexes)token);
        if (known != NULL && strcmp((const char *)known, wanted.data) == 0) {
            return copy_token(wsi, (enum lws_token_indexes)token, arena);
        }
    }
    int size = lws_hdr_custom_length(wsi, wanted.data, (int)wanted.size);
    if (size < 0) {
        return (struct text){0};
    }
    char *bytes = arena_alloc(arena, (size_t)size + 1);
    int copied = lws_hdr_custom_copy(wsi, bytes, size + 1, wanted.data, (int)wanted.size);
    return copied < 0 ? (struct text){0} : (struct text){bytes, (size_t)copied};
}

static void add_header(struct upgrade_request *upgrade, struct lws *wsi, struct text name,
                       struct arena *arena)
{
    struct sigv4_request *request = &upgrade->request;
    for (size_t i = 0; i < request->header_count; i++) {
        if (text_equal_nocase(upgrade->headers[i].name, name)) {
            return;
        }
    }
    struct text value = copy_header(wsi, name, arena);
    if (value.data != NULL && request->header_count < HEADERS_MAX) {
        upgrade->headers[request->header_count++] = (struct sigv4_header){name, value};
    }
}

// The library cannot list the headers it has, so take those that the signature names.
static struct text signed_names(struct text authorization)
{
    for (struct text rest = authorization; rest.data != NULL;) {
        struct text field = text_trim(text_cut(&rest, ','));
        if (text_starts(field, TEXT("SignedHeaders="))) {
            return text_slice(field, sizeof("SignedHeaders=") - 1, field.size);
        }
    }
    return (struct text){0};
}

static void read_headers(struct upgrade_request *upgrade, struct lws *wsi, struct arena *arena)
{
    static const char *const always[] = {
        "host",       "authorization",        "date",
        "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        add_header(upgrade, wsi, text_of(always[i]), arena);
    }
    struct text authorization = copy_header(wsi, TEXT("authorization"), arena);
    for (struct text rest = signed_names(authorization); rest.data != NULL;) {
        struct text name = text_cut(&rest, ';');
        if (name.size > 0) {
            add_header(upgrade, wsi, name, arena);
        }
    }
    upgrade->request.headers = upgrade->headers;
}

static void read_query(struct upgrade_request *upgrade, struct lws *wsi, struct arena *arena)
{
    AUTO(buf_deinit) struct buf query = {0};
    for (int i = 0; i < PARAMETERS_MAX; i++) {
        int size = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size <= 0) {
            break;
        }
        char *bytes = arena_alloc(arena, (size_t)size + 1);
        int copied = lws_hdr_copy_fragment(wsi, bytes, size + 1, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (copied <= 0) {
            break;
        }
        struct text pair = {bytes, (size_t)copied};
        size_t equals = text_find(pair, '=');
        struct parameter parameter = {
            .name = text_slice(pair, 0, equals),
            .value = equals == SIZE_MAX ? TEXT("") : text_slice(pair, equals + 1, pair.size)};
        upgrade->parameters[upgrade->parameter_count++] = parameter;
        if (query.size > 0) {
            buf_byte(&query, '&');
        }
        buf_percent(&query, parameter.name);
        buf_byte(&query, '=');
        buf_percent(&query, parameter.value);
    }
    if (query.size > 0) {
        upgrade->request.query = arena_text(arena, buf_view(&query));
    }
}

static struct text parameter(const struct upgrade_request *upgrade, const char *name)
{
    for (size_t i = 0; i < upgrade->parameter_count; i++) {
        if (text_is(upgrade->parameters[i].name, name)) {
            return upgrade->parameters[i].value;
        }
    }
    return (struct text){0};
}

static int refuse(struct refusal *out_refusal, enum front_error error, struct text message)
{
    *out_refusal = refusal_front(error, message);
    return ERR_DENIED;
}

struct text session_upgrade_path(struct lws *wsi, struct arena *arena)
{
    return copy_token(wsi, WSI_TOKEN_GET_URI, arena);
}

static struct upgrade_request *read_request(struct lws *wsi, struct arena *arena)
{
    struct upgrade_request *upgrade = ARENA_NEW(arena, struct upgrade_request);
    upgrade->request.method = TEXT("GET");
    upgrade->request.body = TEXT("");
    upgrade->request.path = session_upgrade_path(wsi, arena);
    read_headers(upgrade, wsi, arena);
    read_query(upgrade, wsi, arena);
    return upgrade;
}

void session_upgrade_auth(struct server *server, struct lws *wsi, struct arena *arena,
                          struct auth_result *out_result)
{
    auth_check(server, &read_request(wsi, arena)->request, TEXT(SIGNING_NAME), arena, out_result);
}

int session_upgrade_check(struct server *server, struct lws *wsi, struct arena *arena,
                          struct session_upgrade *out_upgrade, struct refusal *out_refusal)
{
    struct text path = session_upgrade_path(wsi, arena);
    bool work = text_is(path, "/acs/ws");
    bool telemetry = text_is(path, "/tcs/ws");
    if (!work && !telemetry) {
        return refuse(out_refusal, FRONT_NOT_FOUND,
                      TEXT("Sessions of nodes are at /acs/ws and /tcs/ws."));
    }
    struct upgrade_request *upgrade = read_request(wsi, arena);
    struct auth_result auth;
    auth_check(server, &upgrade->request, TEXT(SIGNING_NAME), arena, &auth);
    if (auth.error != FRONT_OK) {
        return refuse(out_refusal, auth.error, auth.message);
    }
    if (auth.role) {
        // A container that plays an agent would be given tasks, and the credentials of their roles.
        return refuse(out_refusal, FRONT_ACCESS_DENIED,
                      TEXT("The role of a task cannot open the session of a node."));
    }
    struct text version = parameter(upgrade, "agentVersion");
    struct text instance =
        parameter(upgrade, telemetry ? "containerInstance" : "containerInstanceArn");
    if (work && text_empty(instance)) {
        return refuse(out_refusal, FRONT_BAD_REQUEST,
                      TEXT("The parameter containerInstanceArn is missing."));
    }
    // Agents before version 2 do not answer heartbeats, so nobody could tell whether they are
    // there.
    if (work && text_is(parameter(upgrade, "protocolVersion"), "1")) {
        return refuse(out_refusal, FRONT_BAD_REQUEST,
                      TEXT("The agent speaks protocolVersion 1. Version 2 is needed: update the "
                           "agent."));
    }
    struct text berth = parameter(upgrade, "berthAgent");
    // A stock agent has no identity of its own but the instance that it registered. The engine
    // looks whether that is an instance of the caller's account, and of no node with a key.
    bool stock = auth.caller.node_id.data == NULL;
    if (stock) {
        auth.caller.node_id = text_slice(instance, text_find_last(instance, '/') + 1, SIZE_MAX);
    }
    if (text_empty(auth.caller.node_id)) {
        return refuse(out_refusal, FRONT_BAD_REQUEST,
                      TEXT("The parameter containerInstance names no container instance."));
    }
    *out_upgrade = (struct session_upgrade){
        .caller = auth.caller,
        .instance_arn = instance,
        .agent_version = version,
        .agent_hash = parameter(upgrade, "agentHash"),
        .docker_version = parameter(upgrade, "dockerVersion"),
        .telemetry = telemetry,
        .keyless = stock,
        .berth = !stock && (text_is(berth, "true") || text_is(berth, "1") ||
                            text_starts(version, TEXT("berth"))),
    };
    return 0;
}
