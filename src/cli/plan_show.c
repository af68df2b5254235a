#include "cli/plan.h"

#include "base/text.h"

#include <stdio.h>

#define VALUE_SHOWN 300 // bytes of a value: a whole container that is new would fill the screen

// ---- in which order -----------------------------------------------------------------------

static int32_t percent(const struct ecs_service *service, bool maximum)
{
    const struct ecs_deployment_configuration *configuration =
        service == NULL ? NULL : service->deployment_configuration;
    bool said = configuration != NULL && (maximum ? configuration->has_maximum_percent
                                                  : configuration->has_minimum_healthy_percent);
    if (!said) {
        return maximum ? 200 : 100; // ECS: of a REPLICA service
    }
    return maximum ? configuration->maximum_percent : configuration->minimum_healthy_percent;
}

// Whether all new tasks start beside the old ones, whatever the percentages say.
static bool beside(const struct ecs_service *service)
{
    if (service == NULL || service->deployment_configuration == NULL) {
        return false;
    }
    switch (service->deployment_configuration->strategy) {
    case ECS_DEPLOYMENT_STRATEGY_BLUE_GREEN:
    case ECS_DEPLOYMENT_STRATEGY_LINEAR:
    case ECS_DEPLOYMENT_STRATEGY_CANARY:
        return true;
    case ECS_DEPLOYMENT_STRATEGY_ABSENT:
    case ECS_DEPLOYMENT_STRATEGY_UNRECOGNIZED:
    case ECS_DEPLOYMENT_STRATEGY_ROLLING:
        break;
    }
    return false;
}

static struct text scale_text(int32_t starts, int32_t stops, struct arena *arena)
{
    if (starts > 0) {
        return arena_format(arena, "Starts %d and stops none.", (int)starts);
    }
    if (stops > 0) {
        return arena_format(arena, "Stops %d and starts none.", (int)stops);
    }
    return TEXT("Starts none and stops none.");
}

static struct text roll_text(const struct plan_order *order, int32_t desired, struct arena *arena)
{
    if (order->stops == 0) {
        return arena_format(arena, "Starts %d and stops none.", (int)desired);
    }
    if (order->blocked) {
        return arena_format(
            arena,
            "Stops old ones first, since there may be %d tasks at most: never fewer "
            "than %d healthy. Then starts new ones in their place.",
            (int)order->upper, (int)order->lower);
    }
    return arena_format(arena,
                        "Starts up to %d at first (at most %d in all), and stops an old one "
                        "whenever a new one is healthy: never fewer than %d healthy.",
                        (int)order->starts, (int)order->upper, (int)order->lower);
}

// On each instance the old task stops before the new one starts; bounds say on how many at a time.
static struct text daemon_text(const struct plan_order *order, int32_t desired, struct arena *arena)
{
    if (order->lower >= desired) {
        return arena_format(
            arena,
            "Stops none and starts none: minimumHealthyPercent keeps all %d, and no "
            "instance ever has two.",
            (int)desired);
    }
    return arena_format(arena,
                        "Stops the old task of an instance, then starts the new one there, on at "
                        "most %d of %d instances at a time: never fewer than %d healthy.",
                        (int)(desired - order->lower), (int)desired, (int)order->lower);
}

struct plan_order plan_order(const struct ecs_service *service, int32_t desired, bool deploys,
                             struct arena *arena)
{
    int32_t there = service == NULL ? 0 : service->running_count + service->pending_count;
    struct plan_order order = {
        .lower = (int32_t)(((int64_t)desired * percent(service, false) + 99) / 100),
        .upper = (int32_t)((int64_t)desired * percent(service, true) / 100),
    };
    if (!deploys) {
        order.starts = MAX(desired - there, 0);
        order.stops = MAX(there - desired, 0);
        order.text = scale_text(order.starts, order.stops, arena);
        return order;
    }
    order.stops = there;
    if (beside(service)) {
        order.upper = desired + there;
        order.starts = desired;
        order.text = arena_format(arena,
                                  "Starts all %d beside the old ones, moves over, and stops the %d "
                                  "old ones after the bake time.",
                                  (int)desired, (int)there);
        return order;
    }
    if (service != NULL && service->scheduling_strategy == ECS_SCHEDULING_STRATEGY_DAEMON &&
        there > 0) {
        order.blocked = true;
        order.text = daemon_text(&order, desired, arena);
        return order;
    }
    order.starts = MIN(desired, MAX(order.upper - there, 0));
    order.blocked = order.starts == 0 && desired > 0;
    order.text = roll_text(&order, desired, arena);
    return order;
}

// ---- what changes -------------------------------------------------------------------------

static struct report_change_list keep_changes(const struct shape_changes *changes,
                                              struct arena *arena)
{
    struct report_change_list list = {.items = SHAPE_EMPTY, .count = changes->count};
    if (changes->count > 0) {
        list.items = arena_array(arena, changes->count, sizeof(*list.items));
    }
    for (size_t i = 0; i < changes->count; i++) {
        const struct shape_change *change = &changes->items[i];
        list.items[i] = (struct report_change){change->path, change->before, change->after};
    }
    return list;
}

struct report_change_list plan_definition_changes(const struct ecs_task_definition *before,
                                                  const struct ecs_task_definition *after,
                                                  struct arena *arena)
{
    static const struct ecs_register_task_definition_request nothing;
    const struct shape_changes changes =
        shape_diff(&ecs_register_task_definition_request_shape,
                   before == NULL ? &nothing : change_as_request(before, arena),
                   change_as_request(after, arena), arena);
    return keep_changes(&changes, arena);
}

struct report_change_list plan_service_changes(const struct ecs_service *service,
                                               struct text definition, int32_t desired,
                                               struct arena *arena)
{
    // Only what the change is about: the rest of a service is how it stands.
    const struct ecs_service before = {
        .has_desired_count = service != NULL,
        .desired_count = service == NULL ? 0 : service->desired_count,
        .task_definition = service == NULL ? (struct text){0} : cli_short(service->task_definition),
    };
    const struct ecs_service after = {
        .has_desired_count = true,
        .desired_count = desired,
        .task_definition = cli_short(definition),
    };
    const struct shape_changes changes = shape_diff(&ecs_service_shape, &before, &after, arena);
    return keep_changes(&changes, arena);
}

static void write_value(struct text value, struct buf *out)
{
    struct text shown = value.size > VALUE_SHOWN ? text_slice(value, 0, VALUE_SHOWN) : value;
    // Not through the middle of a character.
    while (shown.size < value.size && shown.size > 0 &&
           ((unsigned char)value.data[shown.size] & 0xc0) == 0x80) {
        shown.size--;
    }
    buf_text(out, shown);
    if (shown.size < value.size) {
        buf_string(out, "...");
    }
}

void plan_write_changes(const struct report_change_list *changes, struct buf *out)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct report_change *change = &changes->items[i];
        bool was = change->before.data != NULL;
        bool is = change->after.data != NULL;
        buf_format(out, "  %c %.*s: ", was && is ? '~' : is ? '+' : '-', TEXT_FMT(change->path));
        if (was) {
            write_value(change->before, out);
        }
        if (was && is) {
            buf_string(out, " \xe2\x86\x92 ");
        }
        if (is) {
            write_value(change->after, out);
        }
        buf_byte(out, '\n');
    }
}

// ---- all of it ----------------------------------------------------------------------------

static void print_changes(const char *what, const struct report_change_list *changes)
{
    AUTO(buf_deinit) struct buf lines = {0};
    plan_write_changes(changes, &lines);
    printf("%s\n%.*s", what, TEXT_FMT(buf_view(&lines)));
    if (changes->count == 0) {
        printf("  no change\n");
    }
}

void plan_print(const struct diagnose_style *style, const struct change_options *options,
                const struct change *change, const struct report_plan *plan)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text after = cli_short(plan->task_definition_arn);
    struct text before =
        change->before == NULL ? after : cli_short(change->before->task_definition_arn);
    bool same = text_equal(before, after);
    print_changes(arena_format(&arena, "task definition %.*s%s%.*s%s", TEXT_FMT(before),
                               same ? "" : " \xe2\x86\x92 ",
                               TEXT_FMT(same ? (struct text){0} : after),
                               plan->registers ? ", to be registered" : "")
                      .data,
                  &plan->definition_changes);
    print_changes(arena_format(&arena, "service %.*s%s", TEXT_FMT(options->service),
                               change->service == NULL ? ", to be made" : "")
                      .data,
                  &plan->service_changes);
    printf("%s\n  %.*s\n", plan->deploys ? "a new deployment starts" : "no new deployment starts",
           TEXT_FMT(plan->order));
    if (plan->placement == NULL) {
        return;
    }
    if (plan->placement_is_of_now) {
        printf("where one would go now, beside all that are there\n");
    } else {
        printf("where they would go\n");
    }
    diagnose_print_placement(style, plan->placement);
}
