#include "place_region.h"

#include "api/berth.h"
#include "api/node.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct core_input region_input(struct region *region)
{
    struct core_input input = {.now_ms = region->now_ms};
    region->serial++;
    memcpy(input.entropy, &region->serial, sizeof(region->serial));
    return input;
}

void *region_ask(struct region *region, const struct api_operation *operation, const void *request)
{
    arena_reset(&region->arena);
    void *response = arena_alloc(&region->arena, operation->output->size_bytes);
    struct core_call call = {.arena = &region->arena};
    const struct core_input input = region_input(region);
    int rc =
        core_request(region->core, &input, &region->caller, operation, &call, request, response);
    if (rc != 0) {
        fprintf(stderr, "bench: %s: %s\n", operation->name, call.fault_text);
        exit(1);
    }
    return response;
}

// ---- the region ---------------------------------------------------------------------------

static void make_account(struct region *region, size_t account)
{
    snprintf(region->accounts[account], sizeof(region->accounts[0]), "%012zu", account + 1);
    region->caller.account = text_of(region->accounts[account]);
    const struct ecs_create_cluster_request cluster = {.cluster_name = TEXT("c")};
    region_ask(region, &ecs_operations[ECS_OP_CREATE_CLUSTER], &cluster);
    struct ecs_key_value_pair environment[] = {{TEXT("LOG_LEVEL"), TEXT("info")},
                                               {TEXT("PORT"), TEXT("8080")}};
    struct ecs_port_mapping port = {.has_container_port = true, .container_port = 8080};
    struct ecs_container_definition container = {
        .name = TEXT("app"),
        .image = TEXT("registry.example.com/team/app:1.2.3"),
        .has_cpu = true,
        .cpu = 256,
        .has_memory = true,
        .memory = 512,
        .environment = {environment, ARRAY_LEN(environment)},
    };
    struct ecs_register_task_definition_request definition = {
        .family = TEXT("job"),
        .container_definitions = {&container, 1},
    };
    region_ask(region, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &definition);
    container.port_mappings.items = &port;
    container.port_mappings.count = 1;
    port.has_host_port = true;
    port.host_port = 8443;
    definition.family = TEXT("edge");
    region_ask(region, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &definition);
    port.has_host_port = false;
    port.host_port = 0;
    enum ecs_compatibility fargate = ECS_COMPATIBILITY_FARGATE;
    definition.family = TEXT("web");
    definition.network_mode = ECS_NETWORK_MODE_AWSVPC;
    definition.cpu = TEXT("256");
    definition.memory = TEXT("512");
    definition.requires_compatibilities.items = &fargate;
    definition.requires_compatibilities.count = 1;
    region_ask(region, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &definition);
    const struct berth_describe_network_request network = {0};
    const struct berth_describe_network_response *shown =
        region_ask(region, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &network);
    for (size_t i = 0; i < 3; i++) {
        region->subnets[account][i] = arena_text(&region->kept, shown->subnets.items[i].subnet_id);
    }
}

static void make_node(struct region *region, size_t node, struct text id, struct text secret)
{
    region->caller.node_id = (struct text){0};
    char name[40];
    snprintf(name, sizeof(name), "host-%zu", node);
    const struct berth_join_node_request join = {
        .token_id = id, .token_secret = secret, .name = text_of(name)};
    const struct berth_join_node_response *joined =
        region_ask(region, &berth_operations[BERTH_OP_JOIN_NODE], &join);
    region->caller.node_id = arena_text(&region->kept, joined->node_id);
    region->node_ids[node] = region->caller.node_id;
    static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c"};
    struct ecs_resource resources[] = {
        {.name = TEXT("CPU"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = 16384},
        {.name = TEXT("MEMORY"),
         .type = TEXT("INTEGER"),
         .has_integer_value = true,
         .integer_value = 65536},
    };
    char rack[8];
    snprintf(rack, sizeof(rack), "r%zu", node % 40);
    struct ecs_attribute attributes[] = {
        {.name = TEXT("ecs.availability-zone"), .value = text_of(zones[node % 3])},
        {.name = TEXT("rack"), .value = text_of(rack)},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.18")},
        {.name = TEXT("com.amazonaws.ecs.capability.docker-remote-api.1.24")},
        {.name = TEXT("ecs.capability.container-health-check")},
        {.name = TEXT("ecs.capability.container-ordering")},
        {.name = TEXT("ecs.capability.task-cpu-mem-limit")},
        {.name = TEXT("ecs.capability.task-eni")},
        {.name = TEXT("berth.capacity"), .value = TEXT("FARGATE")},
    };
    struct ecs_register_container_instance_request request = {
        .cluster = TEXT("c"),
        .total_resources = {resources, ARRAY_LEN(resources)},
        .attributes = {attributes, ARRAY_LEN(attributes) - 1},
    };
    region_ask(region, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], &request);
    request.attributes.count = ARRAY_LEN(attributes);
    const struct ecs_register_container_instance_response *response =
        region_ask(region, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE], &request);
    const struct node_node_connect_request connect = {
        .has_session = true,
        .session = (int64_t)node + 1,
        .container_instance_arn =
            arena_text(&region->kept, response->container_instance->container_instance_arn),
        .has_berth_agent = true,
        .berth_agent = true,
    };
    region_ask(region, &node_operations[NODE_OP_NODE_CONNECT], &connect);
}

void region_make(struct region *region, const struct core_module *const *modules,
                 size_t module_count)
{
    region->node_count = region->node_count == 0 ? REGION_NODES : region->node_count;
    region->node_ids = alloc_array(region->node_count, sizeof(*region->node_ids));
    region->now_ms = REGION_NOW_MS;
    region->core = core_new(modules, module_count);
    region->caller.region = TEXT("eu-west-1");
    region->caller.arn = TEXT("arn:aws:iam::000000000001:root");
    const struct core_input input = region_input(region);
    core_recover(region->core, &input);
    for (size_t i = REGION_ACCOUNTS; i > 0; i--) {
        make_account(region, i - 1);
    }
    const struct berth_create_join_token_request request = {.has_uses = true,
                                                            .uses = (int32_t)region->node_count};
    const struct berth_create_join_token_response *made =
        region_ask(region, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &request);
    struct text secret = arena_text(&region->kept, made->token);
    struct text id = text_cut(&secret, '.');
    for (size_t i = 0; i < region->node_count; i++) {
        make_node(region, i, id, secret);
    }
    region->caller.node_id = (struct text){0};
}

void region_free(struct region *region)
{
    core_free(region->core);
    alloc_free(region->node_ids);
    arena_deinit(&region->arena);
    arena_deinit(&region->kept);
    *region = (struct region){0};
}
