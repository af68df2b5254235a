#pragma once

#include "task_world.h"

#include "ecs/service_internal.h"

/*
 * Services in the fake world: tests play the nodes, and read how a service stands as a line.
 *
 * Two Fargate definitions are registered: `web` with a health check, `bare` without one.
 */

#define SVC_TASKS 64
/** Members of a report: what a container `app` does. */
#define SVC_RUNS ",'containers':[{'containerName':'app','status':'RUNNING','runtimeId':'r1'}]"
#define SVC_ENDS ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':3}]"

/** cmocka set-up: world_setup, the definition `bare`, and a roomy node in each of three zones. */
int svc_setup(void **state);

/** CreateService on Fargate in the first subnet, or as members say otherwise; members begin with a
 *  comma. Its first tasks are already placed. @return its key */
int64_t svc_create(struct world *world, const char *name, const char *definition, int desired,
                   const char *members);
/** UpdateService; members without a leading comma. */
void svc_update(struct world *world, const char *name, const char *members);
/** The tasks that are not STOPPED, ascending by key. @return how many */
size_t svc_tasks(struct world *world, int64_t service, struct service_task *out_tasks);
/** Report a task's status as its node; members begin with a comma. */
void svc_report(struct world *world, int64_t task, const char *status, const char *members);
/** Report the health of a task's container `app` as its node. */
void svc_health(struct world *world, int64_t task, const char *health);
/** Report every task that starts as RUNNING. */
void svc_run(struct world *world, int64_t service);
/** Report every task that was told to stop as STOPPED. */
void svc_stop(struct world *world, int64_t service);
/** Report every task that starts as STOPPED: it crashed. @return how many */
size_t svc_crash(struct world *world, int64_t service);
/** Run, be HEALTHY, stop, until nothing is left to report; time passes so that tasks without a
 *  check count as healthy. */
void svc_settle(struct world *world, int64_t service);
/**
 * The service must stand like this: a letter for each task in the order they were made, deployments
 * apart by ` | `, the PRIMARY one first, then the newest. `.` starts, `r` RUNNING, `h` HEALTHY, `u`
 * UNHEALTHY, `x` told to stop, `?` on a lost node, `-` no task.
 */
void svc_stands(struct world *world, int64_t service, const char *want);
/** Some event of the service must contain this. */
void svc_told(struct world *world, const char *name, const char *want);
/** No event of the service may contain this. */
void svc_not_told(struct world *world, const char *name, const char *unwanted);
/** DescribeServices must contain this. */
void svc_has(struct world *world, const char *name, const char *want);
/** DescribeTasks of a task must contain this. */
void svc_task_has(struct world *world, int64_t task, const char *want);
/** Let time pass in half seconds while every node but one beats; WORLD_NODES for all. */
void svc_pass(struct world *world, int64_t passed_ms, size_t silent_node);
/** @return how many live tasks of the service are on a node */
size_t svc_on_node(struct world *world, int64_t service, size_t node);
/** @return the record of the service's PRIMARY deployment */
const struct service_record_deployment *svc_primary(struct world *world, int64_t service);
