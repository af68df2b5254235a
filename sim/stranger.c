#include "sim.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/*
 * Another account on the same server and hosts: with names of its own that are the same, and with
 * names of things that are not its own. It runs tasks, and tries its hand at the others'.
 */

static void nothing(struct call *call)
{
    (void)call; // what it did was looked at when it was applied
}

void stranger_setup(struct sim *sim)
{
    workload_ask(sim, &ecs_operations[ECS_OP_CREATE_CLUSTER], "{'clusterName':'default'}", true);
    const struct berth_describe_network_response *network =
        workload_ask(sim, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], "{}", true);
    if (network != NULL && network->subnets.count > 0) {
        snprintf(sim->churn.stranger_subnet, sizeof(sim->churn.stranger_subnet), "%.*s",
                 TEXT_FMT(network->subnets.items[0].subnet_id));
    }
}

static void run_own(struct sim *sim)
{
    struct text subnet = text_of(sim->churn.stranger_subnet);
    struct ecs_aws_vpc_configuration vpc = {.subnets = {.items = &subnet, .count = 1}};
    struct ecs_network_configuration network = {.awsvpc_configuration = &vpc};
    const struct ecs_run_task_request request = {
        .task_definition = TEXT("job"),
        .has_count = true,
        .count = 1,
        .launch_type = ECS_LAUNCH_TYPE_FARGATE,
        .network_configuration = &network,
    };
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[ECS_OP_RUN_TASK],
                        .request = &request,
                        .done = nothing,
                        .stranger = true,
                    });
}

// Nothing of it may succeed.
static void on_trespass(struct call *call)
{
    bool refused = call->rc != 0;
    if (call->rc == 0 && call->operation == &ecs_operations[ECS_OP_DESCRIBE_TASKS]) {
        const struct ecs_describe_tasks_response *response = call->response;
        refused = response->tasks.count == 0;
    } else if (call->rc == 0 && call->operation == &ecs_operations[ECS_OP_DESCRIBE_CLUSTERS]) {
        const struct ecs_describe_clusters_response *response = call->response;
        refused = response->clusters.count == 0;
    }
    if (!refused) {
        world_fail(&call->sim->world, "%s of another account's %s succeeds", call->operation->name,
                   call->id);
    }
    call->sim->churn.counts[ACT_STRANGER_REFUSED] += call->rc == 0 || call->rc == ERR_FAULT;
}

static void trespass(struct sim *sim, enum ecs_operation operation, const void *request,
                     const char *what)
{
    call_begin(sim, &(struct call_options){
                        .operation = &ecs_operations[operation],
                        .request = request,
                        .done = on_trespass,
                        .id = text_of(what),
                        .stranger = true,
                    });
}

// A task of the other's, by its id alone or by its ARN.
static void try_task(struct sim *sim)
{
    const struct fact *fact =
        sim->facts.items[world_between(&sim->world, 0, (int64_t)sim->facts.count - 1)];
    if (fact->stranger) {
        return;
    }
    char arn[200];
    snprintf(arn, sizeof(arn), "arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":task/%s/%s",
             fact->cluster[0] == '\0' ? "default" : fact->cluster, fact->id);
    bool by_id = world_chance(&sim->world, 500);
    bool by_cluster = world_chance(&sim->world, 300);
    struct text task = by_id ? text_of(fact->id) : text_of(arn);
    struct text cluster = by_cluster ? TEXT("arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":cluster/default")
                                     : TEXT("default");
    struct ecs_tag tag = {TEXT("mine"), TEXT("yes")};
    const struct ecs_stop_task_request stop = {.cluster = cluster, .task = task};
    const struct ecs_describe_tasks_request describe = {.cluster = cluster, .tasks = {&task, 1}};
    const struct ecs_tag_resource_request mark = {.resource_arn = text_of(arn), .tags = {&tag, 1}};
    switch (world_between(&sim->world, 0, 2)) {
    case 0:
        trespass(sim, ECS_OP_STOP_TASK, &stop, "task");
        return;
    case 1:
        trespass(sim, ECS_OP_DESCRIBE_TASKS, &describe, "task");
        return;
    default:
        trespass(sim, ECS_OP_TAG_RESOURCE, &mark, "task");
        return;
    }
}

static void try_other(struct sim *sim)
{
    struct text cluster = TEXT("arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":cluster/edge");
    const struct ecs_delete_cluster_request remove = {.cluster = cluster};
    const struct ecs_describe_clusters_request describe = {.clusters = {&cluster, 1}};
    const struct ecs_list_tasks_request list = {.cluster = cluster};
    const struct ecs_deregister_task_definition_request deregister = {
        .task_definition = TEXT("arn:aws:ecs:eu-west-1:" SIM_ACCOUNT ":task-definition/web:1")};
    switch (world_between(&sim->world, 0, 3)) {
    case 0:
        trespass(sim, ECS_OP_DELETE_CLUSTER, &remove, "cluster");
        return;
    case 1:
        trespass(sim, ECS_OP_DESCRIBE_CLUSTERS, &describe, "cluster");
        return;
    case 2:
        trespass(sim, ECS_OP_LIST_TASKS, &list, "cluster");
        return;
    default:
        trespass(sim, ECS_OP_DEREGISTER_TASK_DEFINITION, &deregister, "definition");
        return;
    }
}

void stranger_turn(struct sim *sim)
{
    if (world_chance(&sim->world, 400) || sim->facts.count == 0) {
        run_own(sim);
    } else if (world_chance(&sim->world, 600)) {
        try_task(sim);
    } else {
        try_other(sim);
    }
}
