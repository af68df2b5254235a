#include "ecs/page.h"
#include "ecs/service_internal.h"

#include <string.h>

// ---- names ----------------------------------------------------------------------------------

struct text service_task_set_arn(struct core_call *call, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(call->core, &service_deployment_kind, deployment);
    struct text above = service_arn_below(call, "task-set", record->service);
    return arena_format(call->arena, "%.*s/ecs-svc/%lld", TEXT_FMT(above),
                        (long long)record->number);
}

// The number in `ecs-svc/number`; -1 when it is no such id.
static int64_t number_of(struct text id)
{
    int64_t number = 0;
    struct text digits = text_slice(id, strlen("ecs-svc/"), id.size);
    bool fine = text_starts(id, TEXT("ecs-svc/")) && text_to_i64(digits, &number) == 0;
    return fine && number >= 0 ? number : -1;
}

int64_t service_task_set_find(struct core_call *call, int64_t service, struct text reference)
{
    struct text id = reference;
    if (text_starts(reference, TEXT("arn:"))) {
        struct text above = service_arn_below(call, "task-set", service);
        bool own = text_starts(reference, above) && reference.size > above.size + 1 &&
                   reference.data[above.size] == '/';
        id = own ? text_slice(reference, above.size + 1, reference.size) : (struct text){0};
    }
    int64_t number = number_of(id);
    if (number < 0) {
        return 0;
    }
    struct index_key at = {.size = 0};
    index_key_u64(&at, (uint64_t)service);
    index_key_u64(&at, (uint64_t)number);
    int64_t key = index_get(service_state(call->core)->deployments, &at);
    const struct service_record_deployment *record =
        key == 0 ? NULL : core_get(call->core, &service_deployment_kind, key);
    bool shown = record != NULL && record->task_set &&
                 record->status != SERVICE_RECORD_DEPLOYMENT_STATUS_INACTIVE;
    return shown ? key : 0;
}

// ---- a task set -----------------------------------------------------------------------------

int32_t service_task_set_desired(const struct service_record_service *service,
                                 const struct service_record_deployment *set)
{
    if (set->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING) {
        return 0;
    }
    // A scale such as 0.14 is no binary fraction: what it is too large by must not start a task.
    double exact = service->desired_count * set->scale / 100 - 1e-6;
    int32_t whole = (int32_t)exact;
    return exact > whole && !MUTANT("round-down") ? whole + 1 : whole;
}

static struct text status_of(const struct service_record_deployment *record)
{
    return record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY    ? TEXT("PRIMARY")
           : record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_DRAINING ? TEXT("DRAINING")
                                                                         : TEXT("ACTIVE");
}

static void show_revision(struct core_call *call, const struct service_record_revision *revision,
                          struct ecs_task_set *out)
{
    out->task_definition = ecs_definition_arn(call, revision->definition);
    out->launch_type = revision->launch_type;
    out->platform_version = service_resolved_platform(revision);
    out->platform_family = service_shown_family(call, revision);
    out->network_configuration = revision->network_configuration;
    out->capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    out->capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
    out->load_balancers.items = SHAPE_EMPTY;
    if (revision->load_balancers.count > 0) {
        out->load_balancers.items = revision->load_balancers.items;
        out->load_balancers.count = revision->load_balancers.count;
    }
    out->service_registries.items = SHAPE_EMPTY;
    if (revision->service_registries.count > 0) {
        out->service_registries.items = revision->service_registries.items;
        out->service_registries.count = revision->service_registries.count;
    }
}

void service_task_set_show(struct core_call *call, const struct service_survey *survey,
                           const struct service_standing *standing, bool tags,
                           struct ecs_task_set *out)
{
    const struct service_record_deployment *record = standing->record;
    bool stable = record->stable_at != 0;
    *out = (struct ecs_task_set){
        .id = service_deployment_id(call, standing->key),
        .task_set_arn = service_task_set_arn(call, standing->key),
        .service_arn = service_arn(call, record->service),
        .cluster_arn = ecs_cluster_arn(call, survey->record->cluster),
        .external_id = record->external_id,
        .status = status_of(record),
        .has_computed_desired_count = true,
        .computed_desired_count = service_task_set_desired(survey->record, record),
        .has_pending_count = true,
        .pending_count = standing->pending,
        .has_running_count = true,
        .running_count = standing->running,
        .created_at = record->created_at,
        .updated_at = record->updated_at,
        .scale = ARENA_NEW(call->arena, struct ecs_scale),
        .stability_status =
            stable ? ECS_STABILITY_STATUS_STEADY_STATE : ECS_STABILITY_STATUS_STABILIZING,
        .stability_status_at = stable ? record->stable_at : record->unstable_at,
    };
    out->scale->has_value = true;
    out->scale->value = record->scale;
    out->scale->unit = ECS_SCALE_UNIT_PERCENT;
    show_revision(call, standing->revision, out);
    if (tags) {
        out->tags.items = record->tags.count > 0 ? record->tags.items : SHAPE_EMPTY;
        out->tags.count = record->tags.count;
    }
}

void service_task_sets_show(struct core_call *call, const struct service_survey *survey, bool tags,
                            struct ecs_task_set_list *out)
{
    out->items = arena_array(call->arena, survey->count + 1, sizeof(*out->items));
    for (size_t i = survey->count; i > 0; i--) {
        const struct service_standing *standing = &survey->standings[i - 1];
        if (standing->record->task_set) {
            service_task_set_show(call, survey, standing, tags, &out->items[out->count]);
            out->count++;
        }
    }
}

// ---- DescribeTaskSets -----------------------------------------------------------------------

static const struct service_standing *standing_of(const struct service_survey *survey, int64_t key)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (survey->standings[i].key == key) {
            return &survey->standings[i];
        }
    }
    return NULL;
}

int service_describe_task_sets(struct core_call *call, void *pointer, const void *input,
                               void *output)
{
    const struct ecs_describe_task_sets_request *request = input;
    struct ecs_describe_task_sets_response *response = output;
    int64_t service = 0;
    int rc = service_task_set_open(call, request->cluster, request->service, &service);
    if (rc == 0) {
        rc = ecs_batch_check(call, request->task_sets.count);
    }
    if (rc != 0) {
        return rc;
    }
    bool tags = false;
    for (size_t i = 0; i < request->include.count; i++) {
        tags = tags || request->include.items[i] == ECS_TASK_SET_FIELD_TAGS;
    }
    struct service_survey survey;
    service_survey(call, service_entry(pointer, service), &survey);
    response->failures.items = SHAPE_EMPTY;
    if (request->task_sets.count == 0) {
        service_task_sets_show(call, &survey, tags, &response->task_sets);
        return 0;
    }
    size_t count = request->task_sets.count;
    response->task_sets.items = arena_array(call->arena, count, sizeof(*response->task_sets.items));
    response->failures.items = arena_array(call->arena, count, sizeof(*response->failures.items));
    for (size_t i = 0; i < count; i++) {
        struct text reference = request->task_sets.items[i];
        int64_t key = service_task_set_find(call, service, reference);
        const struct service_standing *standing = standing_of(&survey, key);
        if (standing != NULL) {
            service_task_set_show(call, &survey, standing, tags,
                                  &response->task_sets.items[response->task_sets.count]);
            response->task_sets.count++;
            continue;
        }
        struct text above = service_arn_below(call, "task-set", service);
        response->failures.items[response->failures.count] = (struct ecs_failure){
            .arn = text_starts(reference, TEXT("arn:"))
                       ? reference
                       : arena_format(call->arena, "%.*s/%.*s", TEXT_FMT(above),
                                      TEXT_FMT(text_slice(reference, 0, 200))),
            .reason = TEXT("MISSING"),
        };
        response->failures.count++;
    }
    return 0;
}
