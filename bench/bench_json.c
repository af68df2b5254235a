/*
 * Decoding and encoding a DescribeTasks response by descriptors, against jansson's own load and
 * dump of the same text in the same run. Peers alternate, and the best round of each counts, so
 * that noise of the machine hits both.
 *
 * jansson's load is the floor of decoding, for that is what json_decode does first.
 */
#include "api/ecs.h"
#include "base/clock.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "shape/json.h"

#include <jansson.h>
#include <stdio.h>

#define ROUNDS 15
#define BYTES_PER_ROUND (8u << 20)

#define TASK_TYPE (&ecs_describe_tasks_response_shape)

// One running Fargate task, as Berth answers it.
static const char task[] =
    "{\"attachments\":[{\"id\":\"4c3f6b1e-8b9c-4d54-9f6b-0a1b2c3d4e5f\",\"type\":"
    "\"ElasticNetworkInterface\",\"status\":\"ATTACHED\",\"details\":[{\"name\":\"subnetId\","
    "\"value\":\"subnet-0123456789abcdef0\"},{\"name\":\"networkInterfaceId\",\"value\":"
    "\"eni-0123456789abcdef0\"},{\"name\":\"macAddress\",\"value\":\"0a:58:0a:00:00:05\"},"
    "{\"name\":\"privateIPv4Address\",\"value\":\"10.0.0.5\"}]}],\"attributes\":[{\"name\":"
    "\"ecs.cpu-architecture\",\"value\":\"x86_64\"}],\"availabilityZone\":\"eu-west-1a\","
    "\"clusterArn\":\"arn:aws:ecs:eu-west-1:000000000000:cluster/default\",\"connectivity\":"
    "\"CONNECTED\",\"connectivityAt\":1767225600.123,\"containers\":[{\"containerArn\":"
    "\"arn:aws:ecs:eu-west-1:000000000000:container/default/0123456789abcdef0123456789abcdef/"
    "a1b2c3d4\",\"taskArn\":\"arn:aws:ecs:eu-west-1:000000000000:task/default/"
    "0123456789abcdef0123456789abcdef\",\"name\":\"web\",\"image\":\"public.ecr.aws/docker/library/"
    "nginx:1.27\",\"runtimeId\":\"0123456789abcdef0123456789abcdef-527074092\",\"lastStatus\":"
    "\"RUNNING\",\"networkBindings\":[],\"networkInterfaces\":[{\"attachmentId\":"
    "\"4c3f6b1e-8b9c-4d54-9f6b-0a1b2c3d4e5f\",\"privateIpv4Address\":\"10.0.0.5\"}],"
    "\"healthStatus\":\"HEALTHY\",\"cpu\":\"0\",\"memory\":\"512\"}],\"cpu\":\"256\",\"createdAt\":"
    "1767225599.512,\"desiredStatus\":\"RUNNING\",\"enableExecuteCommand\":false,\"group\":"
    "\"service:web\",\"healthStatus\":\"HEALTHY\",\"lastStatus\":\"RUNNING\",\"launchType\":"
    "\"FARGATE\",\"memory\":\"512\",\"overrides\":{\"containerOverrides\":[{\"name\":\"web\"}],"
    "\"inferenceAcceleratorOverrides\":[]},\"platformVersion\":\"1.4.0\",\"platformFamily\":"
    "\"Linux\",\"pullStartedAt\":1767225600.2,\"pullStoppedAt\":1767225600.4,\"startedAt\":"
    "1767225600.5,\"startedBy\":\"ecs-svc/1234567890123456789\",\"tags\":[{\"key\":\"team\","
    "\"value\":\"edge\"}],\"taskArn\":\"arn:aws:ecs:eu-west-1:000000000000:task/default/"
    "0123456789abcdef0123456789abcdef\",\"taskDefinitionArn\":"
    "\"arn:aws:ecs:eu-west-1:000000000000:task-definition/web:3\",\"version\":4,"
    "\"ephemeralStorage\":{\"sizeInGiB\":20}}";

// What one peer is given and may use.
struct work {
    struct text body;
    const void *value;
    json_t *tree;
    struct buf record;
    struct buf out;
    struct arena arena;
};

static void decode_shape(struct work *work)
{
    struct shape_error error;
    struct ecs_describe_tasks_response value;
    int rc = json_decode(TASK_TYPE, work->body, &work->arena, &value, &error);
    ASSERT(rc == 0);
    arena_reset(&work->arena);
}

static void decode_jansson(struct work *work)
{
    json_t *tree = json_loadb(work->body.data, work->body.size, JSON_REJECT_DUPLICATES, NULL);
    ASSERT(tree != NULL);
    json_decref(tree);
}

static void encode_shape(struct work *work)
{
    buf_reset(&work->out);
    json_encode(TASK_TYPE, work->value, &work->out);
}

static void encode_jansson(struct work *work)
{
    // Into memory that is there already, as the other.
    size_t size = json_dumpb(work->tree, work->out.data, work->out.capacity, JSON_COMPACT);
    ASSERT(size > 0 && size <= work->out.capacity);
}

static void record_encode(struct work *work)
{
    buf_reset(&work->record);
    cbor_encode(TASK_TYPE, work->value, 1, NULL, &work->record);
}

static void record_decode(struct work *work)
{
    struct shape_error error;
    struct ecs_describe_tasks_response value;
    int rc =
        cbor_decode(TASK_TYPE, buf_view(&work->record), &work->arena, &value, NULL, NULL, &error);
    ASSERT(rc == 0);
    arena_reset(&work->arena);
}

static double round_us(void (*run)(struct work *), struct work *work)
{
    size_t times = BYTES_PER_ROUND / ROUNDS / work->body.size + 1;
    int64_t start_ns = clock_monotonic_ns();
    for (size_t i = 0; i < times; i++) {
        run(work);
    }
    return (double)(clock_monotonic_ns() - start_ns) / 1000.0 / (double)times;
}

static void compare(const char *what, void (*ours)(struct work *), void (*peer)(struct work *),
                    struct work *work)
{
    double our_us = round_us(ours, work);
    double peer_us = round_us(peer, work);
    for (int i = 1; i < ROUNDS; i++) {
        our_us = MIN(our_us, round_us(ours, work));
        peer_us = MIN(peer_us, round_us(peer, work));
    }
    double megabytes = (double)work->body.size;
    printf("%-24s %9.2f us %7.0f MB/s   jansson %9.2f us   ratio %.2f\n", what, our_us,
           megabytes / our_us, peer_us, our_us / peer_us);
}

static void bench(const char *name, size_t task_count)
{
    AUTO(buf_deinit) struct buf body = {0};
    buf_string(&body, "{\"tasks\":[");
    for (size_t i = 0; i < task_count; i++) {
        buf_string(&body, i == 0 ? "" : ",");
        buf_string(&body, task);
    }
    buf_string(&body, "],\"failures\":[]}");

    AUTO(arena_deinit) struct arena arena = {0};
    struct shape_error error = {0};
    struct ecs_describe_tasks_response value;
    int rc = json_decode(TASK_TYPE, buf_view(&body), &arena, &value, &error);
    ASSERT(rc == 0);
    struct work work = {.body = buf_view(&body), .value = &value};
    work.tree = json_loadb(body.data, body.size, 0, NULL);
    IGNORE(buf_reserve(&work.out, 2 * body.size) == NULL, "only the room matters");

    printf("%s, %zu bytes\n", name, body.size);
    compare("  decode", decode_shape, decode_jansson, &work);
    compare("  encode", encode_shape, encode_jansson, &work);
    compare("  CBOR encode", record_encode, encode_jansson, &work);
    compare("  CBOR decode", record_decode, decode_jansson, &work);
    printf("  CBOR is %.2f of the JSON's size\n", (double)work.record.size / (double)body.size);

    json_decref(work.tree);
    buf_deinit(&work.record);
    buf_deinit(&work.out);
    arena_deinit(&work.arena);
}

int main(void)
{
    bench("DescribeTasks of 1 task", 1);
    bench("DescribeTasks of 100 tasks", 100);
    return 0;
}
