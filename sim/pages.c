#include "sim.h"

#include "base/text.h"
#include "ecs/ecs_internal.h"
#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Listings walked page by page while things come and go. Nothing may be shown twice; what was there
 * when the walk began and is there unchanged when it ends must have been shown; and what a page
 * shows must be there.
 */

#define TRY_AGAIN_MS 700
#define TRIES_MAX 5

enum listing {
    LISTING_TASKS,
    LISTING_STOPPED,
    LISTING_FAMILY_TASKS,
    LISTING_INSTANCES,
    LISTING_DEFINITIONS,
    LISTING_FAMILIES,
    LISTING_CLUSTERS,
    LISTING_ATTRIBUTES,
    LISTING_COUNT,
};

struct walk {
    struct walk *next;
    struct sim *sim;
    enum listing listing;
    bool stranger;
    bool descending;
    int32_t size;
    int tries;
    size_t pages;
    char token[600];
    char *first;     ///< owned; what was there at the first page
    struct buf seen; ///< lines
};

// ---- what is there: lines of a name and what tells it from a later thing of that name ----------

static bool own(const struct core *core, const struct walk *walk, int64_t realm)
{
    return text_is(ecs_scope(core, realm).account, walk->stranger ? SIM_STRANGER : SIM_ACCOUNT);
}

static void list_tasks(const struct core *core, const struct walk *walk, struct buf *out)
{
    for (int64_t key = core_next(core, &task_kind, 0); key != 0;
         key = core_next(core, &task_kind, key)) {
        const struct task_record_task *task = core_get(core, &task_kind, key);
        const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, task->cluster);
        bool stopped = task->desired_status == TASK_RECORD_TASK_STATUS_STOPPED;
        if (stopped == (walk->listing == LISTING_STOPPED) && text_is(cluster->name, "default") &&
            own(core, walk, cluster->realm) &&
            (walk->listing != LISTING_FAMILY_TASKS ||
             text_is(ecs_definition_family(core, task->definition), "plain"))) {
            buf_format(out, "%.*s\n", TEXT_FMT(task->task_id));
        }
    }
}

static void list_instances(const struct core *core, const struct walk *walk, struct buf *out)
{
    for (int64_t key = core_next(core, &task_node_kind, 0); key != 0;
         key = core_next(core, &task_node_kind, key)) {
        const struct task_record_node *node = core_get(core, &task_node_kind, key);
        for (size_t i = 0; i < node->memberships.count && node->removed_at == 0; i++) {
            const struct task_record_membership *membership = &node->memberships.items[i];
            const struct ecs_record_cluster *cluster =
                core_get(core, &ecs_cluster_kind, membership->cluster);
            if (cluster == NULL || membership->deregistered_at != 0 ||
                !text_is(cluster->name, "default") || !own(core, walk, cluster->realm)) {
                continue;
            }
            if (walk->listing == LISTING_INSTANCES) {
                buf_format(out, "%.*s\n", TEXT_FMT(membership->instance_id));
                continue;
            }
            for (size_t j = 0; j < membership->attributes.count; j++) {
                buf_format(out, "%.*s:%.*s %lld\n", TEXT_FMT(membership->instance_id),
                           TEXT_FMT(membership->attributes.items[j].name),
                           (long long)membership->version);
            }
        }
    }
}

static void list_definitions(const struct core *core, const struct walk *walk, struct buf *out)
{
    for (int64_t key = core_next(core, &ecs_definition_kind, 0); key != 0;
         key = core_next(core, &ecs_definition_kind, key)) {
        const struct ecs_record_definition *record = core_get(core, &ecs_definition_kind, key);
        const struct ecs_record_family *family = core_get(core, &ecs_family_kind, record->family);
        if (text_is(record->status, "ACTIVE") && own(core, walk, family->realm)) {
            buf_format(out, "%.*s:%d\n", TEXT_FMT(family->name), record->revision);
        }
    }
}

// A family is there while one of its revisions is not gone. One that changed may have gone and
// come.
static void list_families(const struct core *core, const struct walk *walk, struct buf *out)
{
    for (int64_t key = core_next(core, &ecs_family_kind, 0); key != 0;
         key = core_next(core, &ecs_family_kind, key)) {
        const struct ecs_record_family *family = core_get(core, &ecs_family_kind, key);
        bool there = false;
        for (int64_t other = core_next(core, &ecs_definition_kind, 0); other != 0;
             other = core_next(core, &ecs_definition_kind, other)) {
            const struct ecs_record_definition *record =
                core_get(core, &ecs_definition_kind, other);
            there = there || (record->family == key && !text_is(record->status, "DELETED"));
        }
        if (there && own(core, walk, family->realm)) {
            buf_format(out, "%.*s %d\n", TEXT_FMT(family->name), family->last_revision);
        }
    }
}

static void list_clusters(const struct core *core, const struct walk *walk, struct buf *out)
{
    for (int64_t key = core_next(core, &ecs_cluster_kind, 0); key != 0;
         key = core_next(core, &ecs_cluster_kind, key)) {
        const struct ecs_record_cluster *cluster = core_get(core, &ecs_cluster_kind, key);
        if (text_is(cluster->status, "ACTIVE") && own(core, walk, cluster->realm)) {
            buf_format(out, "%.*s %lld\n", TEXT_FMT(cluster->name), (long long)cluster->created_at);
        }
    }
}

char *pages_snapshot(struct sim *sim, const struct walk *walk)
{
    static void (*const lists[LISTING_COUNT])(const struct core *core, const struct walk *walk,
                                              struct buf *out) = {
        list_tasks,       list_tasks,    list_tasks,    list_instances,
        list_definitions, list_families, list_clusters, list_instances,
    };
    AUTO(buf_deinit) struct buf lines = {0};
    buf_byte(&lines, '\n');
    lists[walk->listing](sim->server.core, walk, &lines);
    return alloc_format("%.*s", TEXT_FMT(buf_view(&lines)));
}

// Whether lines hold one that begins with a name.
static bool has_name(const char *lines, struct text name)
{
    char plain[400];
    char more[400];
    snprintf(plain, sizeof(plain), "\n%.*s\n", TEXT_FMT(name));
    snprintf(more, sizeof(more), "\n%.*s ", TEXT_FMT(name));
    return strstr(lines, plain) != NULL || strstr(lines, more) != NULL;
}

// ---- pages ------------------------------------------------------------------------------------

static void see(struct walk *walk, struct text name, const char *there)
{
    struct world *world = &walk->sim->world;
    buf_byte(&walk->seen, '\0');
    if (has_name(walk->seen.data, name)) {
        world_fail(world, "a listing (%d) shows %.*s twice", (int)walk->listing, TEXT_FMT(name));
    }
    walk->seen.size--;
    if (!has_name(there, name)) {
        world_fail(world, "a listing (%d) shows %.*s, which is not there", (int)walk->listing,
                   TEXT_FMT(name));
    }
    buf_format(&walk->seen, "%.*s\n", TEXT_FMT(name));
}

static void see_texts(struct walk *walk, const struct text_list *list, const char *there)
{
    for (size_t i = 0; i < list->count; i++) {
        see(walk, sim_task_id(list->items[i]), there);
    }
}

// What was there at both ends must have been shown.
static void check_whole(struct walk *walk, const char *there)
{
    buf_byte(&walk->seen, '\0');
    for (const char *line = walk->first + 1; *line != '\0';) {
        const char *end = strchr(line, '\n');
        char whole[400];
        snprintf(whole, sizeof(whole), "\n%.*s\n", (int)(end - line), line);
        struct text rest = {line, (size_t)(end - line)};
        struct text name = text_cut(&rest, ' ');
        if (strstr(there, whole) != NULL && !has_name(walk->seen.data, name)) {
            world_fail(&walk->sim->world, "a listing (%d) skips %.*s", (int)walk->listing,
                       TEXT_FMT(name));
        }
        line = end + 1;
    }
    static const enum act acts[LISTING_COUNT] = {
        ACT_PAGES_TASKS,       ACT_PAGES_TASKS,    ACT_PAGES_TASKS,    ACT_PAGES_INSTANCES,
        ACT_PAGES_DEFINITIONS, ACT_PAGES_FAMILIES, ACT_PAGES_CLUSTERS, ACT_PAGES_ATTRIBUTES,
    };
    walk->sim->churn.counts[acts[walk->listing]] += walk->pages > 1;
}

static struct text see_page(struct walk *walk, const struct call *call)
{
    switch (walk->listing) {
    case LISTING_TASKS:
    case LISTING_STOPPED:
    case LISTING_FAMILY_TASKS: {
        const struct ecs_list_tasks_response *response = call->response;
        see_texts(walk, &response->task_arns, call->snapshot);
        return response->next_token;
    }
    case LISTING_INSTANCES: {
        const struct ecs_list_container_instances_response *response = call->response;
        see_texts(walk, &response->container_instance_arns, call->snapshot);
        return response->next_token;
    }
    case LISTING_DEFINITIONS: {
        const struct ecs_list_task_definitions_response *response = call->response;
        see_texts(walk, &response->task_definition_arns, call->snapshot);
        return response->next_token;
    }
    case LISTING_FAMILIES: {
        const struct ecs_list_task_definition_families_response *response = call->response;
        see_texts(walk, &response->families, call->snapshot);
        return response->next_token;
    }
    case LISTING_CLUSTERS: {
        const struct ecs_list_clusters_response *response = call->response;
        see_texts(walk, &response->cluster_arns, call->snapshot);
        return response->next_token;
    }
    case LISTING_ATTRIBUTES: {
        const struct ecs_list_attributes_response *response = call->response;
        for (size_t i = 0; i < response->attributes.count; i++) {
            const struct ecs_attribute *attribute = &response->attributes.items[i];
            char name[300];
            snprintf(name, sizeof(name), "%.*s:%.*s", TEXT_FMT(sim_task_id(attribute->target_id)),
                     TEXT_FMT(attribute->name));
            see(walk, text_of(name), call->snapshot);
        }
        return response->next_token;
    }
    case LISTING_COUNT:
        break;
    }
    return (struct text){0};
}

static void ask(struct walk *walk);

static void on_again(void *context, void *payload)
{
    (void)payload;
    ask(context);
}

static void ask_later(struct walk *walk, int64_t delay_ms)
{
    world_post(&walk->sim->world, &(struct world_event){.delay_ms = delay_ms,
                                                        .life = &walk->sim->churn.life,
                                                        .run = on_again,
                                                        .context = walk});
}

static void on_page(struct call *call)
{
    struct walk *walk = call->context;
    if (call->rc == ERR_FAULT) {
        world_fail(&walk->sim->world, "a listing (%d) is refused: %s", (int)walk->listing,
                   call->fault_text);
        return;
    }
    if (call->rc != 0) {
        walk->tries++;
        if (walk->tries < TRIES_MAX) {
            ask_later(walk, TRY_AGAIN_MS);
        }
        return;
    }
    if (walk->pages == 0) {
        walk->first = alloc_string(call->snapshot);
    }
    walk->pages++;
    struct text token = see_page(walk, call);
    if (text_empty(token)) {
        check_whole(walk, call->snapshot);
        return;
    }
    snprintf(walk->token, sizeof(walk->token), "%.*s", TEXT_FMT(token));
    ask_later(walk, world_between(&walk->sim->world, 0, 1500));
}

static void ask(struct walk *walk)
{
    struct text token = text_of(walk->token[0] == '\0' ? NULL : walk->token);
    const struct ecs_list_tasks_request tasks = {
        .next_token = token,
        .has_max_results = true,
        .max_results = walk->size,
        .family = walk->listing == LISTING_FAMILY_TASKS ? TEXT("plain") : (struct text){0},
        .desired_status = walk->listing == LISTING_STOPPED ? ECS_DESIRED_STATUS_STOPPED
                                                           : ECS_DESIRED_STATUS_RUNNING,
    };
    const struct ecs_list_container_instances_request instances = {
        .next_token = token, .has_max_results = true, .max_results = walk->size};
    const struct ecs_list_task_definitions_request definitions = {
        .next_token = token,
        .has_max_results = true,
        .max_results = walk->size,
        .sort = walk->descending ? ECS_SORT_ORDER_DESC : ECS_SORT_ORDER_ASC,
    };
    const struct ecs_list_task_definition_families_request families = {
        .next_token = token, .has_max_results = true, .max_results = walk->size};
    const struct ecs_list_clusters_request clusters = {
        .next_token = token, .has_max_results = true, .max_results = walk->size};
    const struct ecs_list_attributes_request attributes = {
        .next_token = token,
        .has_max_results = true,
        .max_results = walk->size,
        .target_type = ECS_TARGET_TYPE_CONTAINER_INSTANCE,
    };
    const struct {
        enum ecs_operation operation;
        const void *request;
    } asks[LISTING_COUNT] = {
        [LISTING_TASKS] = {ECS_OP_LIST_TASKS, &tasks},
        [LISTING_STOPPED] = {ECS_OP_LIST_TASKS, &tasks},
        [LISTING_FAMILY_TASKS] = {ECS_OP_LIST_TASKS, &tasks},
        [LISTING_INSTANCES] = {ECS_OP_LIST_CONTAINER_INSTANCES, &instances},
        [LISTING_DEFINITIONS] = {ECS_OP_LIST_TASK_DEFINITIONS, &definitions},
        [LISTING_FAMILIES] = {ECS_OP_LIST_TASK_DEFINITION_FAMILIES, &families},
        [LISTING_CLUSTERS] = {ECS_OP_LIST_CLUSTERS, &clusters},
        [LISTING_ATTRIBUTES] = {ECS_OP_LIST_ATTRIBUTES, &attributes},
    };
    call_begin(walk->sim, &(struct call_options){
                              .operation = &ecs_operations[asks[walk->listing].operation],
                              .request = asks[walk->listing].request,
                              .done = on_page,
                              .context = walk,
                              .stranger = walk->stranger,
                              .walk = walk,
                          });
}

void pages_begin(struct sim *sim, bool stranger)
{
    struct world *world = &sim->world;
    struct walk *walk = ALLOC(struct walk);
    *walk = (struct walk){
        .next = sim->churn.walks,
        .sim = sim,
        .listing = (enum listing)world_between(world, 0, LISTING_COUNT - 1),
        .stranger = stranger,
        .descending = world_chance(world, 500),
        .size = (int32_t)world_between(world, 1, 4),
    };
    buf_byte(&walk->seen, '\n');
    sim->churn.walks = walk;
    ask(walk);
}

void pages_deinit(struct sim *sim)
{
    while (sim->churn.walks != NULL) {
        struct walk *walk = sim->churn.walks;
        sim->churn.walks = walk->next;
        alloc_free(walk->first);
        buf_deinit(&walk->seen);
        alloc_free(walk);
    }
}
