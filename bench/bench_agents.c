/*
 * Many hosts at once: a real server with its store, agents with real journals and real sessions
 * over TLS, invented containers that start at once; services are made by the API, and it takes
 * until DescribeServices says that all of their tasks run.
 *
 * Afterwards each task must run on exactly one host and be known to the server as RUNNING, and none
 * may have stopped: that holds also when the server is killed half-way. The floor does the same
 * frames, journals and rows without any logic.
 *
 *     bench_agents [--agents N] [--tasks N] [--services N] [--kill] [--berth PROGRAM]
 *                  [--folder DIRECTORY]
 *
 * It needs root for a network of its own, where the server has an address that agents reach over
 * TLS. When the limit of open files allows fewer tasks, there are fewer, and it says so.
 */
#include "agents_fleet.h"
#include "agents_floor.h"
#include "api/berth.h"
#include "api/ecs.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS "192.0.2.1" // for documentation (RFC 5737), so nobody's
#define FLEETS_MAX 8        // processes of agents
#define SERVICES_MAX 10     // DescribeServices takes so many
#define FILES_OF_TASK 2     // both ends of a supervisor's stream are in one process
#define FILES_OF_AGENT 60   // journal, sessions, calls under way
#define FILES_SPARE 200
#define WAIT_SECONDS 300
#define ASK_PAUSE_MS 20
#define GOAL_SECONDS 20.0
#define TASK_CPU 256
#define TASK_MEMORY 512

extern char **environ;

struct bench {
    const char *berth;
    const char *under; // where its folder is made
    size_t agents;
    size_t tasks;
    size_t services;
    bool kill;

    char *folder;
    char *data;
    pid_t server;
    double server_cpu; // of servers that ended
    struct cli_context context;
    struct fleet fleets[FLEETS_MAX];
    size_t fleet_count;
    bool killed;
};

static void stop_on(int rc, const struct err *err)
{
    if (rc != 0) {
        fprintf(stderr, "bench_agents: %s\n", err->text);
        exit(1);
    }
}

static void rest(int64_t milliseconds)
{
    const struct timespec pause = {.tv_sec = milliseconds / 1000,
                                   .tv_nsec = milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static double seconds_since(int64_t begin_ns)
{
    return (double)(clock_monotonic_ns() - begin_ns) / 1e9;
}

// Of a process with all its threads.
static double cpu_seconds(pid_t pid)
{
    AUTO(alloc_string) char *path = alloc_format("/proc/%d/stat", (int)pid);
    AUTO(buf_deinit) struct buf content = {0};
    struct err err = {0};
    stop_on(file_read(AT_FDCWD, path, 4096, &content, &err), &err);
    buf_byte(&content, '\0');
    unsigned long user = 0;
    unsigned long kernel = 0;
    // Behind the name in parentheses: state and ten numbers come first.
    const char *rest_of_line = strrchr(content.data, ')');
    if (rest_of_line == NULL ||
        sscanf(rest_of_line + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &kernel) != 2) {
        fprintf(stderr, "bench_agents: '%s' is not as expected\n", path);
        exit(1);
    }
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double fleets_cpu_seconds(const struct bench *bench)
{
    double seconds = 0;
    for (size_t i = 0; i < bench->fleet_count; i++) {
        seconds += cpu_seconds(bench->fleets[i].pid);
    }
    return seconds;
}

// ---- what is around it ----------------------------------------------------------------------

static bool run(const char *const argv[])
{
    pid_t child = 0;
    int status = 0;
    // POSIX takes arguments that are not constant, though nobody writes to them.
    return posix_spawnp(&child, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) ==
               0 &&
           waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void enter_network(void)
{
    static const char *const up[] = {"ip", "link", "set", "lo", "up", NULL};
    static const char *const add[] = {"ip", "address", "add", ADDRESS "/32", "dev", "lo", NULL};
    if (unshare(CLONE_NEWNET) != 0 || !run(up) || !run(add)) {
        fprintf(stderr, "bench_agents: cannot make a network of its own; run it as root, with "
                        "iproute2 installed\n");
        exit(1);
    }
}

// How many processes the agents take, so that each has files enough; fewer tasks when even the most
// have not.
static void share_files(struct bench *bench)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        perror("bench_agents: the limit of open files");
        exit(1);
    }
    size_t room = limit.rlim_cur > 2 * FILES_SPARE ? (size_t)limit.rlim_cur - FILES_SPARE
                                                   : (size_t)FILES_SPARE;
    bench->fleet_count = MIN((size_t)4, bench->agents);
    for (;;) {
        size_t agents = (bench->agents + bench->fleet_count - 1) / bench->fleet_count;
        size_t most = room - MIN(room, agents * FILES_OF_AGENT);
        // Tasks do not spread perfectly evenly.
        size_t fit = most / FILES_OF_TASK * 9 / 10 * bench->fleet_count;
        if (fit >= bench->tasks) {
            return;
        }
        if (bench->fleet_count == MIN((size_t)FLEETS_MAX, bench->agents)) {
            size_t services = bench->services;
            bench->tasks = MAX(fit / services, (size_t)1) * services;
            printf("only %zu tasks: the limit of open files is %llu\n", bench->tasks,
                   (unsigned long long)limit.rlim_cur);
            return;
        }
        bench->fleet_count++;
    }
}

static pid_t spawn_server(const struct bench *bench)
{
    const char *const argv[] = {bench->berth,       "server",        "--data",
                                bench->data,        "--listen",      ADDRESS ":4566",
                                "--session-listen", ADDRESS ":4567", NULL};
    AUTO(alloc_string) char *log = alloc_format("%s/server.log", bench->folder);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_CREAT | O_APPEND | O_WRONLY,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    pid_t child = 0;
    int rc = posix_spawn(&child, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        fprintf(stderr, "bench_agents: cannot start '%s': %s\n", argv[0], strerror(rc));
        exit(1);
    }
    return child;
}

static void start_server(struct bench *bench)
{
    struct err err = {0};
    bench->data = alloc_format("%s/data", bench->folder);
    bench->server = spawn_server(bench);
    AUTO(alloc_string) char *config = alloc_format("%s/client.json", bench->data);
    for (int i = 0; access(config, R_OK) != 0; i++) {
        if (i == 3000) {
            fprintf(stderr, "bench_agents: the server was not ready within 30 s\n");
            exit(1);
        }
        rest(10);
    }
    stop_on(cli_context_open(&bench->context, bench->data, &err), &err);
}

static void kill_server(struct bench *bench)
{
    bench->server_cpu += cpu_seconds(bench->server);
    kill(bench->server, SIGKILL);
    waitpid(bench->server, NULL, 0);
    bench->server = spawn_server(bench);
    bench->killed = true;
}

static double server_cpu_seconds(const struct bench *bench)
{
    return bench->server_cpu + cpu_seconds(bench->server);
}

// ---- agents ---------------------------------------------------------------------------------

static void start_agents(struct bench *bench)
{
    struct err err = {0};
    const struct berth_create_join_token_request request = {.has_uses = true,
                                                            .uses = (int32_t)bench->agents};
    struct berth_create_join_token_response response = {0};
    stop_on(cli_call(&bench->context, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &request,
                     &response, &err),
            &err);
    AUTO(alloc_string) char *token = alloc_format("%.*s", TEXT_FMT(response.token));
    // Twice the room that an even spread needs.
    size_t each = bench->tasks / bench->agents * 2 + 8;
    size_t first = 0;
    for (size_t i = 0; i < bench->fleet_count; i++) {
        size_t end = bench->agents * (i + 1) / bench->fleet_count;
        const struct fleet_options options = {
            .folder = bench->folder,
            .token = token,
            .first = first,
            .count = end - first,
            .cpu_units = (uint32_t)(each * TASK_CPU),
            .memory_mib = (uint32_t)(each * TASK_MEMORY),
        };
        fleet_start(&options, &bench->fleets[i]);
        first = end;
    }
    for (size_t i = 0; i < bench->fleet_count; i++) {
        if (!fleet_wait_ready(&bench->fleets[i])) {
            fprintf(stderr, "bench_agents: agents did not become ready\n");
            exit(1);
        }
    }
}

// ---- services -------------------------------------------------------------------------------

static int call(struct bench *bench, uint16_t operation, const void *request, void *response,
                struct err *err)
{
    return cli_call(&bench->context, &ecs_operations[operation], request, response, err);
}

static void must_call(struct bench *bench, uint16_t operation, const void *request, void *response)
{
    struct err err = {0};
    stop_on(call(bench, operation, request, response, &err), &err);
}

static void prepare(struct bench *bench, struct berth_describe_network_response *out_network)
{
    struct err err = {0};
    const struct ecs_create_cluster_request cluster = {.cluster_name = TEXT("default")};
    struct ecs_create_cluster_response made = {0};
    must_call(bench, ECS_OP_CREATE_CLUSTER, &cluster, &made);
    struct ecs_container_definition container = {.name = TEXT("main"), .image = TEXT("hello")};
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
    must_call(bench, ECS_OP_REGISTER_TASK_DEFINITION, &definition, &registered);
    const struct berth_describe_network_request ask = {0};
    stop_on(cli_call(&bench->context, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &ask,
                     out_network, &err),
            &err);
}

static struct text service_name(struct bench *bench, size_t index)
{
    return arena_format(&bench->context.arena, "bench-%zu", index);
}

static void create_services(struct bench *bench,
                            const struct berth_describe_network_response *described)
{
    struct text subnets[16];
    size_t count = MIN(described->subnets.count, ARRAY_LEN(subnets));
    for (size_t i = 0; i < count; i++) {
        subnets[i] = described->subnets.items[i].subnet_id;
    }
    struct ecs_aws_vpc_configuration vpc = {.subnets = {subnets, count}};
    struct ecs_network_configuration network = {.awsvpc_configuration = &vpc};
    for (size_t i = 0; i < bench->services; i++) {
        const struct ecs_create_service_request request = {
            .service_name = service_name(bench, i),
            .task_definition = TEXT("bench"),
            .has_desired_count = true,
            .desired_count = (int32_t)(bench->tasks / bench->services),
            .launch_type = ECS_LAUNCH_TYPE_FARGATE,
            .network_configuration = &network,
        };
        struct ecs_create_service_response response = {0};
        must_call(bench, ECS_OP_CREATE_SERVICE, &request, &response);
    }
}

// @return how many tasks run, or -1 while the server does not answer
static int64_t count_running(struct bench *bench)
{
    struct text names[SERVICES_MAX];
    struct err err = {0};
    for (size_t i = 0; i < bench->services; i++) {
        names[i] = service_name(bench, i);
    }
    const struct ecs_describe_services_request request = {.services = {names, bench->services}};
    struct ecs_describe_services_response response = {0};
    int rc = call(bench, ECS_OP_DESCRIBE_SERVICES, &request, &response, &err);
    if (rc != 0 && !bench->killed) {
        stop_on(rc, &err);
    }
    int64_t running = rc == 0 ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < response.services.count; i++) {
        running += response.services.items[i].running_count;
    }
    arena_reset(&bench->context.arena);
    return running;
}

static void wait_running(struct bench *bench)
{
    int64_t begin_ns = clock_monotonic_ns();
    int64_t running = 0;
    while (running < (int64_t)bench->tasks) {
        if (seconds_since(begin_ns) > WAIT_SECONDS) {
            fprintf(stderr, "bench_agents: only %lld of %zu tasks run after %d s; see '%s'\n",
                    (long long)running, bench->tasks, WAIT_SECONDS, bench->folder);
            exit(1);
        }
        rest(ASK_PAUSE_MS);
        running = count_running(bench);
        if (bench->kill && !bench->killed && running >= (int64_t)bench->tasks / 2) {
            printf("killed the server when %lld tasks ran\n", (long long)running);
            kill_server(bench);
            running = 0; // to be seen again
        }
    }
}

// ---- what must hold -------------------------------------------------------------------------

// List tasks of the cluster. @return how many, and how many of them run on no host
static size_t list_tasks(struct bench *bench, enum ecs_desired_status status,
                         const struct map *hosted, size_t *out_missing)
{
    AUTO(alloc_string) char *next = NULL;
    size_t count = 0;
    *out_missing = 0;
    do {
        const struct ecs_list_tasks_request request = {.desired_status = status,
                                                       .next_token = text_of(next)};
        struct ecs_list_tasks_response response = {0};
        must_call(bench, ECS_OP_LIST_TASKS, &request, &response);
        for (size_t i = 0; i < response.task_arns.count; i++) {
            struct text arn = response.task_arns.items[i];
            struct text id = text_slice(arn, text_find_last(arn, '/') + 1, arn.size);
            count++;
            *out_missing += map_get(hosted, id) == NULL ? 1 : 0;
        }
        alloc_free(next);
        next = response.next_token.data == NULL
                   ? NULL
                   : alloc_format("%.*s", TEXT_FMT(response.next_token));
        arena_reset(&bench->context.arena);
    } while (next != NULL);
    return count;
}

static bool check(struct bench *bench, const struct fleet_report *report)
{
    size_t missing = 0;
    size_t ignored = 0;
    size_t listed = list_tasks(bench, ECS_DESIRED_STATUS_RUNNING, &report->tasks, &missing);
    size_t stopped = list_tasks(bench, ECS_DESIRED_STATUS_STOPPED, &report->tasks, &ignored);
    bool good = listed == bench->tasks && report->tasks.count == bench->tasks && missing == 0 &&
                report->twice == 0 && stopped == 0;
    printf("%s: the server lists %zu tasks to run and %zu stopped; hosts run %zu, %zu of them "
           "twice; %zu listed ones run nowhere\n",
           good ? "checked" : "WRONG", listed, stopped, report->tasks.count, report->twice,
           missing);
    return good;
}

// ---- all ------------------------------------------------------------------------------------

static void print_floor(const struct bench *bench, const struct fleet_report *report,
                        double seconds)
{
    AUTO(alloc_string) char *store = alloc_format("%s/server/store.db", bench->data);
    const struct floor_load load = {
        .folder = bench->folder,
        .store = store,
        .tasks = bench->tasks,
        .journals = bench->agents,
        .journal_writes = report->journal_writes,
        .journal_bytes = report->journal_bytes,
    };
    struct floor_times times;
    floor_measure(&load, &times);
    printf(
        "floor, all at once: %.2f s (frames of %zu tasks back and forth %.2f s, %zu synchronised "
        "writes to %zu journals %.2f s, %zu rows %.2f s); ratio %.1f\n",
        times.seconds, bench->tasks, times.wire_seconds, report->journal_writes, bench->agents,
        times.journal_seconds, times.rows, times.store_seconds, seconds / times.seconds);
}

static bool measure(struct bench *bench)
{
    struct fleet_report report = {0};
    struct berth_describe_network_response network = {0};
    int64_t begin_ns = clock_monotonic_ns();
    start_server(bench);
    start_agents(bench);
    printf("%zu agents in %zu processes registered and connected over TLS: %.2f s\n", bench->agents,
           bench->fleet_count, seconds_since(begin_ns));
    prepare(bench, &network);
    double server_cpu = server_cpu_seconds(bench);
    double agents_cpu = fleets_cpu_seconds(bench);
    begin_ns = clock_monotonic_ns();
    create_services(bench, &network);
    wait_running(bench);
    double seconds = seconds_since(begin_ns);
    server_cpu = server_cpu_seconds(bench) - server_cpu;
    agents_cpu = fleets_cpu_seconds(bench) - agents_cpu;
    double tasks = (double)bench->tasks;
    printf("%zu services of %zu tasks in all, created to all RUNNING: %.2f s, %.0f tasks/s (goal "
           "for 10,000: under %.0f s)\n",
           bench->services, bench->tasks, seconds, tasks / seconds, GOAL_SECONDS);
    printf("processor time: server %.2f s (%.0f us a task), agents %.2f s (%.0f us a task)\n",
           server_cpu, server_cpu / tasks * 1e6, agents_cpu, agents_cpu / tasks * 1e6);
    for (size_t i = 0; i < bench->fleet_count; i++) {
        if (!fleet_ask(&bench->fleets[i], &report)) {
            fprintf(stderr, "bench_agents: a process of agents ended\n");
            exit(1);
        }
    }
    printf("agents: %zu reports, %zu journal records in %zu synchronised writes\n", report.reports,
           report.journal_records, report.journal_writes);
    bool good = check(bench, &report);
    for (size_t i = 0; i < bench->fleet_count; i++) {
        good = fleet_stop(&bench->fleets[i]) && good;
    }
    kill(bench->server, SIGTERM);
    waitpid(bench->server, NULL, 0);
    print_floor(bench, &report, seconds);
    map_deinit(&report.tasks);
    return good;
}

static size_t number(const char *option, const char *value, size_t most)
{
    uint64_t count = 0;
    if (text_to_u64(text_of(value), &count) != 0 || count < 1 || count > most) {
        fprintf(stderr, "bench_agents: --%s takes a number from 1 to %zu\n", option, most);
        exit(2);
    }
    return (size_t)count;
}

static void read_options(struct bench *bench, int argc, char **argv)
{
    static const struct option known[] = {{"agents", required_argument, NULL, 'a'},
                                          {"tasks", required_argument, NULL, 't'},
                                          {"services", required_argument, NULL, 's'},
                                          {"kill", no_argument, NULL, 'k'},
                                          {"berth", required_argument, NULL, 'b'},
                                          {"folder", required_argument, NULL, 'f'},
                                          {0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'a':
            bench->agents = number("agents", optarg, 1000);
            break;
        case 't':
            bench->tasks = number("tasks", optarg, 10000);
            break;
        case 's':
            bench->services = number("services", optarg, SERVICES_MAX);
            break;
        case 'k':
            bench->kill = true;
            break;
        case 'b':
            bench->berth = optarg;
            break;
        case 'f':
            bench->under = optarg;
            break;
        default:
            exit(2);
        }
    }
    bench->tasks -= bench->tasks % bench->services;
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .berth = BENCH_BERTH, .under = "/tmp", .agents = 200, .tasks = 10000, .services = 10};
    struct err err = {0};
    read_options(&bench, argc, argv);
    share_files(&bench);
    bench.folder = alloc_format("%s/berth-bench-XXXXXX", bench.under);
    if (mkdtemp(bench.folder) == NULL) {
        perror(bench.folder);
        return 1;
    }
    enter_network();
    bool good = measure(&bench);
    cli_context_close(&bench.context);
    stop_on(file_remove_tree(AT_FDCWD, bench.folder, &err), &err);
    alloc_free(bench.folder);
    alloc_free(bench.data);
    return good ? 0 : 1;
}
