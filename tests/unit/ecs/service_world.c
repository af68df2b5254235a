#include "service_world.h"

#include "base/text.h"

#include <string.h>

#define BARE                                                                                       \
    "{'family':'bare','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],'cpu':'256',"   \
    "'memory':'512','containerDefinitions':[{'name':'app','image':'app:1','essential':true}]}"
#define SETTLE_ROUNDS 40

int svc_setup(void **state)
{
    int rc = world_setup(state);
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition", BARE, "bare:1");
    static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c"};
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        world_pool_node(world, zones[i], 65536, 131072);
    }
    return rc;
}

static void work(struct world *world)
{
    harness_advance(&world->harness, 0);
}

// ---- requests -------------------------------------------------------------------------------

int64_t svc_create(struct world *world, const char *name, const char *definition, int desired,
                   const char *members)
{
    bool launch = strstr(members, "launchType") == NULL;
    bool network = launch && strstr(members, "networkConfiguration") == NULL;
    const char *where = network ? world_text("," WORLD_NETWORK, world->subnets[0]) : "";
    harness_contains(
        &world->harness, "CreateService",
        world_text("{'cluster':'c','serviceName':'%s','taskDefinition':'%s','desiredCount':%d%s%s"
                   "%s}",
                   name, definition, desired, launch ? ",'launchType':'FARGATE'" : "", where,
                   members),
        "'status':'ACTIVE'");
    work(world);
    int64_t cluster = core_next(world->harness.core, &ecs_cluster_kind, 0);
    return service_find(world->harness.core, cluster, text_of(name));
}

void svc_update(struct world *world, const char *name, const char *members)
{
    harness_contains(&world->harness, "UpdateService",
                     world_text("{'cluster':'c','service':'%s',%s}", name, members),
                     "'status':'ACTIVE'");
    work(world);
}

// ---- what nodes report ----------------------------------------------------------------------

size_t svc_tasks(struct world *world, int64_t service, struct service_task *out_tasks)
{
    struct service_entry *entry = service_entry(service_state(world->harness.core), service);
    size_t count = 0;
    for (size_t i = 0; entry != NULL && i < entry->task_count; i++) {
        if (entry->tasks[i].key != 0) {
            assert_in_range(count, 0, SVC_TASKS - 1);
            out_tasks[count] = entry->tasks[i];
            count++;
        }
    }
    return count;
}

static const struct task_record_task *record_of(struct world *world, int64_t task)
{
    const struct task_record_task *record = core_get(world->harness.core, &task_kind, task);
    assert_non_null(record);
    return record;
}

static size_t node_of(struct world *world, int64_t key)
{
    const struct task_record_node *node = core_get(world->harness.core, &task_node_kind, key);
    for (size_t i = 0; i < world->node_count; i++) {
        if (text_is(node->node_id, world->nodes[i].node_id)) {
            return i;
        }
    }
    fail_msg("node %lld is none of this world", (long long)key);
    return 0;
}

static void remember(struct world *world, int64_t task)
{
    struct text id = record_of(world, task)->task_id;
    const char *arn = world_text("arn:aws:ecs:eu-west-1:123456789012:task/c/%.*s", TEXT_FMT(id));
    assert_int_equal(text_copy(text_of(arn), world->task, sizeof(world->task)), 0);
}

void svc_report(struct world *world, int64_t task, const char *status, const char *members)
{
    size_t node = node_of(world, record_of(world, task)->node);
    remember(world, task);
    world_submit(world, node, status, members);
    work(world);
}

void svc_health(struct world *world, int64_t task, const char *health)
{
    world_as_node(world, node_of(world, record_of(world, task)->node));
    remember(world, task);
    harness_expect(&world->harness, "NodeHealth",
                   world_text("{'tasks':[{'taskArn':'%s','containers':[{'containerName':'app',"
                              "'healthStatus':'%s'}]}]}",
                              world->task, health),
                   "{}");
    world_as_root(world);
    work(world);
}

static bool starts(const struct service_task *task)
{
    return task->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
           task->last_status < TASK_RECORD_TASK_STATUS_RUNNING;
}

static bool told_to_stop(const struct service_task *task)
{
    return task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
}

static size_t report_all(struct world *world, int64_t service,
                         bool (*which)(const struct service_task *task), const char *status,
                         const char *members)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    size_t reported = 0;
    for (size_t i = 0; i < count; i++) {
        const struct task_node *node = task_node(task_state(world->harness.core), tasks[i].node);
        if (which(&tasks[i]) && !node->lost) {
            svc_report(world, tasks[i].key, status, members);
            reported++;
        }
    }
    return reported;
}

void svc_run(struct world *world, int64_t service)
{
    report_all(world, service, starts, "RUNNING", SVC_RUNS);
}

void svc_stop(struct world *world, int64_t service)
{
    report_all(world, service, told_to_stop, "STOPPED", SVC_ENDS);
}

size_t svc_crash(struct world *world, int64_t service)
{
    return report_all(world, service, starts, "STOPPED", SVC_ENDS);
}

void svc_settle(struct world *world, int64_t service)
{
    for (int round = 0; round < SETTLE_ROUNDS; round++) {
        struct service_task tasks[SVC_TASKS];
        size_t done = report_all(world, service, starts, "RUNNING", SVC_RUNS);
        size_t count = svc_tasks(world, service, tasks);
        for (size_t i = 0; i < count; i++) {
            if (tasks[i].last_status == TASK_RECORD_TASK_STATUS_RUNNING &&
                !told_to_stop(&tasks[i]) && tasks[i].health != ECS_HEALTH_STATUS_HEALTHY) {
                svc_health(world, tasks[i].key, "HEALTHY");
                done += record_of(world, tasks[i].key)->health == ECS_HEALTH_STATUS_HEALTHY;
            }
        }
        harness_advance(&world->harness, SERVICE_SETTLE_MS);
        done += report_all(world, service, told_to_stop, "STOPPED", SVC_ENDS);
        harness_advance(&world->harness, SERVICE_SETTLE_MS);
        if (done == 0) {
            return;
        }
    }
    fail_msg("the service does not settle");
}

// ---- how it stands --------------------------------------------------------------------------

static char letter(struct world *world, const struct service_task *task)
{
    const struct task_node *node = task_node(task_state(world->harness.core), task->node);
    return node->lost                                            ? '?'
           : told_to_stop(task)                                  ? 'x'
           : task->last_status < TASK_RECORD_TASK_STATUS_RUNNING ? '.'
           : task->health == ECS_HEALTH_STATUS_HEALTHY           ? 'h'
           : task->health == ECS_HEALTH_STATUS_UNHEALTHY         ? 'u'
                                                                 : 'r';
}

static void write_deployment(struct world *world, const struct service_task *tasks, size_t count,
                             int64_t deployment, struct buf *out)
{
    size_t before = out->size;
    for (size_t i = 0; i < count; i++) {
        if (tasks[i].deployment == deployment) {
            buf_byte(out, letter(world, &tasks[i]));
        }
    }
    if (out->size == before) {
        buf_byte(out, '-');
    }
}

void svc_stands(struct world *world, int64_t service, const char *want)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    const struct service_entry *entry = service_entry(service_state(world->harness.core), service);
    AUTO(buf_deinit) struct buf line = {0};
    write_deployment(world, tasks, count, record->primary, &line);
    for (size_t i = entry == NULL ? 0 : entry->deployment_count; i > 0; i--) {
        if (entry->deployments[i - 1] != record->primary) {
            buf_string(&line, " | ");
            write_deployment(world, tasks, count, entry->deployments[i - 1], &line);
        }
    }
    if (!text_is(buf_view(&line), want)) {
        fail_msg("the service stands    %.*s\n  and is to stand   %s", TEXT_FMT(buf_view(&line)),
                 want);
    }
}

static const char *describe(struct world *world, const char *name)
{
    return harness_call(&world->harness, "DescribeServices",
                        world_text("{'cluster':'c','services':['%s']}", name));
}

void svc_has(struct world *world, const char *name, const char *want)
{
    harness_contains(&world->harness, "DescribeServices",
                     world_text("{'cluster':'c','services':['%s']}", name), want);
}

void svc_told(struct world *world, const char *name, const char *want)
{
    const char *answer = describe(world, name);
    if (strstr(strstr(answer, "\"events\":["), want) == NULL) {
        fail_msg("no event has %s:\n%s", want, strstr(answer, "\"events\":["));
    }
}

void svc_not_told(struct world *world, const char *name, const char *unwanted)
{
    const char *answer = describe(world, name);
    if (strstr(strstr(answer, "\"events\":["), unwanted) != NULL) {
        fail_msg("an event has %s:\n%s", unwanted, strstr(answer, "\"events\":["));
    }
}

void svc_task_has(struct world *world, int64_t task, const char *want)
{
    remember(world, task);
    world_task_has(world, want);
}

void svc_pass(struct world *world, int64_t passed_ms, size_t silent_node)
{
    for (int64_t passed = 0; passed < passed_ms; passed += 500) {
        for (size_t i = 0; i < world->node_count; i++) {
            if (i != silent_node) {
                world_beat(world, i);
            }
        }
        harness_advance(&world->harness, 500);
    }
}

size_t svc_on_node(struct world *world, int64_t service, size_t node)
{
    struct service_task tasks[SVC_TASKS];
    size_t count = svc_tasks(world, service, tasks);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += node_of(world, tasks[i].node) == node;
    }
    return found;
}

const struct service_record_deployment *svc_primary(struct world *world, int64_t service)
{
    const struct service_record_service *record =
        core_get(world->harness.core, &service_kind, service);
    return core_get(world->harness.core, &service_deployment_kind, record->primary);
}
