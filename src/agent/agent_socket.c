#include "agent/agent_endpoint.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "net/net_task.h"

/*
 * The sockets by which tasks reach this agent: one in the task's network namespace in mode awsvpc,
 * one in that of each container in mode bridge, one on the host's loopback in mode host. They are
 * opened in workers, as namespaces are made, and again when a task is taken over.
 */

#define OWNER_CHARS 48 ///< a task's id, a slash and a number

/** Where the containers of a task on the bridge network are. */
struct task_addresses {
    size_t count;
    char items[][16]; ///< by place in the definition; empty for one without network
};

static bool is_bridge(const struct session_task_spec *spec)
{
    return spec->definition != NULL && spec->definition->network_mode == ECS_NETWORK_MODE_BRIDGE;
}

bool agent_endpoint_on_host(const struct session_task_spec *spec)
{
    return spec->definition != NULL && spec->definition->network_mode == ECS_NETWORK_MODE_HOST;
}

bool agent_endpoint_served(const struct agent *agent, const struct session_task_spec *spec)
{
    return agent->endpoints != NULL &&
           (spec->eni != NULL || is_bridge(spec) || agent_endpoint_on_host(spec));
}

// ---- in workers ---------------------------------------------------------------------------

static int open_socket(struct job *job, struct text namespace_path, struct err *err)
{
    ASSERT(job->endpoint_count < LIMIT_CONTAINERS);
    int rc = net_endpoint_listen(namespace_path, &job->endpoint_fds[job->endpoint_count], err);
    job->endpoint_count += rc == 0 ? 1 : 0;
    return rc;
}

static int open_bridge(struct job *job, struct err *err)
{
    struct net_connection connections[NET_TASK_CONTAINERS_MAX];
    const struct ecs_container_definition_list *list =
        &job->spec->definition->container_definitions;
    size_t count =
        net_task_find(job->agent->options.net, text_of(job->task_id), &job->arena, connections);
    size_t next = 0;
    int rc = 0;
    job->endpoint_addresses =
        arena_array(&job->arena, list->count, sizeof(*job->endpoint_addresses));
    for (size_t i = 0; rc == 0 && i < list->count && next < count; i++) {
        if (!list->items[i].disable_networking) {
            job->endpoint_addresses[i] = connections[next].address;
            rc = open_socket(job, connections[next].path, err);
            next++;
        }
    }
    return rc;
}

int agent_endpoint_open(struct job *job, struct err *err)
{
    const struct session_task_spec *spec = job->spec;
    if (!agent_endpoint_served(job->agent, spec)) {
        return 0;
    }
    if (is_bridge(spec)) {
        return open_bridge(job, err);
    }
    if (agent_endpoint_on_host(spec)) {
        uint32_t address = agent_endpoint_loopback(job->agent, text_of(job->task_id));
        int rc = net_endpoint_listen_here(address, &job->endpoint_fds[0], err);
        job->endpoint_count += rc == 0 ? 1 : 0;
        return rc;
    }
    struct text path = net_eni_path(job->agent->options.net, spec->eni->eni_id, &job->arena);
    return open_socket(job, path, err);
}

void agent_endpoint_drop(struct job *job)
{
    for (size_t i = 0; i < job->endpoint_count; i++) {
        fd_close(job->endpoint_fds[i]);
    }
    job->endpoint_count = 0;
}

// ---- on the loop --------------------------------------------------------------------------

static void keep_addresses(struct job *job)
{
    if (job->endpoint_addresses == NULL) {
        return;
    }
    size_t count =
        MIN(job->spec->definition->container_definitions.count, (size_t)LIMIT_CONTAINERS);
    struct task_addresses *addresses =
        alloc_zero(sizeof(*addresses) + count * sizeof(addresses->items[0]));
    addresses->count = count;
    for (size_t i = 0; i < addresses->count; i++) {
        IGNORE(
            text_copy(job->endpoint_addresses[i], addresses->items[i], sizeof(addresses->items[i])),
            "an address in text has at most 15 characters");
    }
    alloc_free(map_put(&job->agent->addresses, text_of(job->task_id), addresses));
}

static void owner_name(const char *task_id, size_t index, char out_name[OWNER_CHARS])
{
    int size = snprintf(out_name, OWNER_CHARS, "%s/%zu", task_id, index);
    ASSERT(size > 0 && size < OWNER_CHARS);
}

void agent_endpoint_take(struct job *job)
{
    struct agent *agent = job->agent;
    keep_addresses(job);
    for (size_t i = 0; i < job->endpoint_count; i++) {
        char owner[OWNER_CHARS];
        struct err err = {0};
        owner_name(job->task_id, i, owner);
        if (endpoints_add(agent->endpoints, text_of(owner), job->endpoint_fds[i], &err) != 0) {
            LOG(WARN, "a task cannot reach its agent", LOG_STR("task", job->task_id),
                LOG_STR("reason", err.text));
        }
    }
    job->endpoint_count = 0;
}

void agent_endpoint_close(struct agent *agent, struct text task_id)
{
    char id[ID_CHARS];
    agent_copy_id(task_id, id);
    for (size_t i = 0; agent->endpoints != NULL && i < LIMIT_CONTAINERS; i++) {
        char owner[OWNER_CHARS];
        owner_name(id, i, owner);
        endpoints_remove(agent->endpoints, text_of(owner));
    }
    alloc_free(map_remove(&agent->addresses, task_id));
    agent_credentials_forget(agent, task_id);
    agent_stats_forget(agent, task_id);
    agent_fault_forget(agent, task_id);
}

struct text agent_endpoint_address(const struct agent *agent, struct text task_id, size_t index)
{
    const struct task_addresses *addresses = map_get(&agent->addresses, task_id);
    bool known = addresses != NULL && index < addresses->count;
    return known ? text_of(addresses->items[index]) : (struct text){0};
}

void agent_endpoint_deinit(struct agent *agent)
{
    size_t cursor = 0;
    struct task_addresses *addresses = NULL;
    while ((addresses = map_next(&agent->addresses, &cursor, NULL)) != NULL) {
        alloc_free(addresses);
    }
    map_deinit(&agent->addresses);
}
