#include "house.h"

#include "api/berth.h"
#include "api/identity.h"
#include "api/ssm.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "secrets/parameter.h"
#include "secrets/secrets.h"
#include "vpc/vpc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * The websocket library does not give back the TLS context for clients that it makes, unasked, for
 * a listener with TLS. The sanitizer calls these by name; it needs whole stacks to tell.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:lws_create_vhost\n";
}

static const struct core_module *const modules[] = {&identity_module,  &vpc_module, &secrets_module,
                                                    &parameter_module, &ecs_module, &task_module,
                                                    &service_module};

// No cipher at all: what is sealed is not what is tested here.
static void encrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                    struct text bound, struct text plain, char *out)
{
    memcpy(out, plain.data, plain.size);
    memset(out + plain.size, 0, SEAL_TAG_BYTES);
}

static int decrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                   struct text bound, struct text cipher, char *out)
{
    memcpy(out, cipher.data, cipher.size - SEAL_TAG_BYTES);
    return 0;
}

static const struct seal_cipher open_cipher = {.encrypt = encrypt, .decrypt = decrypt};

static const char *const node_operations[] = {"RegisterContainerInstance", "DiscoverPollEndpoint",
                                              "SubmitTaskStateChange", NULL};
static const char *const node_berth_operations[] = {"GetTaskSecrets", NULL};
static const char *const unsigned_operations[] = {"JoinNode", NULL};
static const struct server_service services[] = {
    {.api = &ecs_service, .node_operations = node_operations},
    {.api = &ssm_service},
    {.api = &berth_service,
     .node_operations = node_berth_operations,
     .unsigned_operations = unsigned_operations},
};

// ---- the loop -----------------------------------------------------------------------------

static void on_clock(uv_timer_t *timer)
{
    struct house *house = CONTAINER_OF(timer, struct house, clock);
    runtime_fake_advance(house->runtime, clock_wall_ms());
}

void house_until(struct house *house, bool (*check)(struct house *house, const void *argument),
                 const void *argument, const char *what)
{
    int64_t deadline_ns = clock_monotonic_ns() + HOUSE_WAIT_MS * INT64_C(1000000);
    while (!check(house, argument)) {
        if (clock_monotonic_ns() > deadline_ns) {
            fail_msg("did not come about: %s", what);
        }
        uv_run(&house->loop, UV_RUN_ONCE);
    }
}

// ---- the server ---------------------------------------------------------------------------

static void on_effect(void *context, const struct core_effect *effect)
{
    struct house *house = context;
    if (house->server != NULL) {
        server_effect(house->server, effect);
    }
}

static void on_fatal(void *context, const struct err *err)
{
    fail_msg("the store failed: %s", err->text);
}

struct durable {
    struct host_wait wait;
    bool done;
};

static void on_durable(struct host_wait *wait)
{
    CONTAINER_OF(wait, struct durable, wait)->done = true;
}

static bool is_durable(struct house *house, const void *argument)
{
    const struct durable *durable = argument;
    return durable->done;
}

// An operation from inside, as the account's root.
static void call_inside(struct house *house, const struct api_operation *operation,
                        const void *request, void *response)
{
    const struct core_caller caller = {.account = TEXT(HOUSE_ACCOUNT),
                                       .region = TEXT(HOUSE_REGION),
                                       .arn = TEXT("arn:aws:iam::" HOUSE_ACCOUNT ":root")};
    struct core_call call = {.arena = &house->arena};
    if (host_request(house->host, &caller, operation, &call, request, response) != 0) {
        fail_msg("%s: %s", operation->name, call.fault_text);
    }
    // The response borrows from records, which go with the next inputs.
    const void *copy = shape_copy(operation->output, response, &house->arena);
    memcpy(response, copy, operation->output->size_bytes);
    struct durable durable = {.wait = {.done = on_durable}};
    host_wait(house->host, &durable.wait);
    house_until(house, is_durable, &durable, operation->name);
}

static void start_front(struct house *house)
{
    struct err err = {0};
    struct server_options options = {
        .loop = &house->loop,
        .host = house->host,
        .services = services,
        .service_count = ARRAY_LEN(services),
        .api = {{.address = "127.0.0.1", .port = house->api_port, .tls = house->tls}},
        .api_count = 1,
        .sessions = {{.address = "127.0.0.1", .tls = house->tls}},
        .session_count = 1,
        .region = HOUSE_REGION,
        .locate = task_locate,
        .pki = house->pki,
    };
    if (server_start(&options, &house->server, &err) != 0) {
        fail_msg("%s", err.text);
    }
    const char *url = server_url(house->server, 0);
    house->api_port = (uint16_t)atol(strrchr(url, ':') + 1);
    AUTO(alloc_string) char *acs = alloc_format("%s/acs/", server_session_url(house->server, 0));
    AUTO(alloc_string) char *tcs = alloc_format("%s/tcs/", server_session_url(house->server, 0));
    task_set_endpoints(house->core, text_of(acs), text_of(tcs));
}

void house_start_server(struct house *house)
{
    struct err err = {0};
    house->core = core_new(modules, ARRAY_LEN(modules));
    secrets_set_cipher(house->core, &open_cipher);
    const struct host_options options = {.loop = &house->loop,
                                         .core = house->core,
                                         .store = house->store,
                                         .on_effect = on_effect,
                                         .on_fatal = on_fatal,
                                         .context = house};
    if (host_start(&options, &house->host, &err) != 0) {
        fail_msg("%s", err.text);
    }
    const struct identity_ensure_root_key_request root = {
        .account = TEXT(HOUSE_ACCOUNT),
        .access_key_id = TEXT(HOUSE_KEY),
        .secret_access_key = TEXT(HOUSE_SECRET),
    };
    struct identity_ensure_root_key_response response = {0};
    call_inside(house, &identity_operations[IDENTITY_OP_ENSURE_ROOT_KEY], &root, &response);
    start_front(house);
}

void house_stop_server(struct house *house)
{
    server_stop(house->server);
    house->server = NULL;
    host_stop(house->host);
    house->host = NULL;
    core_free(house->core);
    house->core = NULL;
}

void house_open(struct house *house, bool tls)
{
    *house = (struct house){.tls = tls};
    struct err err = {0};
    assert_int_equal(uv_loop_init(&house->loop), 0);
    snprintf(house->path, sizeof(house->path), "/tmp/berth-agent-XXXXXX");
    assert_non_null(mkdtemp(house->path));
    snprintf(house->data_dir, sizeof(house->data_dir), "%s/agent", house->path);
    if (tls) {
        AUTO(alloc_string) char *directory = alloc_format("%s/pki", house->path);
        const struct pki_names names = {0};
        if (pki_open(directory, &names, clock_wall_ms(), &house->pki, &err) != 0) {
            fail_msg("%s", err.text);
        }
    }
    house->store = store_memory_new();
    house->runtime = runtime_fake_new();
    assert_int_equal(uv_timer_init(&house->loop, &house->clock), 0);
    uv_timer_start(&house->clock, on_clock, 1, 1);
    house_start_server(house);
    AUTO(alloc_string) char *endpoint = alloc_string(server_url(house->server, 0));
    const struct client_options options = {
        .loop = &house->loop,
        .endpoint = endpoint,
        .ca_file = tls ? pki_ca_file(house->pki) : NULL,
        .key_id = HOUSE_KEY,
        .secret = HOUSE_SECRET,
        .region = HOUSE_REGION,
    };
    if (client_new(&options, &house->client, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

void house_close(struct house *house)
{
    struct err err = {0};
    agent_free(house->agent);
    client_free(house->client);
    if (house->host != NULL) {
        house_stop_server(house);
    }
    uv_close((uv_handle_t *)&house->clock, NULL);
    // Everything that anybody put on the loop must be gone by now.
    uv_run(&house->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&house->loop), 0);
    runtime_close(house->runtime);
    store_close(house->store);
    pki_free(house->pki);
    assert_int_equal(file_remove_tree(AT_FDCWD, house->path, &err), 0);
    arena_deinit(&house->arena);
}

// ---- the agent ----------------------------------------------------------------------------

void house_join(struct house *house)
{
    const struct berth_create_join_token_request ask = {0};
    struct berth_create_join_token_response made = {0};
    call_inside(house, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], &ask, &made);
    struct text secret = made.token;
    struct text token_id = text_cut(&secret, '.');
    const struct berth_join_node_request request = {
        .token_id = token_id, .token_secret = secret, .name = TEXT("host")};
    struct berth_join_node_response response = {0};
    call_inside(house, &berth_operations[BERTH_OP_JOIN_NODE], &request, &response);
    struct err err = {0};
    const struct agent_identity identity = {
        .node_id = response.node_id,
        .key_id = response.access_key_id,
        .secret = response.secret_access_key,
        .region = response.region,
        .endpoint = text_of(server_url(house->server, 0)),
        .ca_file = house->tls ? text_of(pki_ca_file(house->pki)) : (struct text){0},
    };
    assert_int_equal(agent_identity_store(house->data_dir, &identity, (struct text){0}, &err), 0);
}

static void on_ready(void *context)
{
    struct house *house = context;
    house->ready_count++;
}

static void on_refused(void *context, const struct err *err)
{
    struct house *house = context;
    house->refused_count++;
}

void house_begin_agent(struct house *house)
{
    struct err err = {0};
    if (agent_identity_load(house->data_dir, &house->arena, &house->identity, &err) != 0) {
        fail_msg("%s", err.text);
    }
    const struct agent_options options = {
        .loop = &house->loop,
        .identity = &house->identity,
        .zone = "eu-west-1a,eu-west-1b,eu-west-1c",
        .version = "test",
        .data_dir = house->data_dir,
        .runtime = house->runtime,
        .cpu_units = house->cpu_units > 0 ? house->cpu_units : 8192,
        .memory_mib = house->memory_mib > 0 ? house->memory_mib : 16384,
        .on_ready = on_ready,
        .on_refused = on_refused,
        .context = house,
    };
    house->ready_count = 0;
    house->stopped = false;
    if (agent_start(&options, &house->agent, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static bool is_ready(struct house *house, const void *argument)
{
    return house->ready_count > 0;
}

void house_start_agent(struct house *house)
{
    house_begin_agent(house);
    house_until(house, is_ready, NULL, "the agent is ready");
}

static void on_stopped(void *context)
{
    struct house *house = context;
    house->stopped = true;
}

static bool is_stopped(struct house *house, const void *argument)
{
    return house->stopped;
}

void house_stop_agent(struct house *house, enum agent_stop_mode mode)
{
    agent_stop(house->agent, mode, on_stopped, house);
    house_until(house, is_stopped, NULL, "the agent stops");
    agent_free(house->agent);
    house->agent = NULL;
}

// ---- the API ------------------------------------------------------------------------------

struct call_wait {
    struct house *house;
    const struct api_operation *operation;
    void *response;
    struct err *err;
    int rc;
    bool done;
};

static void on_called(void *context, const struct client_result *result)
{
    struct call_wait *wait = context;
    wait->done = true;
    wait->rc = result->rc;
    if (result->rc != 0) {
        err_set(wait->err, result->rc, "%.*s: %.*s", TEXT_FMT(result->fault_code),
                TEXT_FMT(result->message));
        return;
    }
    const struct shape_type *output = wait->operation->output;
    memcpy(wait->response, shape_copy(output, result->response, &wait->house->arena),
           output->size_bytes);
}

static bool is_called(struct house *house, const void *argument)
{
    const struct call_wait *wait = argument;
    return wait->done;
}

int house_call(struct house *house, const struct api_operation *operation, const void *request,
               void *out_response, struct err *err)
{
    struct call_wait wait = {
        .house = house, .operation = operation, .response = out_response, .err = err};
    client_call(house->client, operation, request, HOUSE_WAIT_MS, on_called, &wait);
    house_until(house, is_called, &wait, operation->name);
    return wait.rc;
}

static void must_call(struct house *house, const struct api_operation *operation,
                      const void *request, void *out_response)
{
    struct err err = {0};
    if (house_call(house, operation, request, out_response, &err) != 0) {
        fail_msg("%s: %s", operation->name, err.text);
    }
}

static void register_definition(struct house *house)
{
    struct ecs_container_definition containers[] = {
        {.name = TEXT("web"),
         .image = TEXT("web:1"),
         .has_essential = true,
         .essential = true,
         .has_stop_timeout = true,
         .stop_timeout = 2},
        {.name = TEXT("log"), .image = TEXT("log:1"), .has_essential = true},
    };
    struct ecs_secret secret = {.name = TEXT("KEY"), .value_from = text_of(house->secret)};
    if (house->secret != NULL) {
        containers[0].secrets.items = &secret;
        containers[0].secrets.count = 1;
    }
    enum ecs_compatibility fargate[] = {ECS_COMPATIBILITY_FARGATE};
    const struct ecs_register_task_definition_request request = {
        .family = TEXT("site"),
        .network_mode = ECS_NETWORK_MODE_AWSVPC,
        .container_definitions = {.items = containers, .count = ARRAY_LEN(containers)},
        .requires_compatibilities = {.items = fargate, .count = 1},
        .cpu = TEXT("256"),
        .memory = TEXT("512"),
        .execution_role_arn = TEXT("r"),
    };
    struct ecs_register_task_definition_response response = {0};
    must_call(house, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION], &request, &response);
    const struct ecs_create_cluster_request cluster = {0};
    struct ecs_create_cluster_response created = {0};
    must_call(house, &ecs_operations[ECS_OP_CREATE_CLUSTER], &cluster, &created);
}

struct text house_run_task(struct house *house)
{
    const struct berth_describe_network_request ask = {0};
    struct berth_describe_network_response network = {0};
    register_definition(house);
    must_call(house, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &ask, &network);
    struct ecs_aws_vpc_configuration vpc = {
        .subnets = {.items = &network.subnets.items[0].subnet_id, .count = 1}};
    struct ecs_network_configuration configuration = {.awsvpc_configuration = &vpc};
    const struct ecs_run_task_request request = {
        .task_definition = TEXT("site"),
        .launch_type = ECS_LAUNCH_TYPE_FARGATE,
        .network_configuration = &configuration,
    };
    struct ecs_run_task_response response = {0};
    must_call(house, &ecs_operations[ECS_OP_RUN_TASK], &request, &response);
    if (response.tasks.count != 1) {
        fail_msg("RunTask: %.*s", TEXT_FMT(response.failures.items[0].reason));
    }
    return response.tasks.items[0].task_arn;
}

const struct ecs_task *house_task(struct house *house, struct text arn)
{
    const struct ecs_describe_tasks_request request = {.tasks = {.items = &arn, .count = 1}};
    struct ecs_describe_tasks_response response = {0};
    must_call(house, &ecs_operations[ECS_OP_DESCRIBE_TASKS], &request, &response);
    assert_int_equal(response.tasks.count, 1);
    return &response.tasks.items[0];
}

const struct ecs_task *house_expect(struct house *house, struct text arn, const char *status)
{
    int64_t deadline_ns = clock_monotonic_ns() + HOUSE_WAIT_MS * INT64_C(1000000);
    for (;;) {
        const struct ecs_task *task = house_task(house, arn);
        if (text_is(task->last_status, status)) {
            return task;
        }
        if (clock_monotonic_ns() > deadline_ns) {
            fail_msg("the task is %.*s instead of %s", TEXT_FMT(task->last_status), status);
        }
        uv_run(&house->loop, UV_RUN_ONCE);
    }
}

void house_stop_task(struct house *house, struct text arn)
{
    const struct ecs_stop_task_request request = {.task = arn};
    struct ecs_stop_task_response response = {0};
    must_call(house, &ecs_operations[ECS_OP_STOP_TASK], &request, &response);
}
