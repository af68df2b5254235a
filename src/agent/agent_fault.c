#include "agent/agent_endpoint.h"

#include "base/log.h"
#include "base/text.h"
#include "net/net_fault.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Fault injection through ECS_AGENT_URI: a task breaks its own network on purpose. What it asks for
 * is read by endpoint/fault.c and done by net/net_fault.c, in a worker. Nothing is remembered here
 * but when each path was last answered: what runs is known to the kernel.
 */

#define SERVERS_MAX 16 // addresses of the server that are looked at
#define URL_MAX 1024
#define PORT_CHARS 6
#define TIMEOUT_MS 5000 // as long as Amazon's agent lets a request take

/** When the paths of a task's containers were last answered. */
struct task_faults {
    size_t count;
    struct fault_rate containers[]; ///< in the definition's order
};

/** A request that a worker carries out. */
struct agent_fault {
    struct endpoint_call *asked;
    enum fault_kind kind;
    enum fault_operation operation;
    struct net_fault_place place;
    struct net_fault fault;
    struct text urls[3]; ///< start in the host's namespace: where the server is
    int64_t asked_ms;
    enum net_fault_kind other; ///< start: what is there instead
    bool running;              ///< status
    struct err err;
};

static const enum net_fault_kind net_kinds[FAULT_KINDS] = {
    [FAULT_BLACKHOLE] = NET_FAULT_BLACKHOLE,
    [FAULT_LATENCY] = NET_FAULT_LATENCY,
    [FAULT_LOSS] = NET_FAULT_LOSS,
};

// ---- answers ----------------------------------------------------------------------------------

static void answer(struct endpoint_call *call, const char *status)
{
    const struct endpoint_fault_reply reply = {.status = text_of(status)};
    agent_endpoint_answer(call, 200, &endpoint_fault_reply_shape, &reply);
}

static void refuse(struct endpoint_call *call, int status, struct text error)
{
    const struct endpoint_fault_reply reply = {.error = error};
    agent_endpoint_answer(call, status, &endpoint_fault_reply_shape, &reply);
}

static void refuse_bare(struct endpoint_call *call, int status, const char *text)
{
    call->status = status;
    call->content_type = "text/plain; charset=utf-8";
    buf_string(&call->reply, text);
    endpoint_done(call);
}

// ---- in a worker ------------------------------------------------------------------------------

static void keep_address(const struct addrinfo *found, struct net_fault_server *servers,
                         size_t *count)
{
    struct net_fault_server server = {0};
    if (found->ai_family == AF_INET) {
        const struct sockaddr_in *address = (const void *)found->ai_addr;
        memcpy(server.address.address, &address->sin_addr, 4);
        server.address.prefix = 32;
        server.port = ntohs(address->sin_port);
    } else if (found->ai_family == AF_INET6) {
        const struct sockaddr_in6 *address = (const void *)found->ai_addr;
        memcpy(server.address.address, &address->sin6_addr, 16);
        server.address.ipv6 = true;
        server.address.prefix = 128;
        server.port = ntohs(address->sin6_port);
    }
    if (server.port != 0 && *count < SERVERS_MAX) {
        servers[(*count)++] = server;
    }
}

// `https://host:port/...`, as the agent was given it.
static int resolve(struct text url, struct net_fault_server *servers, size_t *count,
                   struct err *err)
{
    bool tls = text_starts(url, TEXT("https:"));
    size_t scheme = text_find(url, '/');
    struct text rest = text_slice(url, scheme == SIZE_MAX ? 0 : scheme + 2, url.size);
    struct text host = text_cut(&rest, '/');
    struct text port = text_of(tls ? "443" : "80");
    size_t colon = text_find_last(host, ':');
    if (colon != SIZE_MAX && !text_ends(host, TEXT("]"))) {
        port = text_slice(host, colon + 1, host.size);
        host = text_slice(host, 0, colon);
    }
    if (text_starts(host, TEXT("[")) && text_ends(host, TEXT("]"))) {
        host = text_slice(host, 1, host.size - 1);
    }
    char host_name[URL_MAX];
    char port_name[PORT_CHARS];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (text_copy(host, host_name, sizeof(host_name)) != 0 ||
        text_copy(port, port_name, sizeof(port_name)) != 0) {
        return err_set(err, ERR_INVALID, "'%.*s' names no server", TEXT_FMT(url));
    }
    int rc = getaddrinfo(host_name, port_name, &hints, &found);
    if (rc != 0) {
        return err_set(err, ERR_SYS, "finding the server '%s': %s", host_name, gai_strerror(rc));
    }
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        keep_address(at, servers, count);
    }
    freeaddrinfo(found);
    return 0;
}

// A fault in the host's namespace must not cut this agent off: nobody could end it then.
static int find_servers(struct job *job)
{
    struct agent_fault *fault = job->fault;
    struct net_fault_server *servers = arena_array(&job->arena, SERVERS_MAX, sizeof(*servers));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(fault->urls); i++) {
        if (!text_empty(fault->urls[i])) {
            rc = resolve(fault->urls[i], servers, &fault->place.server_count, &fault->err);
        }
    }
    fault->place.servers = servers;
    return rc;
}

static void run_fault(struct job *job)
{
    struct agent_fault *fault = job->fault;
    struct net *net = job->agent->options.net;
    if (agent_now().monotonic_ms - fault->asked_ms > TIMEOUT_MS) {
        job->rc = err_set(&fault->err, ERR_TIMEOUT, "no worker was free");
        return;
    }
    switch (fault->operation) {
    case FAULT_START:
        job->rc = find_servers(job);
        job->rc = job->rc != 0 ? job->rc
                               : net_fault_start(net, &fault->place, &fault->fault, &fault->other,
                                                 &fault->err);
        return;
    case FAULT_STOP:
        job->rc = net_fault_stop(net, &fault->place, &fault->fault, &fault->err);
        return;
    case FAULT_STATUS:
        job->rc =
            net_fault_running(net, &fault->place, &fault->fault, &fault->running, &fault->err);
        return;
    }
}

static void run_end(struct job *job)
{
    struct err err = {0};
    if (net_fault_end(job->agent->options.net, text_of(job->task_id), &err) != 0) {
        LOG(WARN, "faults of a task that is gone cannot be removed", LOG_STR("task", job->task_id),
            LOG_STR("reason", err.text));
    }
}

static void done_end(struct job *job)
{
    (void)job;
}

void agent_fault_sweep(struct job *job)
{
    struct net *net = job->agent->options.net;
    struct err err = {0};
    for (size_t i = 0; i < job->fault_ids.count; i++) {
        if (net_fault_end(net, job->fault_ids.items[i], &err) != 0) {
            LOG(WARN, "faults of an unknown task cannot be removed",
                LOG_TXT("task", job->fault_ids.items[i]), LOG_STR("reason", err.text));
        }
    }
    job->can_fault = net_fault_probe(net, &err) == 0;
    if (!job->can_fault) {
        LOG(INFO, "not all faults can be injected here: no tasks with enableFaultInjection",
            LOG_STR("reason", err.text));
    }
}

// ---- on the loop ------------------------------------------------------------------------------

static const char *const good[FAULT_OPERATIONS] = {
    [FAULT_START] = "running", [FAULT_STOP] = "stopped", [FAULT_STATUS] = "not-running"};

static void answer_failed(const struct agent_fault *fault, int rc)
{
    struct endpoint_call *call = fault->asked;
    if (rc == ERR_TIMEOUT) {
        refuse(call, 500,
               arena_format(&call->arena, "%.*s: request timed out",
                            TEXT_FMT(fault_name(fault->kind, fault->operation, &call->arena))));
        return;
    }
    if (rc == ERR_NOT_FOUND && fault->place.path.data == NULL) {
        refuse(call, 500, arena_text(&call->arena, text_of(fault->err.text)));
        return;
    }
    // Amazon's agent says no more than the first two words.
    refuse(call, 500, arena_format(&call->arena, "internal error: %s", fault->err.text));
}

static void answer_done(const struct agent_fault *fault, int rc)
{
    bool start = fault->operation == FAULT_START;
    if (rc == ERR_EXISTS && start && fault->kind != FAULT_BLACKHOLE) {
        refuse(fault->asked, 409,
               fault->other == NET_FAULT_LATENCY
                   ? TEXT("There is already one network latency fault running")
                   : TEXT("There is already one network packet loss fault running"));
    } else if (rc != 0 && !(rc == ERR_EXISTS && start)) {
        answer_failed(fault, rc);
    } else {
        answer(fault->asked, fault->running ? "running" : good[fault->operation]);
    }
}

static void done_fault(struct job *job)
{
    const struct agent_fault *fault = job->fault;
    struct agent *agent = job->agent;
    struct text name = fault_name(fault->kind, fault->operation, &job->arena);
    if (job->rc != 0 && job->rc != ERR_EXISTS) {
        LOG(WARN, "a fault that a task asked for cannot be injected", LOG_STR("task", job->task_id),
            LOG_TXT("request", name), LOG_STR("reason", fault->err.text));
    } else if (fault->operation != FAULT_STATUS) {
        LOG(INFO, "fault injection", LOG_STR("task", job->task_id), LOG_TXT("request", name));
    }
    answer_done(fault, job->rc);
    // The task went meanwhile, and what it began in the host's namespace came behind its clean-up.
    if (fault->operation == FAULT_START && fault->place.path.data == NULL &&
        map_get(&agent->faults, text_of(job->task_id)) == NULL) {
        agent_job_submit(agent_job_new(agent, text_of(job->task_id), run_end, done_end));
    }
}

// ---- requests ---------------------------------------------------------------------------------

static struct fault_rate *rate_of(struct agent *agent, struct text task_id, size_t count,
                                  size_t index)
{
    struct task_faults *faults = map_get(&agent->faults, task_id);
    if (faults == NULL) {
        faults = alloc_zero(sizeof(*faults) + count * sizeof(faults->containers[0]));
        faults->count = count;
        map_put(&agent->faults, task_id, faults);
    }
    return index < faults->count ? &faults->containers[index] : &faults->containers[0];
}

void agent_fault_forget(struct agent *agent, struct text task_id)
{
    alloc_free(map_remove(&agent->faults, task_id));
}

void agent_fault_deinit(struct agent *agent)
{
    size_t cursor = 0;
    struct task_faults *faults = NULL;
    while ((faults = map_next(&agent->faults, &cursor, NULL)) != NULL) {
        alloc_free(faults);
    }
    map_deinit(&agent->faults);
}

static const struct net_fault_range *copy_ranges(const struct fault_ranges *ranges,
                                                 struct arena *arena)
{
    struct net_fault_range *items = arena_array(arena, ranges->count, sizeof(*items));
    for (size_t i = 0; i < ranges->count; i++) {
        items[i] = (struct net_fault_range){.ipv6 = ranges->items[i].ipv6,
                                            .prefix = ranges->items[i].prefix};
        memcpy(items[i].address, ranges->items[i].address, sizeof(items[i].address));
    }
    return items;
}

static void carry_out(struct agent *agent, struct endpoint_call *call, const struct route *route,
                      const struct session_task_spec *spec, const struct fault_request *request)
{
    struct text task_id = agent_endpoint_task(call);
    struct job *job = agent_job_new(agent, task_id, run_fault, done_fault);
    struct agent_fault *fault = ARENA_NEW(&job->arena, struct agent_fault);
    *fault = (struct agent_fault){
        .asked = call,
        .kind = route->fault,
        .operation = route->operation,
        .place.task_id = text_of(job->task_id),
        .asked_ms = agent_now().monotonic_ms,
        .fault =
            {
                .kind = net_kinds[route->fault],
                .egress = request->egress,
                .udp = request->udp,
                .port = request->port,
                .loss_percent = request->loss_percent,
                .flows_percent = request->flows_percent,
                .delay_ms = request->delay_ms,
                .jitter_ms = request->jitter_ms,
                .sources = copy_ranges(&request->sources, &job->arena),
                .source_count = request->sources.count,
                .spared = copy_ranges(&request->spared, &job->arena),
                .spared_count = request->spared.count,
            },
    };
    if (agent_endpoint_on_host(spec)) {
        fault->urls[0] = arena_text(&job->arena, agent->identity.endpoint);
        fault->urls[1] = arena_text(&job->arena, text_of(agent->server.acs_url));
        fault->urls[2] = arena_text(&job->arena, text_of(agent->server.tcs_url));
    } else {
        fault->place.path = net_eni_path(agent->options.net, spec->eni->eni_id, &job->arena);
    }
    job->fault = fault;
    agent_job_submit(job);
}

// What stands against it that the request does not tell. @return whether nothing does
static bool allowed(struct endpoint_call *call, const struct session_task_spec *spec)
{
    if (!spec->definition->enable_fault_injection) {
        refuse(call, 400,
               arena_format(&call->arena, "enableFaultInjection is not enabled for task: %.*s",
                            TEXT_FMT(spec->task_arn)));
        return false;
    }
    if (spec->eni == NULL && !agent_endpoint_on_host(spec)) {
        refuse(call, 400,
               arena_format(&call->arena,
                            "%s mode is not supported. Please use either host or awsvpc mode.",
                            shape_enum_name(&ecs_network_mode_shape,
                                            (int32_t)spec->definition->network_mode)));
        return false;
    }
    return true;
}

void agent_fault_serve(struct agent *agent, struct endpoint_call *call, const struct route *route)
{
    struct agent_task_view view;
    size_t index = 0;
    struct fault_request request;
    struct text refusal;
    struct text task_id = agent_endpoint_task(call);
    bool known = agent_logic_task(agent->logic, task_id, &view) &&
                 agent_endpoint_find(agent, view.spec, route->id, &index);
    if (!text_is(call->method, "POST")) {
        refuse_bare(call, 405, "");
    } else if (known &&
               !fault_rate_take(rate_of(agent, task_id,
                                        view.spec->definition->container_definitions.count, index),
                                route->fault, route->operation, agent_now().monotonic_ms)) {
        refuse_bare(call, 429, "You have reached maximum request limit");
    } else if (fault_read(route->fault, route->operation, call->body, &call->arena, &request,
                          &refusal) != 0) {
        refuse(call, 400, refusal);
    } else if (!known) {
        refuse(call, 404,
               arena_format(&call->arena,
                            "unable to get container ID from request: unable to get docker ID from "
                            "v3 endpoint ID: %.*s",
                            TEXT_FMT(route->id)));
    } else if (allowed(call, view.spec)) {
        carry_out(agent, call, route, view.spec, &request);
    }
}
