#pragma once

#include "harness.h"

/*
 * A whole region for tests of tasks: identity, networks, clusters and tasks in one engine, with
 * the cluster `c`, the Fargate definition `web` (0.25 vCPU, 512 MiB, containers `app` and the
 * non-essential `side`), the instance definition `job` (bridge, 100 units, 64 MiB), and effects
 * written down as text.
 */

#define WORLD_NODES 16
/** What hosts of tests can do: attributes of a registration. */
#define WORLD_CAPABILITIES                                                                         \
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.18'},"                              \
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.19'},"                              \
    "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.24'},"                              \
    "{'name':'com.amazonaws.ecs.capability.logging-driver.awslogs'},"                              \
    "{'name':'com.amazonaws.ecs.capability.task-iam-role'},"                                       \
    "{'name':'ecs.capability.container-health-check'},"                                            \
    "{'name':'ecs.capability.container-ordering'},{'name':'ecs.capability.execute-command'},"      \
    "{'name':'ecs.capability.task-cpu-mem-limit'},{'name':'ecs.capability.task-eni'}"
#define WORLD_NETWORK "'networkConfiguration':{'awsvpcConfiguration':{'subnets':['%s']}}"

struct world_node {
    char node_id[40];
    char instance[160]; ///< ARN
    int64_t session;
};

struct world {
    struct harness harness;
    struct buf effects; ///< a line for each: `NODE target type json`, `EVENT ...`
    char subnets[3][40];
    struct world_node nodes[WORLD_NODES];
    size_t node_count;
    char task[160]; ///< ARN of the task that world_run made
};

/** cmocka set-up. */
int world_setup(void **state);
/** cmocka tear-down. */
int world_teardown(void **state);

/** Have a new host join. @return its index */
size_t world_join(struct world *world);
/** Speak as a node from now on. */
void world_as_node(struct world *world, size_t node);
/** Speak as the account's root from now on. */
void world_as_root(struct world *world);
/** Register a joined host: cluster NULL for the pool of a zone. Its session is not open yet. */
void world_register(struct world *world, size_t node, const char *cluster, const char *zone,
                    int cpu_units, int memory_mib);
/** Open a new session of a node; it becomes its newest. */
void world_connect(struct world *world, size_t node);
/** Join, register with the FARGATE pool, connect. @return its index */
size_t world_pool_node(struct world *world, const char *zone, int cpu_units, int memory_mib);
/** Let the node beat. */
void world_beat(struct world *world, size_t node);
/** Run one Fargate task of `web` in a subnet; more members may be given, each with a comma behind
 *  it. The answer must hold a task. */
void world_run(struct world *world, size_t subnet, const char *members);
/** Report the state of world->task as a node; members begin after the task's own. */
void world_submit(struct world *world, size_t node, const char *status, const char *members);
/** Acknowledge every payload that was seen since the effects were forgotten. */
void world_ack(struct world *world, size_t node);
/** DescribeTasks of world->task must contain this. */
void world_task_has(struct world *world, const char *want);
/** Some effect must contain this. */
void world_effect(struct world *world, const char *want);
/** No effect may contain this. */
void world_no_effect(struct world *world, const char *unwanted);
/** Forget effects. */
void world_forget(struct world *world);
/** Printf into a text that lives until the next 8 such calls. */
const char *world_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
