#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * People who change what tasks run on and with: instances that drain and go, attributes, tags,
 * definitions, clusters, settings; and who look at listings meanwhile. Nothing is asked again when
 * there was no answer: what came of it is looked at in the engine.
 */

enum turn {
    TURN_PLACED,
    TURN_START,
    TURN_CONFLICT,
    TURN_DRAIN,
    TURN_DEREGISTER,
    TURN_ATTRIBUTES,
    TURN_TAGS,
    TURN_SETTING,
    TURN_DEFINITION,
    TURN_CLUSTER,
    TURN_DESCRIBE,
    TURN_PAGES,
    TURN_STRANGER,
    TURN_GROUP,
    TURN_COUNT,
};

static void nothing(struct call *call)
{
    (void)call; // what it did was looked at when it was applied
}

static void ask(struct sim *sim, enum ecs_operation operation, const void *request)
{
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[operation],
                        .request = request,
                        .done = nothing,
                    });
}

/** An instance that somebody has in mind. */
struct instance {
    struct node *node;
    char id[SIM_ID_CHARS];
    char cluster[32];
    char arn[256];
};

// One that there is or was.
static bool choose_instance(struct sim *sim, struct instance *out_instance)
{
    const struct core *core = sim->server.core;
    size_t count = 0;
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count; i++) {
            const struct task_record_membership *membership = &node->memberships.items[i];
            if (membership->cluster == 0) {
                continue;
            }
            count++;
            if (world_between(&sim->world, 1, (int64_t)count) != 1) {
                continue;
            }
            const struct ecs_record_cluster *cluster =
                core_get(core, &ecs_cluster_kind, membership->cluster);
            *out_instance = (struct instance){0};
            snprintf(out_instance->id, sizeof(out_instance->id), "%.*s",
                     TEXT_FMT(membership->instance_id));
            snprintf(out_instance->cluster, sizeof(out_instance->cluster), "%.*s",
                     TEXT_FMT(cluster->name));
            snprintf(out_instance->arn, sizeof(out_instance->arn),
                     "arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":container-instance/%s/%s",
                     out_instance->cluster, out_instance->id);
            for (size_t j = 0; j < sim->node_count; j++) {
                if (text_is(node->node_id, sim->nodes[j].node_id)) {
                    out_instance->node = &sim->nodes[j];
                }
            }
        }
    }
    return count > 0;
}

// ---- instances --------------------------------------------------------------------------------

static void drain(struct sim *sim)
{
    struct instance instance;
    if (!choose_instance(sim, &instance)) {
        return;
    }
    struct text id = text_of(instance.id);
    bool drains = world_chance(&sim->world, 500);
    const struct ecs_update_container_instances_state_request request = {
        .cluster = text_of(instance.cluster),
        .container_instances = {&id, 1},
        .status =
            drains ? ECS_CONTAINER_INSTANCE_STATUS_DRAINING : ECS_CONTAINER_INSTANCE_STATUS_ACTIVE,
    };
    ask(sim, ECS_OP_UPDATE_CONTAINER_INSTANCES_STATE, &request);
}

static void on_cut(void *context, void *payload)
{
    (void)payload;
    struct node *node = context;
    if (node->acs != NULL && node->acs->client_open) {
        session_cut(node->acs); // its agent looks for its instance again
    }
}

static void deregister(struct sim *sim)
{
    struct instance instance;
    if (!choose_instance(sim, &instance)) {
        return;
    }
    const struct ecs_deregister_container_instance_request request = {
        .cluster = text_of(instance.cluster),
        .container_instance = text_of(instance.id),
        .has_force = true,
        .force = world_chance(&sim->world, 500),
    };
    ask(sim, ECS_OP_DEREGISTER_CONTAINER_INSTANCE, &request);
    if (instance.node != NULL && world_chance(&sim->world, 800)) {
        world_post(&sim->world, &(struct world_event){
                                    .delay_ms = world_between(&sim->world, 50, 6000),
                                    .run = on_cut,
                                    .context = instance.node,
                                });
    }
}

static void attributes(struct sim *sim)
{
    static const char *const values[] = {"r1", "r2", "r3", "red"};
    struct instance instance;
    if (!choose_instance(sim, &instance)) {
        return;
    }
    int64_t which = world_between(&sim->world, 0, 5);
    bool put = which < 4;
    struct ecs_attribute attribute = {
        .name = which == 3 || which == 5 ? TEXT("color") : TEXT("rack"),
        .value = put ? text_of(values[which]) : (struct text){0},
        .target_type = ECS_TARGET_TYPE_CONTAINER_INSTANCE,
        .target_id = text_of(instance.id),
    };
    const struct ecs_put_attributes_request put_request = {.cluster = text_of(instance.cluster),
                                                           .attributes = {&attribute, 1}};
    const struct ecs_delete_attributes_request delete_request = {
        .cluster = text_of(instance.cluster), .attributes = {&attribute, 1}};
    ask(sim, put ? ECS_OP_PUT_ATTRIBUTES : ECS_OP_DELETE_ATTRIBUTES,
        put ? (const void *)&put_request : (const void *)&delete_request);
}

static void describe(struct sim *sim)
{
    struct instance instance;
    if (!choose_instance(sim, &instance)) {
        return;
    }
    struct text id = text_of(instance.id);
    const struct ecs_describe_container_instances_request request = {
        .cluster = text_of(instance.cluster), .container_instances = {&id, 1}};
    ask(sim, ECS_OP_DESCRIBE_CONTAINER_INSTANCES, &request);
}

static void start(struct sim *sim)
{
    static const char *const families[] = {"plain", "port", "gpu", "picky"};
    struct instance first;
    struct instance second;
    if (!choose_instance(sim, &first) || !choose_instance(sim, &second)) {
        return;
    }
    struct text ids[] = {text_of(first.id), text_of(second.id)};
    const struct ecs_start_task_request request = {
        .cluster = text_of(first.cluster),
        .container_instances = {ids, strcmp(first.cluster, second.cluster) == 0 ? 2 : 1},
        .task_definition =
            text_of(families[world_between(&sim->world, 0, ARRAY_LEN(families) - 1)]),
    };
    ask(sim, ECS_OP_START_TASK, &request);
}

// ---- tags, settings ---------------------------------------------------------------------------

static void tags(struct sim *sim)
{
    static const char *const keys[] = {"owner", "stage", "cost"};
    static const char *const values[] = {"a", "b", "c", ""};
    struct world *world = &sim->world;
    char arn[256] = "arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":task-definition/web:1";
    struct instance instance;
    int64_t what = world_between(world, 0, 3);
    if (what == 0 && choose_instance(sim, &instance)) {
        snprintf(arn, sizeof(arn), "%s", instance.arn);
    } else if (what == 1 && sim->facts.count > 0) {
        const struct fact *fact =
            sim->facts.items[world_between(world, 0, (int64_t)sim->facts.count - 1)];
        snprintf(arn, sizeof(arn), "arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":task/%s/%s",
                 fact->cluster[0] == '\0' ? "default" : fact->cluster, fact->id);
    } else if (what == 2) {
        snprintf(arn, sizeof(arn), "arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":cluster/%s",
                 world_chance(world, 500) ? "default" : "edge");
    }
    struct ecs_tag tag = {text_of(keys[world_between(world, 0, 2)]),
                          text_of(values[world_between(world, 0, 3)])};
    const struct ecs_tag_resource_request put = {.resource_arn = text_of(arn), .tags = {&tag, 1}};
    const struct ecs_untag_resource_request remove = {.resource_arn = text_of(arn),
                                                      .tag_keys = {&tag.key, 1}};
    bool puts = world_chance(world, 700);
    ask(sim, puts ? ECS_OP_TAG_RESOURCE : ECS_OP_UNTAG_RESOURCE,
        puts ? (const void *)&put : (const void *)&remove);
}

static void setting(struct sim *sim)
{
    static const char *const values[] = {"enabled", "disabled"};
    if (world_chance(&sim->world, 500)) {
        struct ecs_cluster_setting insights = {
            .name = ECS_CLUSTER_SETTING_NAME_CONTAINER_INSIGHTS,
            .value = text_of(values[world_between(&sim->world, 0, 1)]),
        };
        const struct ecs_update_cluster_settings_request update = {
            .cluster = world_chance(&sim->world, 500) ? TEXT("edge") : TEXT("default"),
            .settings = {&insights, 1},
        };
        ask(sim, ECS_OP_UPDATE_CLUSTER_SETTINGS, &update);
        return;
    }
    const struct ecs_put_account_setting_request request = {
        .name = world_chance(&sim->world, 500) ? ECS_SETTING_NAME_CONTAINER_INSIGHTS
                                               : ECS_SETTING_NAME_AWSVPC_TRUNKING,
        .value = text_of(values[world_between(&sim->world, 0, 1)]),
    };
    ask(sim, ECS_OP_PUT_ACCOUNT_SETTING, &request);
}

// ---- definitions, clusters --------------------------------------------------------------------

static void delete_definition(void *context, void *payload)
{
    struct text name = text_of(payload);
    const struct ecs_delete_task_definitions_request request = {.task_definitions = {&name, 1}};
    ask(context, ECS_OP_DELETE_TASK_DEFINITIONS, &request);
}

// A family whose revisions come and go while tasks use them.
static void definition(struct sim *sim)
{
    struct world *world = &sim->world;
    char revision[32];
    const struct ecs_record_family *family = NULL;
    const struct core *core = sim->server.core;
    for (int64_t key = core_next(core, &ecs_family_kind, 0); key != 0;
         key = core_next(core, &ecs_family_kind, key)) {
        const struct ecs_record_family *other = core_get(core, &ecs_family_kind, key);
        family = text_is(other->name, "rev") ? other : family;
    }
    int64_t last = family == NULL ? 0 : family->last_revision;
    int64_t what = last == 0 ? 0 : world_between(world, 0, 2);
    snprintf(revision, sizeof(revision), "rev:%lld",
             (long long)MAX(INT64_C(1), last - world_between(world, 0, 2)));
    struct text name = text_of(revision);
    if (what == 0) {
        struct ecs_container_definition container = {
            .name = TEXT("app"),
            .image = world_chance(world, 500) ? TEXT("app:1") : TEXT("job:1"),
            .has_cpu = true,
            .cpu = 64,
            .has_memory = true,
            .memory = 64,
        };
        struct ecs_tag tag = {TEXT("made"), name};
        const struct ecs_register_task_definition_request request = {
            .family = TEXT("rev"),
            .container_definitions = {&container, 1},
            .tags = {&tag, world_chance(world, 300) ? 1 : 0},
        };
        ask(sim, ECS_OP_REGISTER_TASK_DEFINITION, &request);
    } else if (what == 1) {
        runs_family(sim, "rev");
    } else {
        const struct ecs_deregister_task_definition_request request = {.task_definition = name};
        ask(sim, ECS_OP_DEREGISTER_TASK_DEFINITION, &request);
        world_post(world, &(struct world_event){.delay_ms = world_between(world, 0, 8000),
                                                .life = &sim->churn.life,
                                                .run = delete_definition,
                                                .context = sim,
                                                .payload = alloc_string(revision)});
    }
}

static void cluster(struct sim *sim)
{
    struct world *world = &sim->world;
    char name[32];
    snprintf(name, sizeof(name), "c%lld", (long long)world_between(world, 0, 5));
    bool edge = world_chance(world, 400);
    if (world_chance(world, 500)) {
        const struct ecs_create_cluster_request request = {.cluster_name =
                                                               edge ? TEXT("edge") : text_of(name)};
        ask(sim, ECS_OP_CREATE_CLUSTER, &request);
    } else {
        const struct ecs_delete_cluster_request request = {.cluster =
                                                               edge ? TEXT("edge") : text_of(name)};
        ask(sim, ECS_OP_DELETE_CLUSTER, &request);
    }
}

// ---- turns ------------------------------------------------------------------------------------

static void take_turn(struct sim *sim, enum turn turn)
{
    switch (turn) {
    case TURN_PLACED:
        if (!sim->services.alone) {
            runs_placed(sim);
        }
        return;
    case TURN_START:
        start(sim);
        return;
    case TURN_CONFLICT:
        runs_conflict(sim);
        return;
    case TURN_DRAIN:
        drain(sim);
        return;
    case TURN_DEREGISTER:
        deregister(sim);
        return;
    case TURN_ATTRIBUTES:
        attributes(sim);
        return;
    case TURN_TAGS:
        tags(sim);
        return;
    case TURN_SETTING:
        setting(sim);
        return;
    case TURN_DEFINITION:
        definition(sim);
        return;
    case TURN_CLUSTER:
        cluster(sim);
        return;
    case TURN_DESCRIBE:
        describe(sim);
        return;
    case TURN_PAGES:
        pages_begin(sim, sim->churn.stranger && world_chance(&sim->world, 200));
        return;
    case TURN_STRANGER:
        if (sim->churn.stranger) {
            stranger_turn(sim);
        }
        return;
    case TURN_GROUP:
        groups_turn(sim);
        return;
    case TURN_COUNT:
        return;
    }
}

static void on_turn(void *context, void *payload)
{
    (void)payload;
    struct sim *sim = context;
    struct world *world = &sim->world;
    int total = 0;
    for (size_t i = 0; i < TURN_COUNT; i++) {
        total += sim->churn.weights[i];
    }
    if (total > 0 && sim->server.core != NULL) {
        int64_t at = world_between(world, 0, total - 1);
        size_t turn = 0;
        while (at >= sim->churn.weights[turn]) {
            at -= sim->churn.weights[turn];
            turn++;
        }
        take_turn(sim, (enum turn)turn);
    }
    world_post(world,
               &(struct world_event){.delay_ms = world_between(world, 0, sim->churn.pause_ms),
                                     .life = &sim->churn.life,
                                     .run = on_turn,
                                     .context = sim});
}

void churn_setup(struct sim *sim)
{
    static const int usual[TURN_COUNT] = {
        [TURN_PLACED] = 40,     [TURN_START] = 8,       [TURN_CONFLICT] = 3, [TURN_DRAIN] = 10,
        [TURN_DEREGISTER] = 6,  [TURN_ATTRIBUTES] = 15, [TURN_TAGS] = 10,    [TURN_SETTING] = 4,
        [TURN_DEFINITION] = 15, [TURN_CLUSTER] = 8,     [TURN_DESCRIBE] = 5, [TURN_PAGES] = 15,
        [TURN_STRANGER] = 8,    [TURN_GROUP] = 30,
    };
    struct world *world = &sim->world;
    for (size_t i = 0; i < TURN_COUNT; i++) {
        sim->churn.weights[i] = world_chance(world, 500) ? usual[i] : 0;
    }
    if (world_chance(world, 300)) {
        memset(sim->churn.weights, 0, sizeof(sim->churn.weights)); // the tasks alone
    }
    sim->churn.pause_ms = world_chance(world, 300) ? 800 : 3000;
    sim->churn.stranger = sim->churn.weights[TURN_STRANGER] > 0;
    sim->groups.active = sim->churn.weights[TURN_GROUP] > 0;
    if (world_chance(world, 200)) {
        sim->server.retention_ms = world_between(world, 1, 60) * 1000;
        task_set_retention_ms(sim->server.core, sim->server.retention_ms);
    }
    if (sim->churn.stranger) {
        stranger_setup(sim);
    }
}

void churn_begin(struct sim *sim)
{
    memset(sim->churn.counts, 0, sizeof(sim->churn.counts)); // setting up does not count
    world_post(&sim->world,
               &(struct world_event){
                   .delay_ms = 150, .life = &sim->churn.life, .run = on_turn, .context = sim});
}
