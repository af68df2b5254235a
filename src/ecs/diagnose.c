#include "ecs/diagnose.h"

#include "vpc/vpc.h"

#include <string.h>

// ---- finding ------------------------------------------------------------------------------

struct findings {
    struct diagnose_finding *items;
    size_t count;
};

static void add(struct findings *findings, struct diagnose_finding finding)
{
    if (findings->count < DIAGNOSE_FINDINGS_MAX) {
        findings->items[findings->count] = finding;
        findings->count++;
    }
}

// Whether a host lacks one thing, by the comparison that placement makes of all of them.
static bool lacks(const struct place_node *place, struct place_request need,
                  enum place_reason reason)
{
    return place_explain(place, &need) == reason;
}

static void find_room(const struct diagnose_view *view, const struct task_node *node,
                      struct findings *findings)
{
    const struct place_request *need = &view->run->need;
    struct place_node place = task_node_place(node);
    place.usable = true; // that it is not is told already
    if (lacks(&place, (struct place_request){.architecture = need->architecture},
              PLACE_ATTRIBUTE)) {
        add(findings, (struct diagnose_finding){.matter = DIAGNOSE_ARCHITECTURE,
                                                .reason = place_reason_name(PLACE_ATTRIBUTE),
                                                .subject = TEXT("ecs.cpu-architecture")});
    }
    place.architecture = PLACE_ANY;
    if (lacks(&place,
              (struct place_request){.cpu_units = need->cpu_units, .architecture = PLACE_ANY},
              PLACE_CPU)) {
        add(findings, (struct diagnose_finding){.matter = DIAGNOSE_CPU,
                                                .reason = place_reason_name(PLACE_CPU),
                                                .asked = need->cpu_units,
                                                .free = MAX(0, place.cpu_units_free),
                                                .total = node->cpu_units});
    }
    place.cpu_units_free = MAX(0, place.cpu_units_free);
    if (lacks(&place,
              (struct place_request){.memory_mib = need->memory_mib, .architecture = PLACE_ANY},
              PLACE_MEMORY)) {
        add(findings, (struct diagnose_finding){.matter = DIAGNOSE_MEMORY,
                                                .reason = place_reason_name(PLACE_MEMORY),
                                                .asked = need->memory_mib,
                                                .free = MAX(0, place.memory_mib_free),
                                                .total = node->memory_mib});
    }
    place.memory_mib_free = MAX(0, place.memory_mib_free);
    if (lacks(&place, (struct place_request){.eni = need->eni, .architecture = PLACE_ANY},
              PLACE_ENI)) {
        add(findings, (struct diagnose_finding){.matter = DIAGNOSE_ENI,
                                                .reason = place_reason_name(PLACE_ENI),
                                                .asked = 1,
                                                .free = MAX(0, place.eni_free),
                                                .total = node->eni_slots});
    }
}

static void find_constraints(const struct core *core, const struct diagnose_view *view,
                             const struct task_spot *spot, bool changing, struct findings *findings)
{
    const struct task_run *run = view->run;
    for (size_t i = 0; view->placed && i < run->constraint_count; i++) {
        // Those that change with every task come last, as in placement.
        if (task_constraint_changes(&run->constraints[i]) == changing &&
            !task_spot_meant(core, spot, &run->constraints[i])) {
            add(findings,
                (struct diagnose_finding){.matter = DIAGNOSE_MEMBER_OF,
                                          .reason = "MemberOf placement constraint unsatisfied.",
                                          .subject = run->expressions[i]});
        }
    }
}

static void find_devices(const struct core *core, const struct diagnose_view *view,
                         const struct task_spot *spot, struct findings *findings)
{
    const struct task_run *run = view->run;
    for (size_t i = 0; i < run->port_count; i++) {
        if (task_spot_port_taken(spot, run->ports[i])) {
            add(findings, (struct diagnose_finding){.matter = DIAGNOSE_PORT,
                                                    .reason = "RESOURCE:PORTS",
                                                    .asked = run->ports[i]});
        }
    }
    int64_t gpus = run->gpus > 0 ? task_spot_gpus(core, spot) : 0;
    if (gpus < run->gpus) {
        const struct task_record_membership *membership =
            &spot->record->memberships.items[spot->index];
        add(findings,
            (struct diagnose_finding){.matter = DIAGNOSE_GPU,
                                      .reason = "RESOURCE:GPU",
                                      .asked = run->gpus,
                                      .free = MAX(INT64_C(0), gpus),
                                      .total = (int64_t)membership->platform_devices.count});
    }
}

static bool in_zones(const struct task_record_membership *membership, struct text zone)
{
    for (size_t i = 0; i < membership->zones.count; i++) {
        if (text_equal(membership->zones.items[i], zone)) {
            return true;
        }
    }
    return false;
}

static void find_location(const struct core *core, const struct diagnose_view *view,
                          const struct task_spot *spot, struct findings *findings)
{
    const struct task_run *run = view->run;
    if (!run->awsvpc || task_spot_subnet(core, run, spot) != 0) {
        return;
    }
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    struct diagnose_finding finding = {
        .matter = DIAGNOSE_ZONE, .reason = "LOCATION", .subject = membership->zones.items[0]};
    for (size_t i = 0; i < run->subnet_count; i++) {
        const struct vpc_record_subnet *subnet = core_get(core, &vpc_subnet_kind, run->subnets[i]);
        if (in_zones(membership, subnet->availability_zone)) {
            finding.matter = DIAGNOSE_ADDRESS;
            finding.reason = place_reason_name(PLACE_ENI);
            finding.subject = subnet->subnet_id;
        }
    }
    add(findings, finding);
}

static bool told(const struct findings *findings, const char *reason)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (strcmp(findings->items[i].reason, reason) == 0) {
            return true;
        }
    }
    return false;
}

size_t diagnose_spot(const struct core *core, const struct diagnose_view *view,
                     struct task_spot *spot, struct diagnose_finding *items)
{
    const char *verdict = view->placed ? task_spot_placed_refusal(core, view->run, spot)
                                       : task_spot_refusal(core, view->run, spot);
    if (verdict == NULL) {
        return 0;
    }
    struct findings findings = {.items = items};
    if (!task_node_place(spot->node).usable) {
        add(&findings, (struct diagnose_finding){.matter = DIAGNOSE_AGENT,
                                                 .reason = place_reason_name(PLACE_AGENT)});
    }
    if (spot->record->memberships.items[spot->index].draining) {
        add(&findings,
            (struct diagnose_finding){.matter = DIAGNOSE_DRAINING, .reason = "INACTIVE"});
    }
    for (size_t i = 0; i < DIAGNOSE_FINDINGS_MAX; i++) {
        struct text name = task_spot_lacks(view->run, spot, i);
        if (name.data == NULL) {
            break;
        }
        add(&findings, (struct diagnose_finding){
                           .matter = DIAGNOSE_ATTRIBUTE, .reason = "ATTRIBUTE", .subject = name});
    }
    find_constraints(core, view, spot, false, &findings);
    find_room(view, spot->node, &findings);
    find_devices(core, view, spot, &findings);
    find_location(core, view, spot, &findings);
    if (view->placed && view->run->distinct && spot->group_tasks > 0) {
        add(&findings, (struct diagnose_finding){.matter = DIAGNOSE_DISTINCT,
                                                 .reason = "DistinctInstance placement constraint "
                                                           "unsatisfied.",
                                                 .asked = 1,
                                                 .total = spot->group_tasks});
    }
    find_constraints(core, view, spot, true, &findings);
    if (!told(&findings, verdict)) {
        // Placement looks at more than this file knows of: its word alone is better than none.
        findings.count = MIN(findings.count, (size_t)DIAGNOSE_FINDINGS_MAX - 1);
        memmove(items + 1, items, findings.count * sizeof(*items));
        items[0] = (struct diagnose_finding){.matter = DIAGNOSE_OTHER, .reason = verdict};
        findings.count++;
    }
    return findings.count;
}

// ---- in words -----------------------------------------------------------------------------

static struct text say_agent(struct core_call *call, const struct task_spot *spot)
{
    const struct task_node *node = spot->node;
    if (!node->seen) {
        return TEXT("Its agent has not connected yet.");
    }
    if (task_node_live(node) && !text_empty(node->refusal)) {
        return arena_format(call->arena, "It takes no new tasks: %.*s.", TEXT_FMT(node->refusal));
    }
    return arena_format(call->arena, "Its agent was last heard of %lld seconds ago.",
                        (long long)MAX(INT64_C(0), call->now_ms - node->beat_ms) / 1000);
}

// The task that has a port of a host, or NULL when the host's agent reserved it.
static const struct task_entry *port_holder(const struct core *core, const struct task_node *node,
                                            uint32_t port)
{
    for (const struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        const struct task_record_task *task = core_get(core, &task_kind, entry->key);
        uint32_t ports[TASK_PORTS_MAX];
        size_t count = entry->holds && !task->has_subnet
                           ? task_definition_ports(task_definition(core, task->definition), ports,
                                                   ARRAY_LEN(ports))
                           : 0;
        for (size_t i = 0; i < count; i++) {
            if (ports[i] == port) {
                return entry;
            }
        }
    }
    return NULL;
}

static struct text say_port(struct core_call *call, const struct diagnose_view *view,
                            const struct task_spot *spot, uint32_t port, struct text name)
{
    const struct task_entry *holder = port_holder(call->core, spot->node, port);
    if (holder == NULL) {
        return arena_format(call->arena, "Port %.*s is reserved on it.", TEXT_FMT(name));
    }
    if (holder->key >= view->rehearsed) {
        return arena_format(call->arena, "Port %.*s goes to another of these tasks.",
                            TEXT_FMT(name));
    }
    const struct task_record_task *task = core_get(call->core, &task_kind, holder->key);
    struct text family = ecs_definition_family(call->core, task->definition);
    return arena_format(call->arena, "Port %.*s is taken by task %.*s of %.*s.", TEXT_FMT(name),
                        TEXT_FMT(task->task_id), TEXT_FMT(family));
}

static struct text say_room(struct core_call *call, const struct diagnose_finding *finding,
                            const char *unit)
{
    bool never = finding->asked > finding->total;
    return arena_format(call->arena, "The task asks for %lld %s; %lld of %lld %s free%s.",
                        (long long)finding->asked, unit, (long long)finding->free,
                        (long long)finding->total, finding->free == 1 ? "is" : "are",
                        never ? ", so it never fits" : "");
}

static const char *architecture_name(uint8_t bits)
{
    return bits == PLACE_ARM64 ? "arm64" : "x86_64";
}

static struct text say(struct core_call *call, const struct diagnose_view *view,
                       const struct task_spot *spot, const struct diagnose_finding *finding)
{
    struct arena *arena = call->arena;
    switch (finding->matter) {
    case DIAGNOSE_AGENT:
        return say_agent(call, spot);
    case DIAGNOSE_DRAINING:
        return TEXT("It is DRAINING and gets no new tasks.");
    case DIAGNOSE_ATTRIBUTE:
        return arena_format(arena, "It lacks the attribute %.*s.", TEXT_FMT(finding->subject));
    case DIAGNOSE_ARCHITECTURE:
        return arena_format(arena, "The task is for %s, and it is %s.",
                            architecture_name(view->run->need.architecture),
                            architecture_name(spot->node->architecture));
    case DIAGNOSE_MEMBER_OF:
        return arena_format(arena, "It is not meant by: %.*s",
                            TEXT_FMT(text_slice(finding->subject, 0, 200)));
    case DIAGNOSE_CPU:
        return say_room(call, finding, "CPU units");
    case DIAGNOSE_MEMORY:
        return say_room(call, finding, "MiB");
    case DIAGNOSE_ENI:
        return say_room(call, finding, "network interface");
    case DIAGNOSE_GPU:
        return say_room(call, finding, finding->asked == 1 ? "GPU" : "GPUs");
    case DIAGNOSE_PORT:
        return say_port(call, view, spot, (uint32_t)finding->asked, finding->subject);
    case DIAGNOSE_ZONE:
        return arena_format(arena, "It is in %.*s, and none of the subnets is.",
                            TEXT_FMT(finding->subject));
    case DIAGNOSE_ADDRESS:
        return arena_format(arena, "Subnet %.*s has no free address.", TEXT_FMT(finding->subject));
    case DIAGNOSE_DISTINCT:
        return arena_format(arena, "It has %lld of the group's tasks already.",
                            (long long)finding->total);
    case DIAGNOSE_OTHER:
        break;
    }
    return TEXT("Placement does not say more.");
}

static bool counted(enum diagnose_matter matter)
{
    return matter == DIAGNOSE_CPU || matter == DIAGNOSE_MEMORY || matter == DIAGNOSE_ENI ||
           matter == DIAGNOSE_GPU;
}

static struct berth_placement_reason show_reason(struct core_call *call,
                                                 const struct diagnose_view *view,
                                                 const struct task_spot *spot,
                                                 struct diagnose_finding finding)
{
    if (finding.matter == DIAGNOSE_PORT) {
        finding.subject = arena_format(call->arena, "%lld/%s", (long long)finding.asked / 2,
                                       finding.asked % 2 != 0 ? "udp" : "tcp");
    }
    bool numbers = counted(finding.matter);
    return (struct berth_placement_reason){
        .reason = text_of(finding.reason),
        .detail = say(call, view, spot, &finding),
        .subject = finding.subject,
        .has_asked = numbers,
        .asked = numbers ? finding.asked : 0,
        .has_free = numbers,
        .free = numbers ? finding.free : 0,
        .has_total = numbers,
        .total = numbers ? finding.total : 0,
    };
}

static void show_found(struct core_call *call, const struct diagnose_view *view,
                       const struct task_spot *spot, const struct diagnose_finding *findings,
                       size_t count, struct berth_placement_host *out_host)
{
    const struct task_record_membership *membership = &spot->record->memberships.items[spot->index];
    struct berth_placement_reason *reasons = arena_array(call->arena, count, sizeof(*reasons));
    for (size_t i = 0; i < count; i++) {
        reasons[i] = show_reason(call, view, spot, findings[i]);
    }
    *out_host = (struct berth_placement_host){
        .node_id = spot->record->node_id,
        .name = spot->record->name,
        .container_instance_arn = membership->cluster != 0
                                      ? task_instance_arn(call, spot->record, membership)
                                      : (struct text){0},
        .availability_zone = membership->zones.items[0],
        .has_fits = true,
        .fits = count == 0,
        .reasons = {.items = count > 0 ? reasons : NULL, .count = count},
    };
}

void diagnose_show(struct core_call *call, const struct diagnose_view *view, struct task_spot *spot,
                   struct berth_placement_host *out_host)
{
    struct diagnose_finding findings[DIAGNOSE_FINDINGS_MAX];
    size_t count = diagnose_spot(call->core, view, spot, findings);
    show_found(call, view, spot, findings, count, out_host);
}

// ---- all hosts ----------------------------------------------------------------------------

void diagnose_count(struct diagnose_survey *survey, struct text reason)
{
    for (size_t i = 0; i < survey->count_count; i++) {
        if (text_equal(survey->counts[i].reason, reason)) {
            survey->counts[i].host_count++;
            return;
        }
    }
    if (survey->count_count < DIAGNOSE_REASONS_MAX) {
        survey->counts[survey->count_count] =
            (struct berth_reason_count){.reason = reason, .has_host_count = true, .host_count = 1};
        survey->count_count++;
    }
}

// A host counts once for each word, however often it is said of it.
static void count_host(struct diagnose_survey *survey, const struct diagnose_finding *findings,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct findings before = {(struct diagnose_finding *)(uintptr_t)findings, i};
        if (!told(&before, findings[i].reason)) {
            diagnose_count(survey, text_of(findings[i].reason));
        }
    }
}

void diagnose_survey(struct core_call *call, const struct diagnose_view *view,
                     struct task_spots *spots, size_t total, int64_t after, size_t max,
                     struct diagnose_survey *out_survey)
{
    struct diagnose_survey survey = {
        .host_count = spots->count,
        .total_count = total,
        .counts = arena_array(call->arena, DIAGNOSE_REASONS_MAX, sizeof(*survey.counts)),
        .hosts = arena_array(call->arena, MIN(max, spots->count), sizeof(*survey.hosts)),
    };
    bool more = false;
    for (size_t i = 0; i < spots->count; i++) {
        struct task_spot *spot = &spots->spots[i];
        struct diagnose_finding findings[DIAGNOSE_FINDINGS_MAX];
        size_t count = diagnose_spot(call->core, view, spot, findings);
        survey.fit_count += count == 0;
        count_host(&survey, findings, count);
        if (spot->node->key <= after) {
            continue;
        }
        if (survey.shown_count == max) {
            more = true;
            continue;
        }
        show_found(call, view, spot, findings, count, &survey.hosts[survey.shown_count]);
        survey.shown_count++;
        survey.next_after = spot->node->key;
    }
    survey.next_after = more ? survey.next_after : 0;
    *out_survey = survey;
}

bool diagnose_has_hosts(const struct task_run *run)
{
    bool fargate = run->launch_type == ECS_LAUNCH_TYPE_FARGATE;
    return run->group != NULL && run->group->zone_count > 0 &&
           (fargate || run->group->counts.registered_instances > 0);
}

static const char *nobody(const struct task_run *run)
{
    if (run->spot) {
        return "the FARGATE_SPOT pool has no host";
    }
    return run->launch_type == ECS_LAUNCH_TYPE_FARGATE ? "the FARGATE pool has no host"
                                                       : "the cluster has no container instances";
}

struct text diagnose_summary(struct core_call *call, const struct task_run *run,
                             const struct diagnose_attempt *attempt,
                             const struct diagnose_survey *survey)
{
    size_t asked = attempt->asked;
    if (attempt->placed == asked) {
        return asked == 1 ? TEXT("The task finds a place.")
                          : arena_format(call->arena, "All %zu tasks find a place.", asked);
    }
    AUTO(buf_deinit) struct buf text = {.limit_bytes = 1024};
    if (asked == 1) {
        buf_string(&text, "The task finds no place: ");
    } else {
        buf_format(&text, "%zu of %zu tasks find a place: ", attempt->placed, asked);
    }
    if (survey->host_count == 0) {
        buf_string(&text, nobody(run));
    }
    for (size_t i = 0; i < survey->count_count; i++) {
        struct text reason = survey->counts[i].reason;
        // Words of ECS that are sentences end in a stop, which has no place within one.
        bool stop = text_ends(reason, TEXT("."));
        buf_format(&text, "%s%.*s on %d of %zu", i == 0 ? "" : ", ",
                   TEXT_FMT(text_slice(reason, 0, reason.size - (stop ? 1 : 0))),
                   (int)survey->counts[i].host_count, survey->host_count);
    }
    if (survey->host_count > 0) {
        buf_string(&text, survey->host_count == 1 ? " host" : " hosts");
    }
    if (survey->total_count > survey->host_count) {
        buf_format(&text, ", which are the first of %zu", survey->total_count);
    }
    buf_byte(&text, '.');
    return arena_text(call->arena, buf_view(&text));
}
