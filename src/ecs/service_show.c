#include "ecs/service_internal.h"

// ---- names ----------------------------------------------------------------------------------

struct text service_arn_below(struct core_call *call, const char *type, int64_t service)
{
    const struct service_record_service *record = core_get(call->core, &service_kind, service);
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    struct ecs_realm_scope scope = ecs_scope(call->core, cluster->realm);
    return arena_format(call->arena, "arn:aws:ecs:%.*s:%.*s:%s/%.*s/%.*s", TEXT_FMT(scope.region),
                        TEXT_FMT(scope.account), type, TEXT_FMT(cluster->name),
                        TEXT_FMT(record->name));
}

struct text service_arn(struct core_call *call, int64_t service)
{
    return service_arn_below(call, "service", service);
}

struct text service_deployment_id(struct core_call *call, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(call->core, &service_deployment_kind, deployment);
    return arena_format(call->arena, "ecs-svc/%lld", (long long)record->number);
}

struct text service_rollout_arn(struct core_call *call, int64_t rollout)
{
    const struct service_record_rollout *record =
        core_get(call->core, &service_rollout_kind, rollout);
    struct text above = service_arn_below(call, "service-deployment", record->service);
    return arena_format(call->arena, "%.*s/%.*s", TEXT_FMT(above), TEXT_FMT(record->id));
}

struct text service_revision_arn(struct core_call *call, int64_t revision)
{
    const struct service_record_revision *record =
        core_get(call->core, &service_revision_kind, revision);
    struct text above = service_arn_below(call, "service-revision", record->service);
    return arena_format(call->arena, "%.*s/%lld", TEXT_FMT(above), (long long)record->number);
}

struct text service_name(const struct core *core, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(core, &service_deployment_kind, deployment);
    const struct service_record_service *service = core_get(core, &service_kind, record->service);
    return service->name;
}

struct text service_group_name(struct core_call *call, int64_t deployment)
{
    struct text name = service_name(call->core, deployment);
    return arena_format(call->arena, "service:%.*s", TEXT_FMT(name));
}

int64_t service_of(const struct core *core, int64_t deployment)
{
    const struct service_record_deployment *record =
        core_get(core, &service_deployment_kind, deployment);
    return record->service;
}

// ---- a service ------------------------------------------------------------------------------

bool service_on_fargate(const struct service_record_revision *revision)
{
    if (revision->capacity_provider_strategy.count > 0) {
        return text_starts(revision->capacity_provider_strategy.items[0].capacity_provider,
                           TEXT("FARGATE"));
    }
    return revision->launch_type == ECS_LAUNCH_TYPE_FARGATE;
}

static struct text shown_platform(const struct service_record_revision *revision)
{
    if (!service_on_fargate(revision)) {
        return (struct text){0};
    }
    return text_empty(revision->platform_version) ? TEXT("LATEST") : revision->platform_version;
}

struct text service_resolved_platform(const struct service_record_revision *revision)
{
    struct text shown = shown_platform(revision);
    return text_is(shown, "LATEST") ? TEXT("1.4.0") : shown;
}

struct text service_shown_family(struct core_call *call,
                                 const struct service_record_revision *revision)
{
    const struct ecs_runtime_platform *platform =
        task_definition(call->core, revision->definition)->runtime_platform;
    bool windows = platform != NULL && platform->operating_system_family > ECS_OS_FAMILY_ABSENT &&
                   platform->operating_system_family != ECS_OS_FAMILY_LINUX;
    return !service_on_fargate(revision) ? (struct text){0}
           : windows                     ? TEXT("Windows")
                                         : TEXT("Linux");
}

static void show_deployment(struct core_call *call, const struct service_survey *survey,
                            const struct service_standing *standing, struct ecs_deployment *out)
{
    const struct service_record_deployment *record = standing->record;
    const struct service_record_revision *revision = standing->revision;
    bool primary = record->status == SERVICE_RECORD_DEPLOYMENT_STATUS_PRIMARY;
    *out = (struct ecs_deployment){
        .id = service_deployment_id(call, standing->key),
        .status = primary ? TEXT("PRIMARY") : TEXT("ACTIVE"),
        .task_definition = ecs_definition_arn(call, revision->definition),
        .has_desired_count = true,
        .desired_count = primary                     ? survey->record->desired_count
                         : record->has_desired_count ? record->desired_count
                                                     : standing->live,
        .has_pending_count = true,
        .pending_count = standing->pending,
        .has_running_count = true,
        .running_count = standing->running,
        .has_failed_tasks = true,
        .failed_tasks = record->failed_tasks,
        .created_at = record->created_at,
        .updated_at = record->updated_at,
        .launch_type = revision->launch_type,
        .platform_version = service_resolved_platform(revision),
        .platform_family = service_shown_family(call, revision),
        .network_configuration = revision->network_configuration,
        .rollout_state = record->rollout_state,
        .rollout_state_reason = record->rollout_state_reason,
        .service_connect_configuration = revision->service_connect_configuration,
    };
    out->capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    out->capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
    out->volume_configurations.items = revision->volume_configurations.items;
    out->volume_configurations.count = revision->volume_configurations.count;
    out->vpc_lattice_configurations.items = revision->vpc_lattice_configurations.items;
    out->vpc_lattice_configurations.count = revision->vpc_lattice_configurations.count;
}

// Newest first, the PRIMARY one before all others.
static void show_deployments(struct core_call *call, const struct service_survey *survey,
                             struct ecs_service *out)
{
    out->deployments.items =
        arena_array(call->arena, survey->count + 1, sizeof(struct ecs_deployment));
    if (survey->primary != NULL) {
        show_deployment(call, survey, survey->primary, &out->deployments.items[0]);
        out->deployments.count = 1;
    }
    for (size_t i = survey->count; i > 0; i--) {
        const struct service_standing *standing = &survey->standings[i - 1];
        if (standing != survey->primary) {
            show_deployment(call, survey, standing,
                            &out->deployments.items[out->deployments.count]);
            out->deployments.count++;
        }
    }
}

static void show_events(struct core_call *call, const struct service_state *state, int64_t service,
                        struct ecs_service *out)
{
    out->events.items = arena_array(call->arena, SERVICE_EVENTS_MAX, sizeof(*out->events.items));
    struct index_key prefix = {.size = 0};
    index_key_u64(&prefix, (uint64_t)service);
    struct index_cursor cursor;
    index_walk(state->events, &prefix, true, &cursor);
    for (int64_t key = index_step(&cursor); key != 0 && out->events.count < SERVICE_EVENTS_MAX;
         key = index_step(&cursor)) {
        const struct service_record_event *record = core_get(call->core, &service_event_kind, key);
        out->events.items[out->events.count] = (struct ecs_service_event){
            .id = record->id, .created_at = record->created_at, .message = record->message};
        out->events.count++;
    }
}

static void show_current(struct core_call *call, const struct service_survey *survey,
                         struct ecs_service *out)
{
    if (survey->record->rollout != 0) {
        out->current_service_deployment = service_rollout_arn(call, survey->record->rollout);
    }
    out->current_service_revisions.items =
        arena_array(call->arena, survey->count, sizeof(*out->current_service_revisions.items));
    for (size_t i = survey->count; i > 0; i--) {
        const struct service_standing *standing = &survey->standings[i - 1];
        out->current_service_revisions.items[out->current_service_revisions.count] =
            (struct ecs_service_current_revision_summary){
                .arn = service_revision_arn(call, standing->record->revision),
                .has_requested_task_count = true,
                .requested_task_count =
                    standing == survey->primary ? survey->record->desired_count : standing->live,
                .has_running_task_count = true,
                .running_task_count = standing->running,
                .has_pending_task_count = true,
                .pending_task_count = standing->pending,
            };
        out->current_service_revisions.count++;
    }
}

static struct text status_name(enum service_record_service_status status)
{
    return status == SERVICE_RECORD_SERVICE_STATUS_ACTIVE     ? TEXT("ACTIVE")
           : status == SERVICE_RECORD_SERVICE_STATUS_DRAINING ? TEXT("DRAINING")
                                                              : TEXT("INACTIVE");
}

// Members that its newest revision decides.
static void show_revision(struct core_call *call, const struct service_record_revision *revision,
                          struct ecs_service *out)
{
    out->task_definition = ecs_definition_arn(call, revision->definition);
    out->launch_type = revision->launch_type;
    out->capacity_provider_strategy.items = revision->capacity_provider_strategy.items;
    out->capacity_provider_strategy.count = revision->capacity_provider_strategy.count;
    out->platform_version = shown_platform(revision);
    out->platform_family = service_shown_family(call, revision);
    out->network_configuration = revision->network_configuration;
    if (revision->load_balancers.count > 0) {
        out->load_balancers.items = revision->load_balancers.items;
        out->load_balancers.count = revision->load_balancers.count;
    }
    if (revision->service_registries.count > 0) {
        out->service_registries.items = revision->service_registries.items;
        out->service_registries.count = revision->service_registries.count;
    }
}

// ECS takes the field of a strategy in lower case and shows that of binpack in upper case; `host`
// is another word for `instanceId`.
static void show_strategies(struct core_call *call, const struct service_record_service *record,
                            struct ecs_service *out)
{
    size_t count = record->placement_strategy.count;
    if (count == 0) {
        return;
    }
    out->placement_strategy.items =
        arena_array(call->arena, count, sizeof(*out->placement_strategy.items));
    out->placement_strategy.count = count;
    for (size_t i = 0; i < count; i++) {
        struct ecs_placement_strategy *strategy = &out->placement_strategy.items[i];
        *strategy = record->placement_strategy.items[i];
        if (strategy->type == ECS_PLACEMENT_STRATEGY_TYPE_BINPACK) {
            strategy->field =
                text_equal_nocase(strategy->field, TEXT("cpu")) ? TEXT("CPU") : TEXT("MEMORY");
        } else if (text_is(strategy->field, "host")) {
            strategy->field = TEXT("instanceId");
        }
    }
}

static struct text shown_role(struct core_call *call, struct text account, struct text role)
{
    if (text_empty(role)) {
        return arena_format(call->arena,
                            "arn:aws:iam::%.*s:role/aws-service-role/ecs.amazonaws.com/"
                            "AWSServiceRoleForECS",
                            TEXT_FMT(account));
    }
    return text_starts(role, TEXT("arn:"))
               ? role
               : arena_format(call->arena, "arn:aws:iam::%.*s:role/%.*s", TEXT_FMT(account),
                              TEXT_FMT(role));
}

static void show_plain(struct core_call *call, int64_t key,
                       const struct service_record_service *record, struct ecs_service *out)
{
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    *out = (struct ecs_service){
        .service_arn = service_arn(call, key),
        .service_name = record->name,
        .cluster_arn = ecs_cluster_arn(call, record->cluster),
        .load_balancers = {.items = SHAPE_EMPTY},
        .service_registries = {.items = SHAPE_EMPTY},
        .status = status_name(record->status),
        .has_desired_count = true,
        .desired_count = record->desired_count,
        .has_running_count = true,
        .has_pending_count = true,
        .deployment_configuration = record->configuration,
        .deployments = {.items = SHAPE_EMPTY},
        .role_arn = shown_role(call, ecs_scope(call->core, cluster->realm).account, record->role),
        .events = {.items = SHAPE_EMPTY},
        .created_at = record->created_at,
        .placement_constraints = {.items = SHAPE_EMPTY},
        .placement_strategy = {.items = SHAPE_EMPTY},
        .has_health_check_grace_period_seconds = record->has_health_check_grace_period_seconds,
        .health_check_grace_period_seconds = record->health_check_grace_period_seconds,
        .scheduling_strategy = record->scheduling_strategy,
        .deployment_controller = ARENA_NEW(call->arena, struct ecs_deployment_controller),
        .created_by = record->created_by,
        .has_enable_ecs_managed_tags = true,
        .enable_ecs_managed_tags = record->enable_ecs_managed_tags,
        .propagate_tags = record->propagate_tags,
        .has_enable_execute_command = true,
        .enable_execute_command = record->enable_execute_command,
        .availability_zone_rebalancing = record->zone_rebalancing,
        // Nothing here is managed by an express gateway.
        .resource_management_type = ECS_RESOURCE_MANAGEMENT_TYPE_CUSTOMER,
    };
    out->deployment_controller->type = record->controller;
    if (record->placement_constraints.count > 0) {
        out->placement_constraints.items = record->placement_constraints.items;
        out->placement_constraints.count = record->placement_constraints.count;
    }
    show_strategies(call, record, out);
}

void service_show(struct core_call *call, int64_t key, bool tags, struct ecs_service *out)
{
    const struct service_state *state = service_state(call->core);
    const struct service_record_service *record = core_get(call->core, &service_kind, key);
    show_plain(call, key, record, out);
    show_events(call, state, key, out);
    if (tags) {
        out->tags.items = record->tags.count > 0 ? record->tags.items : SHAPE_EMPTY;
        out->tags.count = record->tags.count;
    }
    const struct service_record_deployment *primary =
        record->primary == 0 ? NULL
                             : core_get(call->core, &service_deployment_kind, record->primary);
    if (primary != NULL) {
        show_revision(call, core_get(call->core, &service_revision_kind, primary->revision), out);
    }
    struct service_entry *entry = service_entry(state, key);
    if (entry == NULL) {
        return; // INACTIVE: nothing of it runs
    }
    struct service_survey survey;
    service_survey(call, entry, &survey);
    out->running_count = survey.running;
    out->pending_count = survey.pending;
    if (record->controller == ECS_DEPLOYMENT_CONTROLLER_TYPE_EXTERNAL) {
        service_task_sets_show(call, &survey, tags, &out->task_sets);
        return;
    }
    show_deployments(call, &survey, out);
    show_current(call, &survey, out);
}
