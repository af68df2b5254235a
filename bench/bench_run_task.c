/*
 * From the first byte of RunTask to RUNNING, with a warm image, against a whole Berth that this
 * program starts; beside it the floor, a bare overlay + network namespace + veth + crun of the
 * same image, and `docker run` where a Docker engine is there.
 *
 * RUNNING is seen from outside, by asking DescribeTasks over and over, so the figure holds the
 * asking, too.
 */

#include "api/berth.h"
#include "api/ecs.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 60
#define WARM_UP 5
#define GOAL_MS 25.0
#define GOAL_RATIO 1.5

extern char **environ;

struct bench {
    struct cli_context context;
    char folder[64];
    pid_t berth;
    struct text_list subnets;
};

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

// POSIX takes arguments that are not constant, though nobody writes to them.
static char *const *writable(const char *const argv[])
{
    return (char *const *)(uintptr_t)argv;
}

static pid_t start(const char *const argv[])
{
    pid_t child = 0;
    if (posix_spawnp(&child, argv[0], NULL, NULL, writable(argv), environ) != 0) {
        return -1;
    }
    return child;
}

// Run to its end; @return whether it went well.
static bool run(const char *const argv[])
{
    pid_t child = start(argv);
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static void rest(int64_t microseconds)
{
    const struct timespec pause = {.tv_nsec = microseconds * 1000};
    nanosleep(&pause, NULL);
}

static int call(struct bench *bench, uint16_t operation, const void *request, void *response,
                struct err *err)
{
    return cli_call(&bench->context, &ecs_operations[operation], request, response, err);
}

static int open_berth(struct bench *bench, const char *program, const char *image, struct err *err)
{
    AUTO(alloc_string) char *data = alloc_format("%s/data", bench->folder);
    const char *const up[] = {program, "up", "--data", data, "--listen", "127.0.0.1:0", NULL};
    bench->berth = start(up);
    if (bench->berth < 0) {
        return err_set(err, ERR_NOT_FOUND, "cannot start '%s'", program);
    }
    AUTO(alloc_string) char *config = alloc_format("%s/client.json", data);
    for (int i = 0; access(config, R_OK) != 0; i++) {
        if (i == 3000) {
            return err_set(err, ERR_TIMEOUT, "Berth was not ready within 30 s");
        }
        rest(10000);
    }
    const char *const load[] = {program, "image", "load", "--data", data, image, NULL};
    if (!run(load)) {
        return err_set(err, ERR_NOT_FOUND, "cannot load '%s'", image);
    }
    return cli_context_open(&bench->context, data, err);
}

static int prepare(struct bench *bench, struct err *err)
{
    const struct ecs_create_cluster_request cluster = {.cluster_name = TEXT("default")};
    struct ecs_create_cluster_response made = {0};
    int rc = call(bench, ECS_OP_CREATE_CLUSTER, &cluster, &made, err);
    // A stop signal that comes before the program has a handler is lost, as it is the first
    // process of its namespace: do not wait the usual 30 s then.
    struct ecs_container_definition container = {
        .name = TEXT("main"), .image = TEXT("hello"), .has_stop_timeout = true, .stop_timeout = 2};
    enum ecs_compatibility fargate = ECS_COMPATIBILITY_FARGATE;
    const struct ecs_register_task_definition_request definition = {
        .family = TEXT("bench"),
        .network_mode = ECS_NETWORK_MODE_AWSVPC,
        .requires_compatibilities = {&fargate, 1},
        .cpu = TEXT("256"),
        .memory = TEXT("512"),
        .container_definitions = {&container, 1},
    };
    struct ecs_register_task_definition_response registered = {0};
    if (rc == 0) {
        rc = call(bench, ECS_OP_REGISTER_TASK_DEFINITION, &definition, &registered, err);
    }
    const struct berth_describe_network_request ask = {0};
    struct berth_describe_network_response network = {0};
    if (rc == 0) {
        rc = cli_call(&bench->context, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &ask, &network,
                      err);
    }
    if (rc != 0) {
        return rc;
    }
    size_t count = network.subnets.count;
    bench->subnets.items = alloc_array(count, sizeof(struct text));
    bench->subnets.count = count;
    for (size_t i = 0; i < count; i++) {
        struct text id = network.subnets.items[i].subnet_id;
        bench->subnets.items[i] = text_of(alloc_format("%.*s", TEXT_FMT(id)));
    }
    return 0;
}

static int wait_status(struct bench *bench, struct text task, const char *status, struct err *err)
{
    int64_t deadline_ns = clock_monotonic_ns() + (int64_t)40 * 1000000000;
    while (clock_monotonic_ns() < deadline_ns) {
        const struct ecs_describe_tasks_request request = {.tasks = {&task, 1}};
        struct ecs_describe_tasks_response response = {0};
        int rc = call(bench, ECS_OP_DESCRIBE_TASKS, &request, &response, err);
        if (rc != 0) {
            return rc;
        }
        if (response.tasks.count == 1 && text_is(response.tasks.items[0].last_status, status)) {
            return 0;
        }
        rest(400);
    }
    return err_set(err, ERR_TIMEOUT, "task %.*s was not %s within 40 s", TEXT_FMT(task), status);
}

static int one_round(struct bench *bench, double *out_ms, struct err *err)
{
    struct ecs_aws_vpc_configuration vpc = {.subnets = bench->subnets};
    struct ecs_network_configuration network = {.awsvpc_configuration = &vpc};
    const struct ecs_run_task_request request = {
        .task_definition = TEXT("bench"),
        .launch_type = ECS_LAUNCH_TYPE_FARGATE,
        .network_configuration = &network,
    };
    struct ecs_run_task_response response = {0};
    int64_t begin_ns = clock_monotonic_ns();
    int rc = call(bench, ECS_OP_RUN_TASK, &request, &response, err);
    if (rc == 0 && response.tasks.count != 1) {
        rc = err_set(err, ERR_NO_ROOM, "RunTask placed %zu tasks", response.tasks.count);
    }
    if (rc != 0) {
        return rc;
    }
    struct text task = arena_text(&bench->context.arena, response.tasks.items[0].task_arn);
    rc = wait_status(bench, task, "RUNNING", err);
    *out_ms = (double)(clock_monotonic_ns() - begin_ns) / 1e6;
    const struct ecs_stop_task_request stop = {.task = task};
    struct ecs_stop_task_response stopped = {0};
    if (rc == 0) {
        rc = call(bench, ECS_OP_STOP_TASK, &stop, &stopped, err);
    }
    if (rc == 0) {
        rc = wait_status(bench, task, "STOPPED", err);
    }
    arena_reset(&bench->context.arena);
    return rc;
}

static int measure(struct bench *bench, double *out_p50, double *out_p95, struct err *err)
{
    static double times[ROUNDS];
    for (int i = -WARM_UP; i < ROUNDS; i++) {
        double ms = 0;
        int rc = one_round(bench, &ms, err);
        if (rc != 0) {
            return rc;
        }
        if (i >= 0) {
            times[i] = ms;
        }
    }
    qsort(times, ROUNDS, sizeof(times[0]), compare);
    *out_p50 = times[ROUNDS / 2];
    *out_p95 = times[ROUNDS * 95 / 100];
    return 0;
}

static void close_berth(struct bench *bench)
{
    if (bench->berth > 0) {
        kill(bench->berth, SIGTERM);
        waitpid(bench->berth, NULL, 0);
    }
    cli_context_close(&bench->context);
    struct err err;
    if (file_remove_tree(AT_FDCWD, bench->folder, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
    }
}

// The floor prints `p50 X ms` somewhere in its output.
static double floor_ms(const char *program)
{
    char line[256];
    double ms = 0;
    int pipes[2];
    if (pipe(pipes) != 0) {
        return 0;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipes[0]);
    const char *const argv[] = {program, NULL};
    pid_t child = 0;
    int started = posix_spawn(&child, program, &actions, NULL, writable(argv), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    FILE *output = fdopen(pipes[0], "r");
    while (started == 0 && fgets(line, sizeof(line), output) != NULL) {
        const char *found = strstr(line, "p50 ");
        if (found != NULL && ms == 0) {
            ms = strtod(found + 4, NULL);
        }
    }
    fclose(output);
    if (started == 0) {
        waitpid(child, NULL, 0);
    }
    return ms;
}

static void compare_docker(const char *image)
{
    const char *const info[] = {"sh", "-c", "docker info >/dev/null 2>&1", NULL};
    if (!run(info)) {
        printf("docker run: no Docker engine here, not measured\n");
        return;
    }
    AUTO(alloc_string) char *script = alloc_format("docker load -q -i %s >/dev/null", image);
    const char *const load[] = {"sh", "-c", script, NULL};
    static double times[20];
    bool good = run(load);
    for (size_t i = 0; good && i < ARRAY_LEN(times); i++) {
        int64_t begin_ns = clock_monotonic_ns();
        const char *const once[] = {"docker", "run", "--rm", "-d", "hello", NULL};
        good = run(once);
        times[i] = (double)(clock_monotonic_ns() - begin_ns) / 1e6;
    }
    if (good) {
        qsort(times, ARRAY_LEN(times), sizeof(times[0]), compare);
        printf("docker run -d: p50 %.1f ms\n", times[ARRAY_LEN(times) / 2]);
    }
}

int main(int argc, char **argv)
{
    const char *berth = argc > 1 ? argv[1] : BENCH_BERTH;
    const char *image = argc > 2 ? argv[2] : BENCH_IMAGE;
    struct bench bench = {.folder = "/tmp/berth-bench-XXXXXX"};
    struct err err;
    double p50 = 0;
    double p95 = 0;
    if (mkdtemp(bench.folder) == NULL) {
        perror(bench.folder);
        return 1;
    }
    int rc = open_berth(&bench, berth, image, &err);
    if (rc == 0) {
        rc = prepare(&bench, &err);
    }
    if (rc == 0) {
        rc = measure(&bench, &p50, &p95, &err);
    }
    close_berth(&bench);
    if (rc != 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    double bare = floor_ms(BENCH_FLOOR);
    printf("RunTask to RUNNING: p50 %.1f ms, p95 %.1f ms (goal: p50 under %.0f ms)\n", p50, p95,
           GOAL_MS);
    if (bare > 0) {
        printf("bare overlay + netns + veth + crun: p50 %.1f ms; ratio %.2f (goal: at most %.1f)\n",
               bare, p50 / bare, GOAL_RATIO);
    }
    compare_docker(image);
    return 0;
}
