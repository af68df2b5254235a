#include "agent/session.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "sigv4/sigv4.h"

#define OPEN_TIMEOUT_S 5 // a server that is there answers an upgrade within milliseconds
// ACS, TCS, and those of ECS Exec: two for each container that somebody is in. The library takes
// room for all of them at once, and for every descriptor that the process may open when it is not
// told.
#define CONNECTIONS_MAX 1024
#define SERVICE "ecs" // signing name: the sessions are part of ECS

struct sessions {
    struct websockets *sockets;
    struct arena arena;
    struct agent_identity identity;
    int64_t clock_offset_ms;
};

// Sign the request that opens a session.
static size_t sign(void *context, struct text host, struct text path, struct arena *arena,
                   struct websocket_header out_headers[WEBSOCKET_HEADERS_MAX])
{
    const struct sessions *sessions = context;
    struct text query = path;
    path = text_cut(&query, '?');
    const struct sigv4_header host_header = {TEXT("host"), host};
    const struct sigv4_request request = {
        .method = TEXT("GET"),
        .path = path,
        .query = query,
        .headers = &host_header,
        .header_count = 1,
        .body = TEXT(""),
    };
    const struct sigv4_identity signer = {
        .key_id = sessions->identity.key_id,
        .secret = sessions->identity.secret,
        .region = sessions->identity.region,
        .service = TEXT(SERVICE),
    };
    struct sigv4_signature signature = {0};
    sigv4_sign(&request, &signer, clock_wall_ms() + sessions->clock_offset_ms, arena, &signature);
    out_headers[0] = (struct websocket_header){"authorization:", signature.authorization};
    out_headers[1] = (struct websocket_header){"x-amz-date:", signature.amz_date};
    out_headers[2] = (struct websocket_header){"x-amz-content-sha256:", signature.content_sha256};
    return 3;
}

int agent_sessions_new(uv_loop_t *loop, const struct agent_identity *identity,
                       struct sessions **out_sessions, struct err *err)
{
    struct sessions *sessions = ALLOC(struct sessions);
    sessions->identity.key_id = arena_text(&sessions->arena, identity->key_id);
    sessions->identity.secret = arena_text(&sessions->arena, identity->secret);
    sessions->identity.region = arena_text(&sessions->arena, identity->region);
    const struct websockets_options options = {
        .loop = loop,
        .tls = text_starts(identity->endpoint, TEXT("https://")),
        .ca_file = identity->ca_file.data,
        .open_s = OPEN_TIMEOUT_S,
        .frame_max = LIMIT_FRAME_BYTES,
        .socket_max = CONNECTIONS_MAX,
        .headers = sign,
        .context = sessions,
    };
    int rc = websockets_new(&options, &sessions->sockets, err);
    if (rc != 0) {
        agent_sessions_free(sessions);
        return rc;
    }
    *out_sessions = sessions;
    return 0;
}

void agent_sessions_close(struct sessions *sessions)
{
    websockets_close(sessions->sockets);
}

bool agent_sessions_closed(const struct sessions *sessions)
{
    return websockets_closed(sessions->sockets);
}

void agent_sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    websockets_free(sessions->sockets);
    arena_deinit(&sessions->arena);
    alloc_free(sessions);
}

struct websocket *agent_session_open(struct sessions *sessions, struct text url,
                                     const struct websocket_handlers *handlers)
{
    return websocket_open(sessions->sockets, url, handlers);
}

void agent_sessions_set_clock(struct sessions *sessions, int64_t offset_ms)
{
    sessions->clock_offset_ms = offset_ms;
}
