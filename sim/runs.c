#include "sim.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * Running tasks: plainly, with constraints and strategies, and again with the same clientToken.
 */

#define RETRY_MS 700
#define RUNS_MAX 400

// The last is for instances only, and has no address of its own.
static const char *const families[] = {"web",   "job",  "stubborn", "broken", "missing",
                                       "chain", "sick", "again",    "plain"};
// Of instances only, and without addresses of their own.
static const char *const placed_families[] = {"plain", "plain", "port", "ports",
                                              "gpu",   "picky", "rev"};

static void run_token(struct sim *sim, size_t index);

struct again {
    struct sim *sim;
    size_t token;
};

static void on_run_again(void *context, void *payload)
{
    run_token(context, ((struct again *)payload)->token);
}

// That it is so is looked at when it is applied.
static bool group_gone(const struct call *call)
{
    return call->rc == ERR_FAULT &&
           text_starts(text_of(call->fault_text), TEXT("Error retrieving security group"));
}

// What may be refused: a cluster without instances, and what somebody else deletes meanwhile.
static bool expected(const struct call *call)
{
    if (group_gone(call)) {
        return true;
    }
    static const char *const texts[] = {
        "No Container Instances were found in your cluster.",
        "Cluster not found.",
        "TaskDefinition not found.",
        "TaskDefinition is inactive",
        "Unable to describe task definition.",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (strcmp(call->fault_text, texts[i]) == 0) {
            return i == 0 || call->context == NULL;
        }
    }
    return false;
}

static void on_run(struct call *call)
{
    struct sim *sim = call->sim;
    if (call->rc == 0) {
        const struct ecs_run_task_response *response = call->response;
        sim->workload.answer_count++;
        sim->workload.placed_count += (uint32_t)response->tasks.count;
    } else if (call->rc == ERR_FAULT && !expected(call)) {
        world_fail(&sim->world, "RunTask is refused: %s", call->fault_text);
    }
    // Without an answer the same is asked again; now and then with one, too.
    if ((call->rc != 0 && call->number > 0 && !group_gone(call)) || world_chance(&sim->world, 60)) {
        struct again *again = ALLOC(struct again);
        again->token = (size_t)(call->number - 1);
        if (call->number > 0 && sim->workload.run_count < RUNS_MAX) {
            sim->workload.run_count++;
            world_post(&sim->world, &(struct world_event){.delay_ms = RETRY_MS,
                                                          .life = &sim->workload.life,
                                                          .run = on_run_again,
                                                          .context = sim,
                                                          .payload = again});
        } else {
            alloc_free(again);
        }
    }
}

static size_t fill_constraints(const struct run_spec *spec,
                               struct ecs_placement_constraint *constraints)
{
    size_t count = 0;
    if (spec->distinct) {
        constraints[count++].type = ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE;
    }
    for (size_t i = 0; i < RUN_EXPRESSIONS && spec->expressions[i] != 0; i++) {
        constraints[count++] = (struct ecs_placement_constraint){
            .type = ECS_PLACEMENT_CONSTRAINT_TYPE_MEMBER_OF,
            .expression = text_of(placement_expressions[spec->expressions[i] - 1])};
    }
    return count;
}

static size_t fill_strategies(const struct run_spec *spec,
                              struct ecs_placement_strategy *strategies)
{
    size_t count = 0;
    for (size_t i = 0; i < RUN_STRATEGIES && spec->strategies[i] != 0; i++) {
        strategies[count++] = placement_strategies[spec->strategies[i] - 1];
    }
    return count;
}

/** How a run is asked for. */
struct run_options {
    const struct run_spec *spec;
    const char *token; ///< NULL for none
    int64_t number;    ///< of the token, from 1
    int32_t more;      ///< tasks, than the token was used for
    void (*done)(struct call *call);
};

static void begin_run(struct sim *sim, const struct run_options *options)
{
    const struct run_spec *spec = options->spec;
    struct text subnets[3];
    struct text command[] = {TEXT("echo")};
    for (size_t i = 0; i < 3; i++) {
        subnets[i] = text_of(sim->workload.subnets[i]);
    }
    struct text groups[RUN_GROUPS];
    struct ecs_aws_vpc_configuration vpc = {.subnets = {subnets, 3},
                                            .security_groups = {groups, 0}};
    for (size_t i = 0; i < RUN_GROUPS && spec->groups[i][0] != '\0'; i++) {
        groups[vpc.security_groups.count++] = text_of(spec->groups[i]);
    }
    struct ecs_network_configuration network = {.awsvpc_configuration = &vpc};
    struct ecs_container_override override = {
        .name = text_of(strcmp(spec->family, "job") == 0 ? "job" : "app"),
        .command = {.items = command, .count = 1},
    };
    struct ecs_task_override overrides = {.container_overrides = {.items = &override, .count = 1}};
    struct ecs_placement_constraint constraints[1 + RUN_EXPRESSIONS] = {0};
    struct ecs_placement_strategy strategies[RUN_STRATEGIES] = {0};
    struct ecs_tag tag = {TEXT("purpose"), TEXT("trial")};
    bool plain = true;
    for (size_t i = 0; i + 1 < ARRAY_LEN(families); i++) {
        plain = plain && strcmp(spec->family, families[i]) != 0;
    }
    const struct ecs_run_task_request request = {
        .task_definition = text_of(spec->family),
        .cluster = text_of(spec->cluster),
        .group = text_of(spec->group),
        .has_count = true,
        .count = spec->count + options->more,
        .launch_type = spec->fargate ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_EC2,
        .network_configuration = plain ? NULL : &network,
        .client_token = text_of(options->token),
        .overrides = spec->overridden ? &overrides : NULL,
        .placement_constraints = {constraints, fill_constraints(spec, constraints)},
        .placement_strategy = {strategies, fill_strategies(spec, strategies)},
        .tags = {&tag, spec->tagged ? 1 : 0},
    };
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[ECS_OP_RUN_TASK],
                        .request = &request,
                        .done = options->done,
                        .context = spec->may_fail ? NULL : sim,
                        .number = options->number,
                    });
}

static void run_token(struct sim *sim, size_t index)
{
    const struct token_fact *token = &sim->facts.tokens[index];
    begin_run(sim, &(struct run_options){.spec = &token->spec,
                                         .token = token->token,
                                         .number = (int64_t)index + 1,
                                         .done = on_run});
}

static void run(struct sim *sim, const struct run_spec *spec, int token_permille)
{
    struct facts *facts = &sim->facts;
    if (!world_chance(&sim->world, token_permille)) {
        begin_run(sim, &(struct run_options){.spec = spec, .number = -1, .done = on_run});
        return;
    }
    facts->tokens = alloc_resize(facts->tokens, facts->token_count + 1, sizeof(*facts->tokens));
    struct token_fact *token = &facts->tokens[facts->token_count++];
    *token = (struct token_fact){.spec = *spec};
    snprintf(token->token, sizeof(token->token), "token-%zu", facts->token_count);
    run_token(sim, facts->token_count - 1);
}

static const char *choose_cluster(struct sim *sim)
{
    return world_chance(&sim->world, 100) ? "edge" : NULL;
}

void runs_new(struct sim *sim)
{
    struct world *world = &sim->world;
    struct run_spec spec = {
        .family = families[world_between(world, 0, ARRAY_LEN(families) - 1)],
        .count = (int32_t)world_between(world, 1, world_chance(world, 200) ? 6 : 2),
        .cluster = choose_cluster(sim),
        .overridden = world_chance(world, 300),
        .tagged = world_chance(world, 200),
    };
    spec.fargate = strcmp(spec.family, "plain") != 0 && world_chance(world, 600);
    spec.may_fail = spec.cluster != NULL;
    groups_choose(sim, &spec);
    run(sim, &spec, 600);
}

void runs_placed(struct sim *sim)
{
    struct world *world = &sim->world;
    struct run_spec spec = {
        .family = placed_families[world_between(world, 0, ARRAY_LEN(placed_families) - 1)],
        .count = (int32_t)world_between(world, 1, 4),
        .cluster = choose_cluster(sim),
        .tagged = world_chance(world, 200),
    };
    spec.may_fail = spec.cluster != NULL || strcmp(spec.family, "rev") == 0;
    placement_choose(sim, &spec);
    run(sim, &spec, 300);
}

void runs_family(struct sim *sim, const char *family)
{
    const struct run_spec spec = {
        .family = family, .count = (int32_t)world_between(&sim->world, 1, 2), .may_fail = true};
    run(sim, &spec, 300);
}

// ---- the same token for something else --------------------------------------------------------

static void on_conflict(struct call *call)
{
    if (call->rc == 0) {
        world_fail(&call->sim->world, "a clientToken is taken for another request");
    } else if (call->rc == ERR_FAULT) {
        bool conflict = call->fault == &ecs_error_conflict_exception;
        call->sim->churn.counts[ACT_TOKEN_CONFLICT] += conflict;
        if (!conflict && !expected(call)) {
            world_fail(&call->sim->world, "a clientToken for another request: %s",
                       call->fault_text);
        }
    }
}

void runs_conflict(struct sim *sim)
{
    // Where stopped tasks go soon, a token may mean nothing any more.
    for (size_t i = sim->facts.token_count; i > 0 && sim->server.retention_ms == 0; i--) {
        const struct token_fact *token = &sim->facts.tokens[i - 1];
        if (token->task_count > 0) {
            begin_run(sim, &(struct run_options){.spec = &token->spec,
                                                 .token = token->token,
                                                 .number = -1,
                                                 .more = 1,
                                                 .done = on_conflict});
            return;
        }
    }
}
