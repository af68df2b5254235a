#include "ecs/ecs_internal.h"

#include "base/text.h"
#include "ecs/page.h"

/*
 * What capacity providers ecs_provider_show, and DescribeCapacityProviders.
 */

#define PREDEFINED 2

struct text ecs_provider_name(const struct core_call *call, struct text reference)
{
    struct text name = {0};
    const struct ecs_realm_scope scope = {.region = call->caller->region,
                                          .account = call->caller->account};
    return ecs_reference_path(reference, "capacity-provider", scope, &name) ? name
                                                                            : (struct text){0};
}

static struct text arn_of(struct core_call *call, struct text name)
{
    return arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:capacity-provider/%.*s",
                        TEXT_FMT(call->caller->region), TEXT_FMT(call->caller->account),
                        TEXT_FMT(name));
}

static void show_predefined(struct core_call *call, struct text name,
                            struct ecs_capacity_provider *out)
{
    *out = (struct ecs_capacity_provider){
        .capacity_provider_arn = arn_of(call, name),
        .name = name,
        .status = ECS_CAPACITY_PROVIDER_STATUS_ACTIVE,
        .type = text_is(name, "FARGATE") ? ECS_CAPACITY_PROVIDER_TYPE_FARGATE
                                         : ECS_CAPACITY_PROVIDER_TYPE_FARGATE_SPOT,
        .tags = {.items = SHAPE_EMPTY},
    };
}

void ecs_provider_show(struct core_call *call, const struct ecs_record_capacity_provider *record,
                       bool tags, struct ecs_capacity_provider *out)
{
    *out = (struct ecs_capacity_provider){
        .capacity_provider_arn = arn_of(call, record->name),
        .name = record->name,
        .status = ECS_CAPACITY_PROVIDER_STATUS_ACTIVE,
        .auto_scaling_group_provider = record->provider,
        .update_status = record->update_status,
        .type = ECS_CAPACITY_PROVIDER_TYPE_EC2_AUTOSCALING,
        .tags = {.items = SHAPE_EMPTY},
    };
    if (tags && record->tags.count > 0) {
        out->tags.items = record->tags.items;
        out->tags.count = record->tags.count;
    }
}

static void describe_named(struct core_call *call,
                           const struct ecs_describe_capacity_providers_request *in, bool tags,
                           struct ecs_describe_capacity_providers_response *out)
{
    size_t count = in->capacity_providers.count;
    out->capacity_providers.items =
        arena_array(call->arena, count, sizeof(*out->capacity_providers.items));
    out->failures.items = arena_array(call->arena, count, sizeof(*out->failures.items));
    int64_t realm = ecs_caller_realm(call);
    for (size_t i = 0; i < count; i++) {
        struct text reference = in->capacity_providers.items[i];
        struct text name = ecs_provider_name(call, reference);
        struct ecs_capacity_provider *shown =
            &out->capacity_providers.items[out->capacity_providers.count];
        int64_t key = text_empty(name) ? 0 : ecs_provider_find(call->core, realm, name);
        if (ecs_provider_predefined(name)) {
            show_predefined(call, name, shown);
        } else if (key != 0) {
            ecs_provider_show(call, core_get(call->core, &ecs_provider_kind, key), tags, shown);
        } else {
            out->failures.items[out->failures.count] = (struct ecs_failure){
                .arn = text_starts(reference, TEXT("arn:")) ? reference : arn_of(call, reference),
                .reason = TEXT("MISSING"),
            };
            out->failures.count++;
            continue;
        }
        out->capacity_providers.count++;
    }
}

// All of the caller's: the predefined ones have the places 1 and 2 before the keys of records.
static int describe_all(struct core_call *call, const struct text_list *wanted,
                        const struct ecs_describe_capacity_providers_request *in, bool tags,
                        struct ecs_describe_capacity_providers_response *out)
{
    static const char *const predefined[PREDEFINED] = {"FARGATE", "FARGATE_SPOT"};
    struct ecs_page page;
    int64_t after = 0;
    int rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    if (rc == 0) {
        rc = ecs_page_after_key(call, &page, &after);
    }
    if (rc != 0) {
        return rc;
    }
    struct ecs_capacity_provider *items = arena_array(call->arena, page.size, sizeof(*items));
    int64_t realm = ecs_caller_realm(call);
    size_t count = 0;
    int64_t last = 0;
    int64_t place = after + 1;
    while (true) {
        struct text name = {0};
        const struct ecs_record_capacity_provider *record = NULL;
        if (place <= PREDEFINED) {
            name = text_of(predefined[place - 1]);
        } else {
            int64_t key = core_next(call->core, &ecs_provider_kind, place - PREDEFINED - 1);
            if (key == 0) {
                break;
            }
            place = key + PREDEFINED;
            record = core_get(call->core, &ecs_provider_kind, key);
            name = record->name;
        }
        bool meant = (record == NULL || record->realm == realm) &&
                     (wanted == NULL || text_list_has(wanted, name));
        if (meant && count == page.size) {
            out->next_token = ecs_page_token_of_key(call, last);
            break;
        }
        if (meant && record == NULL) {
            show_predefined(call, name, &items[count]);
        } else if (meant) {
            ecs_provider_show(call, record, tags, &items[count]);
        }
        count += meant ? 1 : 0;
        last = meant ? place : last;
        place++;
    }
    out->capacity_providers.items = items;
    out->capacity_providers.count = count;
    out->failures.items = SHAPE_EMPTY;
    return 0;
}

int ecs_describe_capacity_providers(struct core_call *call, void *state, const void *request,
                                    void *response)
{
    (void)state;
    const struct ecs_describe_capacity_providers_request *in = request;
    bool tags = false;
    for (size_t i = 0; i < in->include.count; i++) {
        tags = tags || in->include.items[i] == ECS_CAPACITY_PROVIDER_FIELD_TAGS;
    }
    const struct text_list *wanted = NULL;
    if (in->cluster.data != NULL) {
        int64_t cluster = 0;
        int rc = ecs_cluster_resolve(call, in->cluster, &cluster);
        if (rc != 0) {
            return rc;
        }
        const struct ecs_record_cluster *record = core_get(call->core, &ecs_cluster_kind, cluster);
        struct text_list *names = ARENA_NEW(call->arena, struct text_list);
        *names =
            (struct text_list){record->capacity_providers.items, record->capacity_providers.count};
        wanted = names;
    }
    if (in->capacity_providers.count == 0) {
        return describe_all(call, wanted, in, tags, response);
    }
    int rc = ecs_batch_check(call, in->capacity_providers.count);
    if (rc == 0) {
        describe_named(call, in, tags, response);
    }
    return rc;
}
