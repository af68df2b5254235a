#include "bin/serve.h"

#include "api/berth.h"
#include "api/ec2.h"
#include "api/ecs.h"
#include "api/identity.h"
#include "api/secretsmanager.h"
#include "api/ssm.h"
#include "api/sts.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "secrets/parameter.h"
#include "secrets/secrets.h"
#include "server/debug.h"
#include "server/seal_key.h"
#include "server/server.h"
#include "vpc/vpc.h"

#include <string.h>
#include <unistd.h>

// Standard exit status of an input/output error, see sysexits.h.
#define EXIT_IO 74
#define ROOM_CHECK_MS 2000
#define SCALE_TIMEOUT_MS (5 * 60 * 1000)
#define EVENTS_MIB_MAX 1024u // all of it is read at the start

struct serve {
    struct serve_options options;
    struct core *core;
    struct store *store;
    struct host *host;
    struct pki *pki;
    struct seal_key *seal_key;
    struct event_log *events;
    struct server *server;
    bool read_only;   ///< the disk is full
    uv_timer_t *room; ///< with read_only: looks for space
};

const struct core_module *const serve_modules[] = {
    &identity_module, &vpc_module,  &secrets_module, &parameter_module,
    &ecs_module,      &task_module, &service_module, &debug_module,
};
const size_t serve_module_count = ARRAY_LEN(serve_modules);

// What a node's key may call: only what an agent needs.
static const char *const node_ecs_operations[] = {
    "RegisterContainerInstance",
    "DiscoverPollEndpoint",
    "SubmitTaskStateChange",
    "SubmitContainerStateChange",
    "SubmitAttachmentStateChanges",
    "ListTagsForResource",
    NULL,
};
static const char *const node_sts_operations[] = {"GetCallerIdentity", NULL};
static const char *const node_berth_operations[] = {"GetTaskSecrets", NULL};
static const char *const unsigned_berth_operations[] = {"JoinNode", NULL};
// ECS refuses parts of a task definition with ClientException, most else with
// InvalidParameterException.
static const char *const client_exception_ecs_operations[] = {"RegisterTaskDefinition", NULL};
static const struct server_service services[] = {
    {.api = &ecs_service,
     .node_operations = node_ecs_operations,
     .client_exception_operations = client_exception_ecs_operations},
    {.api = &secretsmanager_service, .validation_exceptions = true},
    {.api = &ssm_service, .validation_exceptions = true},
    {.api = &sts_service, .node_operations = node_sts_operations},
    {.api = &ec2_service},
    {.api = &berth_service,
     .node_operations = node_berth_operations,
     .unsigned_operations = unsigned_berth_operations,
     .no_roles = true},
};

static void on_effect(void *context, const struct core_effect *effect)
{
    struct serve *serve = context;
    // Effects of recovery may come before the front is there, and those of the end after it is
    // gone; nodes resync when they connect.
    if (effect->kind == CORE_EFFECT_EVENT) {
        event_log_effect(serve->events, effect);
    } else if (serve->server != NULL) {
        server_effect(serve->server, effect);
    }
}

static void on_fatal(void *context, const struct err *err)
{
    struct serve *serve = context;
    if (err->code == ERR_FULL_DISK) {
        LOG(ERROR,
            "the disk is full; beginning anew to answer what changes nothing, until there is "
            "space again",
            LOG_STR("dir", serve->options.data->path), LOG_STR("reason", err->text));
        serve->options.on_anew(serve->options.context);
    }
    LOG(ERROR, "the store failed; ending, so that nothing is promised that is not written",
        LOG_STR("reason", err->text));
    _exit(EXIT_IO);
}

// ---- a full disk ----------------------------------------------------------------------------

static void on_room_check(uv_timer_t *timer)
{
    struct serve *serve = timer->data;
    if (store_has_room(serve->store)) {
        LOG(INFO, "the disk has space again; beginning anew to take changes");
        serve->options.on_anew(serve->options.context);
        uv_timer_stop(timer); // the process is about to end
    }
}

// Until there is room again, only what reads is answered: whatever was promised is on the disk.
static void begin_read_only(struct serve *serve)
{
    LOG(ERROR, "the disk is full: nothing can be changed until there is space again",
        LOG_STR("dir", serve->options.data->path));
    serve->room = ALLOC(uv_timer_t);
    IGNORE(uv_timer_init(serve->options.loop, serve->room) != 0, "cannot fail");
    serve->room->data = serve;
    uv_timer_start(serve->room, on_room_check, ROOM_CHECK_MS, ROOM_CHECK_MS);
    uv_unref((uv_handle_t *)serve->room);
}

static void on_room_closed(uv_handle_t *timer)
{
    alloc_free(timer);
}

/** ADDR:PORT or [ADDR]:PORT into its parts; the address is cut out of the arena's copy. */
static int split_listen(struct arena *arena, const char *listen, struct server_listen *out,
                        struct err *err)
{
    struct text all = text_of(listen);
    size_t colon = text_find_last(all, ':');
    uint64_t port = 0;
    if (colon == SIZE_MAX || text_to_u64(text_slice(all, colon + 1, all.size), &port) != 0 ||
        port > UINT16_MAX) {
        return err_set(err, ERR_INVALID, "'%s' is no ADDRESS:PORT", listen);
    }
    struct text address = text_slice(all, 0, colon);
    if (text_starts(address, TEXT("[")) && text_ends(address, TEXT("]"))) {
        address = text_slice(address, 1, address.size - 1);
    }
    struct text copy = arena_text(arena, address);
    bool loopback = text_starts(copy, TEXT("127.")) || text_is(copy, "::1");
    *out = (struct server_listen){.address = copy.data, .port = (uint16_t)port, .tls = !loopback};
    return 0;
}

static int open_engine(struct serve *serve, struct err *err)
{
    const struct serve_options *options = &serve->options;
    int rc = file_make_dirs(data_path(options->data, "server"), 0700, err);
    if (rc == 0) {
        rc = store_sqlite_open(data_path(options->data, "server/store.db"), &serve->store, err);
    }
    if (rc != 0) {
        return rc;
    }
    serve->read_only = !store_has_room(serve->store);
    rc = file_make_dirs(data_path(options->data, "server/scale"), 0700, err);
    if (rc != 0) {
        return rc;
    }
    bool made = false;
    rc =
        seal_key_open(data_path(options->data, "server/secrets.key"), &serve->seal_key, &made, err);
    if (rc != 0) {
        return rc;
    }
    serve->core = core_new(serve_modules, serve_module_count);
    secrets_set_cipher(serve->core, seal_key_cipher(serve->seal_key));
    vpc_set_default_cidr(serve->core, text_of(options->vpc_cidr));
    ecs_set_strict(serve->core, options->strict);
    if (options->retention_ms > 0) {
        task_set_retention_ms(serve->core, options->retention_ms);
    }
    service_set_spot_fallback(serve->core, options->spot_fallback);
    task_set_spot_rate(serve->core, options->spot_permille);
    if (options->waiting_ms > 0) {
        task_set_waiting_ms(serve->core, options->waiting_ms);
    }
    task_set_scaling(serve->core, options->scale_command != NULL, options->scaling_period_ms);
    if (options->settle_ms > 0) {
        service_set_settle_ms(serve->core, options->settle_ms);
    }
    const struct event_log_options events = {
        .loop = options->loop,
        .dir = data_path(options->data, "server/events"),
        .segment_bytes = (uint64_t)MIN(options->events_mib, EVENTS_MIB_MAX) << 19,
    };
    serve->events = event_log_open(&events);
    const struct host_options host = {
        .loop = options->loop,
        .core = serve->core,
        .store = serve->store,
        .read_only = serve->read_only,
        .on_effect = on_effect,
        .on_fatal = on_fatal,
        .context = serve,
    };
    rc = host_start(&host, &serve->host, err);
    size_t lost =
        rc == 0 ? secrets_count_foreign(serve->core) + parameter_count_foreign(serve->core) : 0;
    if (lost > 0) {
        LOG(ERROR,
            "values of secrets and parameters cannot be read: they were sealed with another key. "
            "Put back the key "
            "file that belongs to this store, or put these values again",
            LOG_U64("values", lost),
            LOG_STR("file", data_path(serve->options.data, "server/secrets.key")),
            LOG_STR("key", made ? "made just now, as the file was not there" : "read"));
    }
    return rc;
}

/** An operation from inside, as the account's root user. */
static int call(struct serve *serve, const struct api_operation *operation, struct arena *arena,
                const void *request, void *response, struct err *err)
{
    const struct core_caller caller = {
        .account = serve->options.data->root.account,
        .region = text_of(serve->options.region),
        .arn = arena_format(arena, "arn:aws:iam::%.*s:root",
                            TEXT_FMT(serve->options.data->root.account)),
    };
    struct core_call core_call = {.arena = arena};
    int rc = host_request(serve->host, &caller, operation, &core_call, request, response);
    if (rc == ERR_FAULT) {
        return err_set(err, rc, "%s: %s", operation->name, core_call.fault_text);
    }
    return rc == 0 ? 0 : err_set(err, rc, "%s: %s", operation->name, err_name(rc));
}

static int ensure_root_key(struct serve *serve, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct config_root_key *root = &serve->options.data->root;
    const struct identity_ensure_root_key_request request = {
        .account = root->account,
        .access_key_id = root->access_key_id,
        .secret_access_key = root->secret_access_key,
    };
    struct identity_ensure_root_key_response response = {0};
    return call(serve, &identity_operations[IDENTITY_OP_ENSURE_ROOT_KEY], &arena, &request,
                &response, err);
}

static int ensure_signing_key(struct serve *serve, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct identity_ensure_signing_key_request request = {0};
    struct identity_ensure_signing_key_response response = {0};
    return call(serve, &identity_operations[IDENTITY_OP_ENSURE_SIGNING_KEY], &arena, &request,
                &response, err);
}

// Without these nobody can ask for anything.
static int ensure_keys(struct serve *serve, struct err *err)
{
    if (!serve->read_only) {
        int rc = ensure_root_key(serve, err);
        return rc == 0 ? ensure_signing_key(serve, err) : rc;
    }
    struct host_stats stats;
    host_stats(serve->host, &stats);
    return stats.version_durable > 0
               ? 0
               : err_set(err, ERR_FULL_DISK, "there is no space to begin with in '%s'",
                         serve->options.data->path);
}

static int open_front(struct serve *serve, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct server_options options = {
        .loop = serve->options.loop,
        .host = serve->host,
        .services = services,
        .service_count = ARRAY_LEN(services),
        .api_count = 1,
        .session_count = 1,
        .advertise = serve->options.advertise,
        .any_credentials = serve->options.any_credentials,
        .region = serve->options.region,
        .locate = task_locate,
        .exec_plan = task_execute_plan,
        .exec_dir = data_path(serve->options.data, "server/exec"),
        .exec_idle_ms = serve->options.exec_idle_ms,
        .write_metrics = task_write_metrics,
        .scale_command = serve->options.scale_command,
        .scale_dir = data_path(serve->options.data, "server/scale"),
        .data_dir = serve->options.data->path,
        .scale_timeout_ms = serve->options.scale_timeout_ms > 0
                                ? (uint32_t)serve->options.scale_timeout_ms
                                : SCALE_TIMEOUT_MS,
        .events = serve->events,
        .context = serve,
    };
    int rc = split_listen(&arena, serve->options.listen, &options.api[0], err);
    if (rc == 0 && serve->options.session_listen != NULL) {
        rc = split_listen(&arena, serve->options.session_listen, &options.sessions[0], err);
    } else if (rc == 0) {
        options.sessions[0] = options.api[0];
        options.sessions[0].port = 0;
    }
    if (rc == 0 && (options.api[0].tls || options.sessions[0].tls)) {
        const char *names[] = {options.api[0].address, options.sessions[0].address,
                               serve->options.advertise};
        const struct pki_names pki_names = {names, serve->options.advertise == NULL ? 2 : 3};
        rc = pki_open(data_path(serve->options.data, "server/pki"), &pki_names, clock_wall_ms(),
                      &serve->pki, err);
    }
    if (rc != 0) {
        return rc;
    }
    options.pki = serve->pki;
    rc = server_start(&options, &serve->server, err);
    if (rc == 0) {
        struct text sessions = text_of(server_session_url(serve->server, 0));
        task_set_endpoints(serve->core, arena_format(&arena, "%.*s/acs/", TEXT_FMT(sessions)),
                           arena_format(&arena, "%.*s/tcs/", TEXT_FMT(sessions)));
    }
    return rc;
}

int serve_start(const struct serve_options *options, struct serve **out_serve, struct err *err)
{
    struct serve *serve = ALLOC(struct serve);
    serve->options = *options;
    int rc = open_engine(serve, err);
    if (rc == 0) {
        rc = ensure_keys(serve, err);
    }
    if (rc == 0) {
        rc = open_front(serve, err);
    }
    if (rc == 0 && serve->read_only) {
        begin_read_only(serve);
    }
    if (rc != 0) {
        serve_stop(serve);
        return rc;
    }
    *out_serve = serve;
    return 0;
}

void serve_stop(struct serve *serve)
{
    if (serve == NULL) {
        return;
    }
    if (serve->room != NULL) {
        uv_close((uv_handle_t *)serve->room, on_room_closed);
    }
    server_stop(serve->server);
    serve->server = NULL;
    host_stop(serve->host);
    core_free(serve->core);
    store_close(serve->store);
    event_log_close(serve->events);
    pki_free(serve->pki);
    seal_key_free(serve->seal_key);
    alloc_free(serve);
}

bool serve_is_read_only(const struct serve *serve)
{
    return serve->read_only;
}

const char *serve_url(const struct serve *serve)
{
    return server_url(serve->server, 0);
}

const char *serve_ca_file(const struct serve *serve)
{
    return serve->pki == NULL ? NULL : pki_ca_file(serve->pki);
}

struct join_wait {
    struct host_wait wait;
    bool durable;
};

static void join_durable(struct host_wait *wait)
{
    CONTAINER_OF(wait, struct join_wait, wait)->durable = true;
}

int serve_join(struct serve *serve, const char *name, struct arena *arena,
               struct serve_identity *out_identity, struct err *err)
{
    const struct berth_create_join_token_request ask = {0};
    struct berth_create_join_token_response made = {0};
    int rc = call(serve, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], arena, &ask, &made, err);
    if (rc != 0) {
        return rc;
    }
    struct text secret = made.token;
    struct text token_id = text_cut(&secret, '.');
    const struct berth_join_node_request request = {
        .token_id = token_id, .token_secret = secret, .name = text_of(name)};
    struct berth_join_node_response response = {0};
    rc = call(serve, &berth_operations[BERTH_OP_JOIN_NODE], arena, &request, &response, err);
    if (rc != 0) {
        return rc;
    }
    // The node may use its key only once that is on disk.
    struct join_wait wait = {.wait = {.done = join_durable}};
    host_wait(serve->host, &wait.wait);
    while (!wait.durable) {
        uv_run(serve->options.loop, UV_RUN_ONCE);
    }
    *out_identity = (struct serve_identity){
        .node_id = arena_text(arena, response.node_id),
        .key_id = arena_text(arena, response.access_key_id),
        .secret = arena_text(arena, response.secret_access_key),
    };
    return 0;
}
