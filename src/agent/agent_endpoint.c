#include "agent/agent_endpoint.h"

#include "base/log.h"
#include "base/text.h"
#include "shape/json.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#define DIGITS_TEN 10000000000u
#define TASK_ID_CHARS 32

// ---- names ------------------------------------------------------------------------------------

static void derive(const struct agent *agent, struct text what, unsigned char out[32])
{
    unsigned size = 0;
    const unsigned char *made =
        HMAC(EVP_sha256(), agent->identity.secret.data, (int)agent->identity.secret.size,
             (const unsigned char *)what.data, what.size, out, &size);
    ASSERT(made != NULL);
    ASSERT(size == 32);
}

static void derive_uuid(const struct agent *agent, struct text what, char *out_id)
{
    unsigned char bytes[32];
    derive(agent, what, bytes);
    text_uuid(bytes, out_id);
}

void agent_endpoint_id(const struct agent *agent, const struct session_task_spec *spec,
                       size_t index, char out_id[ENDPOINT_ID_CHARS])
{
    struct text task_id = agent_task_id(spec->task_arn);
    char what[128];
    int size = snprintf(what, sizeof(what), "endpoint/%.*s/%zu", TEXT_FMT(task_id), index);
    ASSERT(size > 0 && (size_t)size < sizeof(what));
    if (!metadata_is_fargate(spec)) {
        derive_uuid(agent, text_of(what), out_id);
        return;
    }
    unsigned char bytes[32];
    uint64_t number = 0;
    derive(agent, text_of(what), bytes);
    memcpy(&number, bytes, sizeof(number));
    size = snprintf(out_id, ENDPOINT_ID_CHARS, "%.*s-%010llu", TEXT_FMT(task_id),
                    (unsigned long long)(number % DIGITS_TEN));
    ASSERT(size > 0 && size < ENDPOINT_ID_CHARS);
}

void agent_credentials_id(const struct agent *agent, struct text task_id,
                          char out_id[ENDPOINT_ID_CHARS])
{
    char what[64];
    int size = snprintf(what, sizeof(what), "credentials/%.*s", TEXT_FMT(task_id));
    ASSERT(size > 0 && (size_t)size < sizeof(what));
    derive_uuid(agent, text_of(what), out_id);
}

uint32_t agent_endpoint_loopback(const struct agent *agent, struct text task_id)
{
    unsigned char bytes[32];
    char what[64];
    int size = snprintf(what, sizeof(what), "loopback/%.*s", TEXT_FMT(task_id));
    ASSERT(size > 0 && (size_t)size < sizeof(what));
    derive(agent, text_of(what), bytes);
    // Not of 127.0.0.0/16, where programs have addresses of their own, nor the first or last.
    uint32_t high = 1 + bytes[0] % 254u;
    uint32_t low = 1 + bytes[2] % 254u;
    return UINT32_C(127) << 24 | high << 16 | (uint32_t)bytes[1] << 8 | low;
}

bool agent_endpoint_find(const struct agent *agent, const struct session_task_spec *spec,
                         struct text id, size_t *out_index)
{
    for (size_t i = 0; i < spec->definition->container_definitions.count; i++) {
        char known[ENDPOINT_ID_CHARS];
        agent_endpoint_id(agent, spec, i, known);
        if (text_is(id, known)) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

struct text_list agent_endpoint_environment(const struct agent *agent,
                                            const struct session_task_spec *spec, size_t index,
                                            struct arena *arena)
{
    struct text_list list = {.items = arena_array(arena, 4, sizeof(struct text))};
    if (!agent_endpoint_served(agent, spec) ||
        spec->definition->container_definitions.items[index].disable_networking) {
        return list;
    }
    char id[ENDPOINT_ID_CHARS];
    agent_endpoint_id(agent, spec, index, id);
    const char *base = "http://" NET_ENDPOINT_ADDRESS;
    bool on_host = agent_endpoint_on_host(spec);
    if (on_host) {
        uint32_t at = agent_endpoint_loopback(agent, agent_task_id(spec->task_arn));
        base = arena_format(arena, "http://%u.%u.%u.%u:%d", at >> 24, at >> 16 & 255, at >> 8 & 255,
                            at & 255, NET_ENDPOINT_PORT)
                   .data;
    }
    list.items[list.count++] = arena_format(arena, "ECS_CONTAINER_METADATA_URI=%s/v3/%s", base, id);
    list.items[list.count++] =
        arena_format(arena, "ECS_CONTAINER_METADATA_URI_V4=%s/v4/%s", base, id);
    list.items[list.count++] = arena_format(arena, "ECS_AGENT_URI=%s/api/%s", base, id);
    if (!text_empty(spec->definition->task_role_arn)) {
        agent_credentials_id(agent, agent_task_id(spec->task_arn), id);
        // A relative one is one of 169.254.170.2; SDKs take a full one on any loopback address.
        list.items[list.count++] =
            on_host ? arena_format(arena, "AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/v2/credentials/%s",
                                   base, id)
                    : arena_format(arena,
                                   "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/%s", id);
    }
    return list;
}

// ---- answers ----------------------------------------------------------------------------------

void agent_endpoint_answer(struct endpoint_call *call, int status, const struct shape_type *shape,
                           const void *value)
{
    call->status = status;
    json_encode_iso(shape, value, &call->reply);
    endpoint_done(call);
}

void agent_endpoint_refuse(struct endpoint_call *call, int status, struct text sentence)
{
    call->status = status;
    json_quote(sentence, &call->reply);
    endpoint_done(call);
}

struct text agent_endpoint_task(const struct endpoint_call *call)
{
    return text_slice(call->owner, 0, TASK_ID_CHARS);
}

struct metadata_source agent_endpoint_source(const struct agent *agent, struct text task_id,
                                             const struct agent_task_view *view,
                                             struct arena *arena)
{
    size_t count = view->spec->definition->container_definitions.count;
    struct text_list addresses = {.items = arena_array(arena, count, sizeof(struct text)),
                                  .count = count};
    for (size_t i = 0; i < count; i++) {
        addresses.items[i] = agent_endpoint_address(agent, task_id, i);
    }
    return (struct metadata_source){
        .addresses = addresses,
        .ports = view->ports,
        .task_id = task_id,
        .spec = view->spec,
        .state = view->state,
        .images = view->images,
        .pull_started_at = view->pull_started_at,
        .pull_stopped_at = view->pull_stopped_at,
        .stop_requested = view->stop_requested,
        .ended = view->ended,
    };
}

// How far this host's clock may be off, as the kernel's own discipline of it has it.
static void read_clock(struct endpoint_clock_drift *out_drift)
{
    struct timex clock = {0};
    int state = ntp_adjtime(&clock);
    *out_drift = (struct endpoint_clock_drift){
        .has_clock_error_bound = true,
        .clock_error_bound = (double)clock.maxerror / 1000.0,
        .reference_timestamp = agent_now().wall_ms,
        .clock_synchronization_status =
            state == TIME_ERROR ? TEXT("NOT_SYNCHRONIZED") : TEXT("SYNCHRONIZED"),
    };
}

// What the task's own file system has, when it has one: see oci_storage.c. Its files are there and
// nowhere else; a folder of the node's disk would tell of everybody's.
static const struct endpoint_ephemeral_storage *read_storage(const struct agent *agent,
                                                             struct text task_id,
                                                             const struct agent_task_view *view,
                                                             struct arena *arena)
{
    struct statvfs own;
    struct statvfs around;
    const struct ecs_ephemeral_storage *asked = view->spec->definition->ephemeral_storage;
    struct text parent = arena_format(arena, "%s/tasks", agent->options.data_dir);
    struct text path = arena_format(arena, "%.*s/%.*s", TEXT_FMT(parent), TEXT_FMT(task_id));
    if (asked == NULL || statvfs(path.data, &own) != 0 || statvfs(parent.data, &around) != 0 ||
        own.f_fsid == around.f_fsid) {
        return NULL;
    }
    struct endpoint_ephemeral_storage *storage =
        ARENA_NEW(arena, struct endpoint_ephemeral_storage);
    *storage = (struct endpoint_ephemeral_storage){
        .has_utilized = true,
        .utilized = (int64_t)((own.f_blocks - own.f_bfree) * own.f_frsize >> 20),
        .has_reserved = true,
        .reserved = (int64_t)asked->size_in_gib * 1024,
    };
    return storage;
}

void agent_endpoint_metadata(const struct agent *agent, struct text task_id,
                             const struct agent_task_view *view, int version, struct arena *arena,
                             struct endpoint_task *out_task)
{
    struct endpoint_clock_drift *clock = ARENA_NEW(arena, struct endpoint_clock_drift);
    struct metadata_source source = agent_endpoint_source(agent, task_id, view, arena);
    read_clock(clock);
    source.clock = clock;
    source.storage = read_storage(agent, task_id, view, arena);
    metadata_task(&source, version, arena, out_task);
}

static void serve_task(struct agent *agent, struct endpoint_call *call, const struct route *route,
                       const struct agent_task_view *view)
{
    struct endpoint_task task;
    agent_endpoint_metadata(agent, agent_endpoint_task(call), view, route->version, &call->arena,
                            &task);
    agent_endpoint_answer(call, 200, &endpoint_task_shape, &task);
}

static void serve_container(struct agent *agent, struct endpoint_call *call,
                            const struct route *route, const struct agent_task_view *view,
                            size_t index)
{
    const struct metadata_source source =
        agent_endpoint_source(agent, agent_endpoint_task(call), view, &call->arena);
    struct endpoint_container container;
    metadata_container(&source, index, route->version, &call->arena, &container);
    agent_endpoint_answer(call, 200, &endpoint_container_shape, &container);
}

// A container with a GPU has an association of type `gpu`; there are no others.
static void serve_associations(struct endpoint_call *call, const struct route *route,
                               const struct agent_task_view *view, size_t index)
{
    if (route->kind == ROUTE_ASSOCIATION) {
        agent_endpoint_refuse(call, 404,
                              arena_format(&call->arena,
                                           "no association of type %.*s has that name",
                                           TEXT_FMT(route->name)));
        return;
    }
    struct endpoint_associations found = {.associations.items = SHAPE_EMPTY};
    if (text_is(route->name, "gpu") && index < view->spec->containers.count) {
        const struct text_list *gpus = &view->spec->containers.items[index].gpu_ids;
        found.associations = gpus->count > 0 ? *gpus : found.associations;
    }
    agent_endpoint_answer(call, 200, &endpoint_associations_shape, &found);
}

// ---- who asks for what ------------------------------------------------------------------------

static bool is_about_task(enum route_kind kind)
{
    return kind == ROUTE_TASK || kind == ROUTE_TASK_WITH_TAGS || kind == ROUTE_TASK_STATS;
}

// In the words of Amazon's agent.
static void refuse_unknown(struct endpoint_call *call, const struct route *route)
{
    const char *what = route->kind == ROUTE_CONTAINER_STATS || route->kind == ROUTE_TASK_STATS
                           ? "stats"
                           : "metadata";
    bool task = is_about_task(route->kind);
    const char *looked_for = task ? "get task arn from request: unable to get task Arn"
                                  : "get container ID from request: unable to get docker ID";
    agent_endpoint_refuse(call, 404,
                          arena_format(&call->arena,
                                       "V%d %s %s handler: unable to %s from v3 endpoint ID: %.*s",
                                       route->version, task ? "task" : "container", what,
                                       looked_for, TEXT_FMT(route->id)));
}

// Version 2 names containers by the id they have elsewhere.
static bool find_container(struct agent *agent, struct endpoint_call *call,
                           const struct route *route, const struct agent_task_view *view,
                           size_t *out_index)
{
    const struct session_task_spec *spec = view->spec;
    if (route->version != 2) {
        return agent_endpoint_find(agent, spec, route->id, out_index);
    }
    const struct metadata_source source =
        agent_endpoint_source(agent, agent_endpoint_task(call), view, &call->arena);
    for (size_t i = 0; i < spec->definition->container_definitions.count; i++) {
        if (text_equal(route->id, metadata_container_id(&source, i, &call->arena))) {
            *out_index = i;
            return true;
        }
    }
    return is_about_task(route->kind);
}

static void serve_known(struct agent *agent, struct endpoint_call *call, const struct route *route,
                        const struct agent_task_view *view, size_t index)
{
    switch (route->kind) {
    case ROUTE_CONTAINER:
        serve_container(agent, call, route, view, index);
        return;
    case ROUTE_TASK:
        serve_task(agent, call, route, view);
        return;
    case ROUTE_TASK_WITH_TAGS:
        agent_tags_serve(agent, call, route);
        return;
    case ROUTE_CONTAINER_STATS:
        agent_stats_serve(agent, call, index);
        return;
    case ROUTE_TASK_STATS:
        agent_stats_serve(agent, call, SIZE_MAX);
        return;
    case ROUTE_ASSOCIATIONS:
    case ROUTE_ASSOCIATION:
        serve_associations(call, route, view, index);
        return;
    case ROUTE_NONE:
    case ROUTE_CREDENTIALS:
    case ROUTE_PROTECTION:
    case ROUTE_FAULT:
        break;
    }
    ASSERT(false); // these were answered before
}

// Everything on the host can ask a task's socket there: who does not name one of the task's own ids
// is not the task.
static bool is_stranger(const struct agent_task_view *view, const struct route *route)
{
    return agent_endpoint_on_host(view->spec) && route->version == 2 &&
           route->kind != ROUTE_CREDENTIALS;
}

static void not_found(struct endpoint_call *call)
{
    call->status = 404;
    call->content_type = "text/plain; charset=utf-8";
    buf_string(&call->reply, "404 page not found\n");
    endpoint_done(call);
}

static void serve(void *context, struct endpoint_call *call)
{
    struct agent *agent = context;
    struct route route = route_parse(call->path, call->query);
    struct agent_task_view view;
    bool known = agent_logic_task(agent->logic, agent_endpoint_task(call), &view) &&
                 view.spec->definition != NULL;
    size_t index = 0;
    if (route.kind == ROUTE_NONE || !known || is_stranger(&view, &route)) {
        not_found(call);
    } else if (route.kind == ROUTE_PROTECTION) {
        agent_protection_serve(agent, call, &route);
    } else if (route.kind == ROUTE_FAULT) {
        agent_fault_serve(agent, call, &route);
    } else if (!text_is(call->method, "GET")) {
        agent_endpoint_refuse(call, 405, TEXT("this endpoint answers GET only"));
    } else if (route.kind == ROUTE_CREDENTIALS) {
        agent_credentials_serve(agent, call, &route);
    } else if (!find_container(agent, call, &route, &view, &index)) {
        refuse_unknown(call, &route);
    } else {
        serve_known(agent, call, &route, &view, index);
    }
}

// ---- life ----------------------------------------------------------------------------------

int agent_endpoints_begin(struct agent *agent, struct err *err)
{
    // Without networks there are no namespaces to listen in.
    return agent->options.net == NULL
               ? 0
               : endpoints_new(agent->options.loop, serve, agent, &agent->endpoints, err);
}
