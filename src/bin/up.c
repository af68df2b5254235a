#include "bin/commands.h"

#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "bin/anew.h"
#include "bin/node.h"
#include "bin/reserve.h"
#include "bin/serve.h"
#include "bin/settings.h"
#include "cli/cli.h"
#include "identity/identity.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/*
 * The three long-running commands. They differ in which halves they start, so they share the
 * command line, the loop and the way they end.
 */

#define DEFAULT_LISTEN "127.0.0.1:4566"
#define AWS_DEFAULT_VPC "172.31.0.0/16"

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
    char *const *words; ///< what the program was called with
};

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

// As after `kill -9`: what is running goes on, and is found again.
static void on_anew(void *context)
{
    const struct program *program = context;
    // Who asked it to end must not find it running again.
    if (program->stopping) {
        LOG(INFO, "the program was told to end: it does not begin anew");
        return;
    }
    anew(program->words);
    LOG(ERROR, "the program cannot be started anew, perhaps as its file was replaced: it ends, and "
               "is to be started again");
    _exit(EX_OSERR);
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
        rc = file_keep(AT_FDCWD, path, 0600, cidr, err);
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
        .exec_idle_ms = settings->exec_idle_ms,
        .waiting_ms = settings->waiting_ms,
        .any_credentials = settings->any_credentials,
        .strict = settings->strict,
        .on_anew = on_anew,
        .context = program,
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
        .port_first = program->settings.ports.first,
        .port_last = program->settings.ports.last,
        .cpu_units = program->settings.cpu_units,
        .memory_mib = program->settings.memory_mib,
        .pids_max = program->settings.pids_max,
        .keep_output_ms = program->settings.keep_output_ms,
        .output_limit_bytes = (uint64_t)program->settings.output_mib << 20,
        .remove_images_ms = program->settings.remove_images_ms,
        .disk_reserve_bytes = (uint64_t)program->settings.disk_reserve_mib << 20,
        .garbage_ms = program->settings.garbage_ms,
        .on_ready = on_node_ready,
        .on_refused = on_node_refused,
        .context = program,
    };
    return node_start(&options, &program->node, err);
}

static int run(int argc, char **argv, enum half halves, enum agent_stop_mode on_exit)
{
    struct program program = {.cidr_fd = -1,
                              .words = argv,
                              .settings = {.halves = halves,
                                           .listen = DEFAULT_LISTEN,
                                           .region = SETTINGS_DEFAULT_REGION,
                                           .on_exit = on_exit}};
    gethostname(program.settings.name, sizeof(program.settings.name) - 1);
    if (settings_read(argc, argv, &program.settings) != 0) {
        return CLI_USAGE;
    }
    struct err err;
    if (open_program(&program, &err) != 0) {
        return cli_fail(&err);
    }
    int rc = (halves & HALF_SERVER) != 0 ? start_server(&program, &err) : 0;
    bool read_only = rc == 0 && program.serve != NULL && serve_is_read_only(program.serve);
    if (rc == 0 && (halves & HALF_NODE) != 0) {
        rc = start_node(&program, &err);
    }
    if (rc == ERR_FULL_DISK && read_only) {
        LOG(ERROR, "the node cannot be started until there is space again; its tasks go on",
            LOG_STR("reason", err.text));
        rc = 0;
    }
    // Otherwise the node says when.
    if (rc == 0 && (program.node == NULL || read_only)) {
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
