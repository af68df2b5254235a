#include "bin/commands.h"

#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "bin/node.h"
#include "bin/reserve.h"
#include "bin/serve.h"
#include "cli/cli.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The three long-running commands. They differ in which halves they start, so they share the
 * command line, the loop and the way they end.
 */

#define DEFAULT_LISTEN "127.0.0.1:4566"
#define DEFAULT_REGION "us-east-1"
#define AWS_DEFAULT_VPC "172.31.0.0/16"
#define DURATION_SECONDS_MAX (UINT64_C(3650) * 86400)

enum half { HALF_SERVER = 1, HALF_NODE = 2 };

struct settings {
    enum half halves;
    const char *data_dir;
    const char *listen;
    const char *session_listen;
    const char *advertise;
    const char *region;
    const char *zone;
    const char *cluster;       ///< that the node is an instance of; NULL: a host of the pools
    const char *capacity;      ///< which pools; NULL: FARGATE and FARGATE_SPOT
    const char *scaling_group; ///< Auto Scaling group of the instance, or NULL
    bool spot_fallback;
    uint32_t spot_permille; ///< of Spot tasks that are interrupted in an hour
    const char *vpc_cidr;
    const char *bridge_cidr;       ///< NULL: a free one
    const char *environment_files; ///< folder or URL; NULL for none
    uint16_t port_first;           ///< ports of the host for containers; 0: the host's own
    uint16_t port_last;
    const char *token;
    char name[256];
    uint32_t cpu_units;  ///< offered to tasks; 0: what the host has
    uint32_t memory_mib; ///< likewise
    enum agent_stop_mode on_exit;
    int64_t retention_ms; ///< of stopped tasks; 0: the default
    uint32_t events_mib;  ///< of the event log; 0: the default
    const char *scale_command;
    int64_t scale_timeout_ms;
    int64_t scaling_period_ms;
    int64_t waiting_ms;
    int64_t settle_ms; ///< until a task without a health check is healthy; 0: the default
    bool any_credentials;
    bool strict;
};

struct program {
    struct settings settings;
    uv_loop_t loop;
    uv_signal_t signals[2];
    struct data_dir data;
    struct arena arena;
    struct serve *serve;
    struct node *node;
    int cidr_fd; ///< holds the reservation of the VPC's range; -1 for none
    bool stopping;
    int status;
};

// ---- the command line -----------------------------------------------------------------------

static int set_on_exit(struct settings *settings, const char *word)
{
    if (strcmp(word, "stop") == 0) {
        settings->on_exit = AGENT_STOP_TASKS;
    } else if (strcmp(word, "keep") == 0) {
        settings->on_exit = AGENT_STOP_KEEP;
    } else {
        fprintf(stderr, "berth: --on-exit is stop or keep, not '%s'\n", word);
        return ERR_INVALID;
    }
    return 0;
}

static int set_size(const char *name, const char *value, uint32_t *out_size)
{
    uint64_t size = 0;
    if (text_to_u64(text_of(value), &size) != 0 || size < 1 || size > INT32_MAX) {
        fprintf(stderr, "berth: --%s takes a number from 1, not '%s'\n", name, value);
        return ERR_INVALID;
    }
    *out_size = (uint32_t)size;
    return 0;
}

// A whole number and a unit: 90s, 30m, 1h, 7d.
static int set_duration(const char *name, const char *value, int64_t *out_ms)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct text text = text_of(value);
    uint64_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(units) && text.size > 1; i++) {
        if (text.data[text.size - 1] == units[i].unit &&
            text_to_u64(text_slice(text, 0, text.size - 1), &count) == 0 && count >= 1 &&
            count <= DURATION_SECONDS_MAX / (uint64_t)units[i].seconds) {
            *out_ms = (int64_t)count * units[i].seconds * 1000;
            return 0;
        }
    }
    fprintf(
        stderr,
        "berth: --%s takes a number with a unit, such as 90s, 30m, 1h or 7d, and at most 3650d; "
        "not '%s'\n",
        name, value);
    return ERR_INVALID;
}

// Percent with up to one decimal, such as 5% or 0.5%.
static int set_percent(const char *name, const char *value, uint32_t *out_permille)
{
    struct text text = text_of(value);
    if (text_ends(text, TEXT("%"))) {
        text = text_slice(text, 0, text.size - 1);
    }
    struct text whole = text_cut(&text, '.');
    uint64_t percent = 0;
    uint64_t tenths = 0;
    bool fine = text_to_u64(whole, &percent) == 0 && percent <= 100 &&
                (text.data == NULL || (text.size == 1 && text_to_u64(text, &tenths) == 0)) &&
                percent * 10 + tenths <= 1000;
    if (!fine) {
        fprintf(stderr, "berth: --%s takes percent from 0%% to 100%%, such as 5%%, not '%s'\n",
                name, value);
        return ERR_INVALID;
    }
    *out_permille = (uint32_t)(percent * 10 + tenths);
    return 0;
}

// A name without a slash is looked for in PATH when it is run.
static int set_program(const char *name, const char *value, const char **out_program)
{
    if (strchr(value, '/') != NULL && access(value, X_OK) != 0) {
        fprintf(stderr, "berth: --%s: '%s' cannot be run: %s\n", name, value, strerror(errno));
        return ERR_INVALID;
    }
    *out_program = value;
    return 0;
}

// FIRST-LAST, as ECS_DYNAMIC_HOST_PORT_RANGE of ECS's agent.
static int set_ports(const char *name, const char *value, struct settings *settings)
{
    struct text rest = text_of(value);
    uint64_t first = 0;
    uint64_t last = 0;
    if (text_to_u64(text_cut(&rest, '-'), &first) != 0 || text_to_u64(rest, &last) != 0 ||
        first < 1 || first > last || last > UINT16_MAX) {
        fprintf(stderr,
                "berth: --%s takes the first and the last port, such as 49153-65535, not "
                "'%s'\n",
                name, value);
        return ERR_INVALID;
    }
    settings->port_first = (uint16_t)first;
    settings->port_last = (uint16_t)last;
    return 0;
}

static int check_environment_files(const char *place)
{
    struct text text = text_of(place);
    if (text_starts(text, TEXT("/")) || text_starts(text, TEXT("http://")) ||
        text_starts(text, TEXT("https://"))) {
        return 0;
    }
    fprintf(stderr,
            "berth: --environment-files takes an absolute path of a folder or an http or https "
            "URL, not '%s'\n",
            place);
    return ERR_INVALID;
}

static int set_option(struct settings *settings, int option, const char *value)
{
    switch (option) {
    case 'd':
        settings->data_dir = value;
        return 0;
    case 'l':
        settings->listen = value;
        return 0;
    case 's':
        settings->session_listen = value;
        return 0;
    case 'a':
        settings->advertise = value;
        return 0;
    case 'r':
        settings->region = value;
        return 0;
    case 'z':
        settings->zone = value;
        return 0;
    case 'i':
        settings->cluster = value;
        return 0;
    case 'y':
        settings->capacity = value;
        return 0;
    case 'g':
        settings->scaling_group = value;
        return 0;
    case 'f':
        settings->spot_fallback = true;
        return 0;
    case 'p':
        return set_percent("spot-interruption-rate", value, &settings->spot_permille);
    case 'v':
        settings->vpc_cidr = value;
        return 0;
    case 'b':
        settings->bridge_cidr = value;
        return 0;
    case 'E':
        settings->environment_files = value;
        return check_environment_files(value);
    case 'P':
        return set_ports("dynamic-host-ports", value, settings);
    case 'j':
        settings->token = value;
        return 0;
    case 'n':
        return text_copy(text_of(value), settings->name, sizeof(settings->name));
    case 'x':
        return set_on_exit(settings, value);
    case 'u':
        return set_size("cpu-units", value, &settings->cpu_units);
    case 'm':
        return set_size("memory-mib", value, &settings->memory_mib);
    case 'k':
        return set_duration("keep-stopped-tasks", value, &settings->retention_ms);
    case 'h':
        return set_duration("healthy-after", value, &settings->settle_ms);
    case 'e':
        return set_size("events-mib", value, &settings->events_mib);
    case 'o':
        return set_program("scale-command", value, &settings->scale_command);
    case 'w':
        return set_duration("scale-timeout", value, &settings->scale_timeout_ms);
    case 'Z':
        return set_duration("provisioning-timeout", value, &settings->waiting_ms);
    case 'q':
        return set_duration("scaling-period", value, &settings->scaling_period_ms);
    case 'c':
        settings->any_credentials = true;
        return 0;
    case 't':
        settings->strict = true;
        return 0;
    default:
        return ERR_INVALID;
    }
}

static int read_settings(int argc, char **argv, struct settings *settings)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"listen", required_argument, NULL, 'l'},
                                          {"session-listen", required_argument, NULL, 's'},
                                          {"advertise", required_argument, NULL, 'a'},
                                          {"region", required_argument, NULL, 'r'},
                                          {"zone", required_argument, NULL, 'z'},
                                          {"cluster", required_argument, NULL, 'i'},
                                          {"capacity", required_argument, NULL, 'y'},
                                          {"auto-scaling-group", required_argument, NULL, 'g'},
                                          {"spot-fallback", no_argument, NULL, 'f'},
                                          {"spot-interruption-rate", required_argument, NULL, 'p'},
                                          {"vpc-cidr", required_argument, NULL, 'v'},
                                          {"bridge-cidr", required_argument, NULL, 'b'},
                                          {"environment-files", required_argument, NULL, 'E'},
                                          {"dynamic-host-ports", required_argument, NULL, 'P'},
                                          {"join", required_argument, NULL, 'j'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"on-exit", required_argument, NULL, 'x'},
                                          {"cpu-units", required_argument, NULL, 'u'},
                                          {"memory-mib", required_argument, NULL, 'm'},
                                          {"keep-stopped-tasks", required_argument, NULL, 'k'},
                                          {"healthy-after", required_argument, NULL, 'h'},
                                          {"events-mib", required_argument, NULL, 'e'},
                                          {"scale-command", required_argument, NULL, 'o'},
                                          {"scale-timeout", required_argument, NULL, 'w'},
                                          {"provisioning-timeout", required_argument, NULL, 'Z'},
                                          {"scaling-period", required_argument, NULL, 'q'},
                                          {"any-credentials", no_argument, NULL, 'c'},
                                          {"strict", no_argument, NULL, 't'},
                                          {0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (set_option(settings, option, optarg) != 0) {
            return ERR_INVALID;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "berth: '%s' is not understood\n", argv[optind]);
        return ERR_INVALID;
    }
    if (settings->scaling_group != NULL && settings->cluster == NULL) {
        fprintf(stderr, "berth: --auto-scaling-group is for an instance of a cluster: give "
                        "--cluster as well\n");
        return ERR_INVALID;
    }
    if (settings->capacity != NULL && settings->cluster != NULL) {
        fprintf(stderr, "berth: --capacity is for a host of the pools, --cluster for an instance "
                        "of a cluster: give one of them\n");
        return ERR_INVALID;
    }
    if (!identity_region_known(text_of(settings->region))) {
        fprintf(stderr, "berth: '%s' is no region that AWS knows, such as %s\n", settings->region,
                DEFAULT_REGION);
        return ERR_INVALID;
    }
    return 0;
}

// ---- running and ending ---------------------------------------------------------------------

static void on_stopped(void *context)
{
    struct program *program = context;
    uv_stop(&program->loop);
}

static void begin_stop(struct program *program)
{
    if (program->stopping) {
        // Asked twice: leave at once. What runs goes on and is found by the next start.
        LOG(WARN, "stopped a second time: leaving tasks as they are");
        uv_stop(&program->loop);
        return;
    }
    program->stopping = true;
    if (program->node != NULL) {
        node_stop(program->node, program->settings.on_exit, on_stopped, program);
    } else {
        uv_stop(&program->loop);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    begin_stop(handle->data);
}

static void on_node_refused(void *context, const struct err *err)
{
    LOG(ERROR, "the server refuses this node; its tasks go on, and it tries again",
        LOG_STR("reason", err->text));
}

static void say_ready(struct program *program)
{
    struct err err;
    const char *url = serve_url(program->serve);
    if (data_write_client(&program->data, url, program->settings.region,
                          serve_ca_file(program->serve), &err) != 0) {
        LOG(ERROR, "the commands will not find this server", LOG_STR("reason", err.text));
        program->status = CLI_FAILED;
        uv_stop(&program->loop);
        return;
    }
    printf("ready %s\n", url);
    fflush(stdout);
}

static void on_node_ready(void *context)
{
    struct program *program = context;
    if (program->serve != NULL) {
        say_ready(program);
    } else {
        printf("ready\n");
        fflush(stdout);
    }
}

static int open_program(struct program *program, struct err *err)
{
    node_process_limits();
    int rc = data_open(cli_data_dir(program->settings.data_dir), &program->data, err);
    if (rc != 0) {
        return rc;
    }
    if (uv_loop_init(&program->loop) != 0) {
        return err_set(err, ERR_SYS, "the event loop could not be made");
    }
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(&program->loop, &program->signals[i]);
        program->signals[i].data = program;
        uv_signal_start(&program->signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&program->signals[i]);
    }
    return 0;
}

static void close_program(struct program *program)
{
    bool emptied =
        program->settings.on_exit == AGENT_STOP_TASKS && program->stopping && program->status == 0;
    node_free(program->node, emptied);
    serve_stop(program->serve);
    fd_close(program->cidr_fd);
    for (size_t i = 0; i < ARRAY_LEN(program->signals); i++) {
        uv_close((uv_handle_t *)&program->signals[i], NULL);
    }
    uv_run(&program->loop, UV_RUN_DEFAULT);
    IGNORE(uv_loop_close(&program->loop), "the process ends");
    data_close(&program->data);
    arena_deinit(&program->arena);
}

// ---- starting -------------------------------------------------------------------------------

// The range is chosen once, so that a VPC made later is where the first start found room.
static int choose_cidr(struct program *program, struct err *err)
{
    const char *path = data_path(&program->data, "vpc-cidr");
    AUTO(buf_deinit) struct buf content = {0};
    struct text cidr = text_of(program->settings.vpc_cidr);
    int rc = cidr.data != NULL ? 0 : file_read(AT_FDCWD, path, 64, &content, err);
    if (rc == ERR_NOT_FOUND) {
        rc = 0;
    } else if (rc == 0 && cidr.data == NULL) {
        cidr = text_trim(buf_view(&content));
    }
    bool has_node = (program->settings.halves & HALF_NODE) != 0;
    if (rc == 0 && cidr.data == NULL && !has_node) {
        cidr = TEXT(AWS_DEFAULT_VPC);
    }
    if (rc == 0 && cidr.data != NULL && !vpc_cidr_valid(cidr)) {
        return err_set(
            err, ERR_INVALID,
            "'%.*s' is no range for a VPC: give a private IPv4 range of /16 to /24, such "
            "as " AWS_DEFAULT_VPC,
            TEXT_FMT(cidr));
    }
    if (rc == 0 && has_node) {
        rc = reserve_cidr(program->data.instance, NET_USE_VPC, cidr, &program->arena, &cidr,
                          &program->cidr_fd, err);
    }
    if (rc == 0) {
        rc = file_replace(AT_FDCWD, path, 0600, cidr, err);
    }
    program->settings.vpc_cidr = arena_text(&program->arena, cidr).data;
    return rc;
}

static int start_server(struct program *program, struct err *err)
{
    const struct settings *settings = &program->settings;
    int rc = choose_cidr(program, err);
    if (rc != 0) {
        return rc;
    }
    const struct serve_options options = {
        .data = &program->data,
        .loop = &program->loop,
        .listen = settings->listen,
        .session_listen = settings->session_listen,
        .advertise = settings->advertise,
        .region = settings->region,
        .vpc_cidr = settings->vpc_cidr,
        .retention_ms = settings->retention_ms,
        .settle_ms = settings->settle_ms,
        .spot_fallback = settings->spot_fallback,
        .spot_permille = settings->spot_permille,
        .events_mib = settings->events_mib,
        .scale_command = settings->scale_command,
        .scale_timeout_ms = settings->scale_timeout_ms,
        .scaling_period_ms = settings->scaling_period_ms,
        .waiting_ms = settings->waiting_ms,
        .any_credentials = settings->any_credentials,
        .strict = settings->strict,
    };
    return serve_start(&options, &program->serve, err);
}

// The node of `berth up` joins its own server, once; the server's address may differ each time.
static int local_identity(struct program *program, struct agent_identity *identity, struct err *err)
{
    const char *directory = node_data_dir(&program->data);
    int rc = file_make_dirs(directory, 0700, err);
    if (rc == 0) {
        rc = agent_identity_load(directory, &program->arena, identity, err);
    }
    if (rc == ERR_NOT_FOUND) {
        struct serve_identity joined = {0};
        rc = serve_join(program->serve, program->settings.name, &program->arena, &joined, err);
        *identity = (struct agent_identity){
            .node_id = joined.node_id,
            .key_id = joined.key_id,
            .secret = joined.secret,
            .region = text_of(program->settings.region),
        };
    }
    if (rc != 0) {
        return rc;
    }
    identity->endpoint = text_of(serve_url(program->serve));
    identity->ca_file = text_of(serve_ca_file(program->serve));
    return agent_identity_store(directory, identity, (struct text){0}, err);
}

static int joined_identity(struct program *program, struct agent_identity *identity,
                           struct err *err)
{
    const char *directory = node_data_dir(&program->data);
    int rc = file_make_dirs(directory, 0700, err);
    if (rc == 0) {
        rc = agent_identity_load(directory, &program->arena, identity, err);
    }
    if (rc == ERR_NOT_FOUND && program->settings.token == NULL) {
        return err_set(err, rc,
                       "this host has not joined a server yet: run `berth node token` where the "
                       "server is, then `berth agent --join TOKEN` here");
    }
    if (rc == ERR_NOT_FOUND) {
        rc = agent_join(directory, program->settings.token, program->settings.name, &program->arena,
                        identity, err);
    }
    return rc;
}

// A Berth on one host stands for all zones of its region, so that any subnet can be used.
static const char *zones_of(struct program *program)
{
    const struct settings *settings = &program->settings;
    if (settings->zone != NULL || program->serve == NULL) {
        return settings->zone;
    }
    return arena_format(&program->arena, "%sa,%sb,%sc", settings->region, settings->region,
                        settings->region)
        .data;
}

static int start_node(struct program *program, struct err *err)
{
    struct agent_identity identity = {0};
    int rc = program->serve != NULL ? local_identity(program, &identity, err)
                                    : joined_identity(program, &identity, err);
    if (rc != 0) {
        return rc;
    }
    const struct node_options options = {
        .data = &program->data,
        .loop = &program->loop,
        .identity = &identity,
        .zone = zones_of(program),
        .cluster = program->settings.cluster,
        .capacity = program->settings.capacity,
        .scaling_group = program->settings.scaling_group,
        .host_route = true,
        .bridge_cidr = program->settings.bridge_cidr,
        .environment_files = program->settings.environment_files,
        .port_first = program->settings.port_first,
        .port_last = program->settings.port_last,
        .cpu_units = program->settings.cpu_units,
        .memory_mib = program->settings.memory_mib,
        .on_ready = on_node_ready,
        .on_refused = on_node_refused,
        .context = program,
    };
    return node_start(&options, &program->node, err);
}

static int run(int argc, char **argv, enum half halves, enum agent_stop_mode on_exit)
{
    struct program program = {.cidr_fd = -1,
                              .settings = {.halves = halves,
                                           .listen = DEFAULT_LISTEN,
                                           .region = DEFAULT_REGION,
                                           .on_exit = on_exit}};
    gethostname(program.settings.name, sizeof(program.settings.name) - 1);
    if (read_settings(argc, argv, &program.settings) != 0) {
        return CLI_USAGE;
    }
    struct err err;
    if (open_program(&program, &err) != 0) {
        return cli_fail(&err);
    }
    int rc = (halves & HALF_SERVER) != 0 ? start_server(&program, &err) : 0;
    if (rc == 0 && (halves & HALF_NODE) != 0) {
        rc = start_node(&program, &err);
    } else if (rc == 0) {
        say_ready(&program);
    }
    if (rc == 0) {
        uv_run(&program.loop, UV_RUN_DEFAULT);
    } else {
        program.status = cli_fail(&err);
    }
    close_program(&program);
    return program.status;
}

int bin_up(int argc, char **argv)
{
    return run(argc, argv, HALF_SERVER | HALF_NODE, AGENT_STOP_TASKS);
}

int bin_server(int argc, char **argv)
{
    return run(argc, argv, HALF_SERVER, AGENT_STOP_KEEP);
}

int bin_agent(int argc, char **argv)
{
    return run(argc, argv, HALF_NODE, AGENT_STOP_KEEP);
}
