/*
 * Server CPU of a pre-signed DescribeTasks of one task over kept connections, beside a bare
 * libmicrohttpd that answers bytes of the same size, in the same run and driven by the same
 * client. The server is whole: signatures, engine, host; the store is in memory, as nothing is
 * written.
 */

#include "api/berth.h"
#include "api/ecs.h"
#include "api/node.h"
#include "base/clock.h"
#include "base/text.h"
#include "ecs/ecs.h"
#include "ecs/service.h"
#include "ecs/task.h"
#include "identity/identity.h"
#include "server/server.h"
#include "shape/json.h"
#include "sigv4/sigv4.h"
#include "store/store.h"
#include "vpc/vpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GOAL_US 33.0
#define CONNECTIONS 16
#define REQUESTS 200000
#define WARM_UP 20000
#define ROUNDS 3
#define ACCOUNT "000000000000"
#define REGION "us-east-1"
#define KEY "AKIDBENCH"
#define SECRET "a secret of the benchmark"
#define ANSWER_BYTES_MAX 65536

static void die(const char *what)
{
    fprintf(stderr, "bench_http: %s\n", what);
    exit(1);
}

// ---- a server with one task -------------------------------------------------------------------

static const struct core_module *const modules[] = {&identity_module, &vpc_module, &ecs_module,
                                                    &task_module, &service_module};
static const struct server_service services[] = {{.api = &ecs_service}};

struct bench {
    uv_loop_t loop;
    uv_async_t stop;
    struct core *core;
    struct store *store;
    struct host *host;
    struct server *server;
    struct MHD_Daemon *bare; // the floor; NULL while the server is measured
    uv_poll_t bare_poll;
    char bare_body[ANSWER_BYTES_MAX];
    size_t bare_size;
    uint16_t port;
    pthread_t thread;
    struct arena arena;
    struct core_caller caller;
};

static bool find_key(void *context, struct text key_id, struct server_key *out_key)
{
    (void)context;
    *out_key = (struct server_key){.secret = TEXT(SECRET),
                                   .account = TEXT(ACCOUNT),
                                   .arn = TEXT("arn:aws:iam::" ACCOUNT ":root")};
    return text_is(key_id, KEY);
}

static void on_effect(void *context, const struct core_effect *effect)
{
    (void)context;
    (void)effect;
}

static void on_fatal(void *context, const struct err *err)
{
    (void)context;
    die(err->text);
}

// An operation, JSON in; the response is in the arena.
static const void *call(struct bench *bench, const struct api_operation *operation,
                        const char *format, ...)
{
    char json[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(json, sizeof(json), format, arguments);
    va_end(arguments);
    for (char *at = json; *at != '\0'; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    void *request = arena_alloc(&bench->arena, operation->input->size_bytes);
    void *response = arena_alloc(&bench->arena, operation->output->size_bytes);
    struct shape_error error = {0};
    struct core_call core_call = {.arena = &bench->arena};
    if (json_decode(operation->input, text_of(json), &bench->arena, request, &error) != 0 ||
        host_request(bench->host, &bench->caller, operation, &core_call, request, response) != 0) {
        fprintf(stderr, "%s: %s %s %s\n", operation->name, error.path, error.text,
                core_call.fault_text);
        exit(1);
    }
    // What a response borrows from records goes with the next input.
    return shape_copy(operation->output, response, &bench->arena);
}

static void join_node(struct bench *bench)
{
    const struct berth_create_join_token_response *made =
        call(bench, &berth_operations[BERTH_OP_CREATE_JOIN_TOKEN], "{}");
    struct text secret = made->token;
    struct text id = text_cut(&secret, '.');
    const struct berth_join_node_response *joined = call(
        bench, &berth_operations[BERTH_OP_JOIN_NODE],
        "{'tokenId':'%.*s','tokenSecret':'%.*s','name':'host'}", TEXT_FMT(id), TEXT_FMT(secret));
    bench->caller.node_id = joined->node_id;
    const struct ecs_register_container_instance_response *registered = call(
        bench, &ecs_operations[ECS_OP_REGISTER_CONTAINER_INSTANCE],
        "{'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':4096},{'name':'MEMORY',"
        "'type':'INTEGER','integerValue':8192}],'attributes':[{'name':'ecs.availability-zone',"
        "'value':'" REGION "a'},{'name':'berth.capacity','value':'FARGATE'},{'name':'com.amazonaws"
        ".ecs.capability.docker-remote-api.1.18'},{'name':'com.amazonaws.ecs.capability."
        "docker-remote-api.1.24'},{'name':'ecs.capability.container-health-check'},{'name':'ecs."
        "capability.task-cpu-mem-limit'},{'name':'ecs.capability.task-eni'}]}");
    call(bench, &node_operations[NODE_OP_NODE_CONNECT],
         "{'session':1,'containerInstanceArn':'%.*s','berthAgent':true}",
         TEXT_FMT(registered->container_instance->container_instance_arn));
    bench->caller.node_id = (struct text){0};
}

// @return the ARN of a task as the seed's: two containers, a health check, an interface
static struct text run_task(struct bench *bench)
{
    call(bench, &ecs_operations[ECS_OP_CREATE_CLUSTER], "{'clusterName':'default'}");
    call(bench, &ecs_operations[ECS_OP_REGISTER_TASK_DEFINITION],
         "{'family':'web','networkMode':'awsvpc','requiresCompatibilities':['FARGATE'],"
         "'cpu':'256','memory':'512','containerDefinitions':[{'name':'app','image':'app:1',"
         "'essential':true,'portMappings':[{'containerPort':8080}],'environment':[{'name':'A',"
         "'value':'1'}],'healthCheck':{'command':['CMD-SHELL','true']}},{'name':'redis',"
         "'image':'redis:7','essential':false}]}");
    const struct berth_describe_network_response *network =
        call(bench, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], "{}");
    const struct ecs_run_task_response *run =
        call(bench, &ecs_operations[ECS_OP_RUN_TASK],
             "{'taskDefinition':'web','launchType':'FARGATE','networkConfiguration':{"
             "'awsvpcConfiguration':{'subnets':['%.*s']}}}",
             TEXT_FMT(network->subnets.items[0].subnet_id));
    if (run->tasks.count != 1) {
        die("the task was not placed");
    }
    return run->tasks.items[0].task_arn;
}

static void start_server(struct bench *bench)
{
    struct err err = {0};
    bench->core = core_new(modules, ARRAY_LEN(modules));
    bench->store = store_memory_new();
    bench->caller = (struct core_caller){.account = TEXT(ACCOUNT),
                                         .region = TEXT(REGION),
                                         .arn = TEXT("arn:aws:iam::" ACCOUNT ":root"),
                                         .key_id = TEXT(KEY)};
    const struct host_options host = {.loop = &bench->loop,
                                      .core = bench->core,
                                      .store = bench->store,
                                      .on_effect = on_effect,
                                      .on_fatal = on_fatal};
    const struct server_options options = {.loop = &bench->loop,
                                           .services = services,
                                           .service_count = ARRAY_LEN(services),
                                           .api = {{.address = "127.0.0.1"}},
                                           .api_count = 1,
                                           .region = REGION,
                                           .find_key = find_key};
    if (host_start(&host, &bench->host, &err) != 0) {
        die(err.text);
    }
    struct server_options full = options;
    full.host = bench->host;
    if (server_start(&full, &bench->server, &err) != 0) {
        die(err.text);
    }
    struct text url = text_of(server_url(bench->server, 0));
    uint64_t port = 0;
    if (text_to_u64(text_slice(url, text_find_last(url, ':') + 1, url.size), &port) != 0) {
        die("no port");
    }
    bench->port = (uint16_t)port;
}

// ---- the floor --------------------------------------------------------------------------------

static enum MHD_Result bare_request(void *context, struct MHD_Connection *connection,
                                    const char *url, const char *method, const char *version,
                                    const char *bytes, size_t *size, void **slot)
{
    (void)url;
    (void)method;
    (void)version;
    (void)bytes;
    struct bench *bench = context;
    if (*slot == NULL) {
        *slot = bench;
        return MHD_YES;
    }
    if (*size > 0) {
        *size = 0;
        return MHD_YES;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bench->bare_size, bench->bare_body, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "application/x-amz-json-1.1");
    MHD_add_response_header(response, "x-amzn-RequestId", "00000000-0000-4000-8000-000000000000");
    enum MHD_Result result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static void on_bare(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct bench *bench = CONTAINER_OF(poll, struct bench, bare_poll);
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    do {
        MHD_run(bench->bare);
    } while (MHD_get_timeout(bench->bare, &timeout_ms) == MHD_YES && timeout_ms == 0);
}

static void start_bare(struct bench *bench, size_t size)
{
    bench->bare_size = size;
    memset(bench->bare_body, 'x', size);
    bench->bare =
        MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, bare_request, bench, MHD_OPTION_END);
    if (bench->bare == NULL) {
        die("the bare server does not start");
    }
    bench->port = MHD_get_daemon_info(bench->bare, MHD_DAEMON_INFO_BIND_PORT)->port;
    uv_poll_init(&bench->loop, &bench->bare_poll,
                 MHD_get_daemon_info(bench->bare, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    uv_poll_start(&bench->bare_poll, UV_READABLE, on_bare);
}

// ---- a client ---------------------------------------------------------------------------------

static void sign(struct bench *bench, struct text task_arn, struct buf *out)
{
    struct text body = arena_format(&bench->arena, "{\"cluster\":\"default\",\"tasks\":[\"%.*s\"]}",
                                    TEXT_FMT(task_arn));
    const struct sigv4_header headers[] = {
        {TEXT("Host"), TEXT("127.0.0.1")},
        {TEXT("Content-Type"), TEXT("application/x-amz-json-1.1")},
        {TEXT("X-Amz-Target"), TEXT("AmazonEC2ContainerServiceV20141113.DescribeTasks")},
    };
    const struct sigv4_request request = {.method = TEXT("POST"),
                                          .path = TEXT("/"),
                                          .headers = headers,
                                          .header_count = ARRAY_LEN(headers),
                                          .body = body};
    const struct sigv4_identity identity = {.key_id = TEXT(KEY),
                                            .secret = TEXT(SECRET),
                                            .region = TEXT(REGION),
                                            .service = TEXT("ecs")};
    struct sigv4_signature signature;
    sigv4_sign(&request, &identity, clock_wall_ms(), &bench->arena, &signature);
    buf_reset(out);
    buf_string(out, "POST / HTTP/1.1\r\n");
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        buf_format(out, "%.*s: %.*s\r\n", TEXT_FMT(headers[i].name), TEXT_FMT(headers[i].value));
    }
    // What botocore sends besides.
    buf_format(out,
               "User-Agent: Boto3/1.34.0 md/Botocore#1.34.0 ua/2.0 os/linux lang/python#3.11.2\r\n"
               "Accept-Encoding: identity\r\nX-Amz-Date: %.*s\r\nX-Amz-Content-Sha256: %.*s\r\n"
               "Authorization: %.*s\r\nContent-Length: %zu\r\n\r\n",
               TEXT_FMT(signature.amz_date), TEXT_FMT(signature.content_sha256),
               TEXT_FMT(signature.authorization), body.size);
    buf_text(out, body);
}

static int open_connection(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("no connection");
    }
    return fd;
}

// Read one answer. @return its size, head and body
static size_t read_answer(int fd, char bytes[ANSWER_BYTES_MAX], size_t *out_body_size)
{
    size_t size = 0;
    for (;;) {
        ssize_t got = recv(fd, bytes + size, ANSWER_BYTES_MAX - 1 - size, 0);
        if (got <= 0) {
            die("the connection was closed");
        }
        size += (size_t)got;
        bytes[size] = '\0';
        char *end = strstr(bytes, "\r\n\r\n");
        char *length = end == NULL ? NULL : strstr(bytes, "Content-Length: ");
        if (length == NULL) {
            continue;
        }
        size_t body_size = strtoul(length + 16, NULL, 10);
        if (size >= (size_t)(end + 4 - bytes) + body_size) {
            *out_body_size = body_size;
            return size;
        }
    }
}

// One request under way on each connection, all answers alike.
static size_t load(uint16_t port, struct text request, size_t count)
{
    static char bytes[ANSWER_BYTES_MAX];
    struct pollfd fds[CONNECTIONS];
    size_t body_size = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        fds[i] = (struct pollfd){.fd = open_connection(port), .events = POLLIN};
        if (send(fds[i].fd, request.data, request.size, MSG_NOSIGNAL) != (ssize_t)request.size) {
            die("a request was not sent");
        }
    }
    for (size_t done = 0; done < count;) {
        if (poll(fds, CONNECTIONS, 10000) <= 0) {
            die("no answer");
        }
        for (size_t i = 0; i < CONNECTIONS && done < count; i++) {
            if (fds[i].revents == 0) {
                continue;
            }
            read_answer(fds[i].fd, bytes, &body_size);
            if (memcmp(bytes, "HTTP/1.1 200", 12) != 0) {
                die(bytes);
            }
            done++;
            if (send(fds[i].fd, request.data, request.size, MSG_NOSIGNAL) !=
                (ssize_t)request.size) {
                die("a request was not sent");
            }
        }
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        read_answer(fds[i].fd, bytes, &body_size);
        close(fds[i].fd);
    }
    return body_size;
}

// ---- measuring --------------------------------------------------------------------------------

static void on_stop(uv_async_t *async)
{
    uv_stop(async->loop);
}

static void *run(void *context)
{
    struct bench *bench = context;
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    return NULL;
}

static double thread_cpu_us(pthread_t thread)
{
    clockid_t clock = 0;
    struct timespec time = {0};
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &time) != 0) {
        die("no clock of the server's thread");
    }
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

// The best of some rounds: what disturbs a round only ever adds. @return CPU µs per request
static double measure(struct bench *bench, const char *name, struct text request,
                      size_t *out_body_size)
{
    pthread_create(&bench->thread, NULL, run, bench);
    load(bench->port, request, WARM_UP);
    double best_us = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double cpu_us = thread_cpu_us(bench->thread);
        int64_t begin_ns = clock_monotonic_ns();
        *out_body_size = load(bench->port, request, REQUESTS / ROUNDS);
        double each_us = (thread_cpu_us(bench->thread) - cpu_us) / (REQUESTS / ROUNDS);
        double rate = REQUESTS / ROUNDS / ((double)(clock_monotonic_ns() - begin_ns) / 1e9);
        printf("%-22s %6.2f µs of server CPU each, %.0f requests/s, %zu bytes\n", name, each_us,
               rate, *out_body_size);
        best_us = round == 0 || each_us < best_us ? each_us : best_us;
    }
    uv_async_send(&bench->stop);
    pthread_join(bench->thread, NULL);
    return best_us;
}

int main(void)
{
    static struct bench bench;
    uv_loop_init(&bench.loop);
    uv_async_init(&bench.loop, &bench.stop, on_stop);
    start_server(&bench);
    join_node(&bench);
    struct text task_arn = run_task(&bench);

    AUTO(buf_deinit) struct buf request = {0};
    sign(&bench, task_arn, &request);
    size_t body_size = 0;
    double server_us = measure(&bench, "DescribeTasks", buf_view(&request), &body_size);
    server_stop(bench.server);
    host_stop(bench.host);

    start_bare(&bench, body_size);
    double bare_us = measure(&bench, "bare libmicrohttpd", buf_view(&request), &body_size);
    uv_close((uv_handle_t *)&bench.bare_poll, NULL);
    uv_close((uv_handle_t *)&bench.stop, NULL);
    MHD_stop_daemon(bench.bare);
    uv_run(&bench.loop, UV_RUN_DEFAULT);

    printf("DescribeTasks %.2f µs (goal %.0f: %s), %.2f times a bare libmicrohttpd (%.2f µs)\n",
           server_us, GOAL_US, server_us <= GOAL_US ? "met" : "missed", server_us / bare_us,
           bare_us);
    core_free(bench.core);
    store_close(bench.store);
    arena_deinit(&bench.arena);
    uv_loop_close(&bench.loop);
    return 0;
}
