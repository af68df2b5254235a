#include "cli/change.h"

#include "api/berth.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "shape/json.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS (600 * INT64_C(1000))
#define COUNT_MAX 5000 // ECS: tasks of a service

// ---- the command line ---------------------------------------------------------------------

static int wrong(const struct change_options *options, const char *what, const char *given)
{
    fprintf(stderr, "berth %s: '%s' is no %s\n", options->command, given, what);
    return ERR_INVALID;
}

int change_duration(struct text text, int64_t *out_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}};
    int64_t unit_ms = 1000;
    for (size_t i = 0; i < ARRAY_LEN(units) && text.size > 0; i++) {
        if (text.data[text.size - 1] == units[i].unit) {
            unit_ms = units[i].ms;
            text = text_slice(text, 0, text.size - 1);
            break;
        }
    }
    int64_t value = 0;
    if (text_to_i64(text, &value) != 0 || value < 1 || value > 1000000) {
        return ERR_INVALID;
    }
    *out_ms = value * unit_ms;
    return 0;
}

static int read_image(struct change_options *out, const char *given)
{
    struct text image = text_of(given);
    struct text container = text_cut(&image, '=');
    if (text_empty(container) || text_empty(image) || out->image_count == CHANGE_IMAGES_MAX) {
        return wrong(out, "CONTAINER=IMAGE, of at most 10", given);
    }
    out->images[out->image_count] = (struct change_image){container, image};
    out->image_count++;
    return 0;
}

static int read_count(struct change_options *out, const char *given)
{
    int64_t value = 0;
    if (text_to_i64(text_of(given), &value) != 0 || value < 0 || value > COUNT_MAX) {
        return wrong(out, "count from 0 to 5000", given);
    }
    out->has_count = true;
    out->count = (int32_t)value;
    return 0;
}

static int read_option(struct change_options *out, int option, const char *given)
{
    switch (option) {
    case 'd':
        out->data_dir = given;
        return 0;
    case 'c':
        out->cluster = text_of(given);
        return 0;
    case 't':
        out->task_definition = text_of(given);
        return 0;
    case 'f':
        out->file = given;
        return 0;
    case 'i':
        return read_image(out, given);
    case 'n':
        return read_count(out, given);
    case 'F':
        out->force = true;
        return 0;
    case 'C':
        out->create = true;
        return 0;
    case 'j':
        out->json = true;
        return 0;
    case 'w':
        return change_duration(text_of(given), &out->timeout_ms) == 0
                   ? 0
                   : wrong(out, "duration such as 90s or 10m", given);
    default:
        return ERR_INVALID;
    }
}

static int say(const struct change_options *options, const char *problem)
{
    fprintf(stderr, "berth %s: %s; `berth help %s` says how it is used\n", options->command,
            problem, options->command);
    return ERR_INVALID;
}

static int check_options(const struct change_options *options)
{
    if (options->service.data == NULL) {
        return say(options, "name a service");
    }
    if (options->file != NULL && options->task_definition.data != NULL) {
        return say(options, "give --task-definition or --file, not both");
    }
    if (options->create && options->file == NULL && options->task_definition.data == NULL) {
        return say(options, "--create needs --file or --task-definition");
    }
    if (options->file == NULL && options->task_definition.data == NULL &&
        options->image_count == 0 && !options->has_count && !options->force) {
        return say(options, "say what to change: --task-definition, --file, --image, --count or "
                            "--force");
    }
    return 0;
}

int change_read(int argc, char **argv, const char *command, struct change_options *out)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"task-definition", required_argument, NULL, 't'},
                                          {"file", required_argument, NULL, 'f'},
                                          {"image", required_argument, NULL, 'i'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"force", no_argument, NULL, 'F'},
                                          {"create", no_argument, NULL, 'C'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"timeout", required_argument, NULL, 'w'},
                                          {0}};
    *out = (struct change_options){.command = command, .timeout_ms = TIMEOUT_MS};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (read_option(out, option, optarg) != 0) {
            return ERR_INVALID;
        }
    }
    out->service = optind < argc ? text_of(argv[optind]) : (struct text){0};
    if (optind + 1 < argc) {
        return wrong(out, "option, nor a second service: one at a time", argv[optind + 1]);
    }
    return check_options(out);
}

// ---- definitions --------------------------------------------------------------------------

struct ecs_register_task_definition_request *
change_as_request(const struct ecs_task_definition *definition, struct arena *arena)
{
    struct ecs_register_task_definition_request *request =
        ARENA_NEW(arena, struct ecs_register_task_definition_request);
    *request = (struct ecs_register_task_definition_request){
        .family = definition->family,
        .task_role_arn = definition->task_role_arn,
        .execution_role_arn = definition->execution_role_arn,
        .network_mode = definition->network_mode,
        .container_definitions = definition->container_definitions,
        .volumes = definition->volumes,
        .placement_constraints = definition->placement_constraints,
        .requires_compatibilities = definition->requires_compatibilities,
        .cpu = definition->cpu,
        .memory = definition->memory,
        .pid_mode = definition->pid_mode,
        .ipc_mode = definition->ipc_mode,
        .proxy_configuration = definition->proxy_configuration,
        .inference_accelerators = definition->inference_accelerators,
        .ephemeral_storage = definition->ephemeral_storage,
        .runtime_platform = definition->runtime_platform,
        .has_enable_fault_injection = definition->has_enable_fault_injection,
        .enable_fault_injection = definition->enable_fault_injection,
    };
    // Containers of its own: they are given other images.
    size_t count = definition->container_definitions.count;
    if (count > 0) {
        struct ecs_container_definition *items = arena_array(arena, count, sizeof(*items));
        memcpy(items, definition->container_definitions.items, count * sizeof(*items));
        request->container_definitions.items = items;
    }
    return request;
}

int change_images(struct ecs_register_task_definition_request *definition,
                  const struct change_options *options, bool *out_changed, struct err *err)
{
    for (size_t i = 0; i < options->image_count; i++) {
        const struct change_image *wanted = &options->images[i];
        bool found = false;
        for (size_t j = 0; j < definition->container_definitions.count; j++) {
            struct ecs_container_definition *container =
                &definition->container_definitions.items[j];
            if (!text_equal(container->name, wanted->container)) {
                continue;
            }
            found = true;
            if (!text_equal(container->image, wanted->image)) {
                container->image = wanted->image;
                *out_changed = true;
            }
        }
        if (!found) {
            return err_set(err, ERR_NOT_FOUND, "task definition '%.*s' has no container '%.*s'",
                           TEXT_FMT(definition->family), TEXT_FMT(wanted->container));
        }
    }
    return 0;
}

static int read_file(struct cli_context *context, const char *path,
                     struct ecs_register_task_definition_request **out_request, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, path, 4 * (size_t)LIMIT_DEFINITION_BYTES, &content, err);
    if (rc != 0) {
        return rc;
    }
    *out_request = ARENA_NEW(&context->arena, struct ecs_register_task_definition_request);
    struct shape_error problem;
    if (json_decode(&ecs_register_task_definition_request_shape, buf_view(&content),
                    &context->arena, *out_request, &problem) != 0) {
        return err_set(err, ERR_INVALID, "'%s' is no task definition: %s %s", path, problem.path,
                       problem.text);
    }
    return 0;
}

// ---- the change ---------------------------------------------------------------------------

static int find_service(struct cli_context *context, const struct change_options *options,
                        struct change *change, struct err *err)
{
    int rc = look_service(context, options->cluster, options->service, &change->service, err);
    if (options->create) {
        if (rc == 0) {
            return err_set(err, ERR_EXISTS, "there is a service '%.*s' already; leave out --create",
                           TEXT_FMT(options->service));
        }
        return rc == ERR_NOT_FOUND ? 0 : rc;
    }
    if (rc == ERR_NOT_FOUND) {
        struct err why = *err;
        return err_set(err, rc, "%.400s; --create makes it", why.text);
    }
    if (rc != 0 || text_empty(change->service->task_definition)) {
        return rc;
    }
    return look_definition(context, change->service->task_definition, &change->before, err);
}

int change_work_out(struct cli_context *context, const struct change_options *options,
                    struct change *out_change, struct err *err)
{
    struct change change = {0};
    int rc = find_service(context, options, &change, err);
    if (rc != 0) {
        return rc;
    }
    struct ecs_register_task_definition_request *request = NULL;
    bool changed = options->file != NULL;
    if (options->file != NULL) {
        rc = read_file(context, options->file, &request, err);
    } else if (options->task_definition.data != NULL) {
        rc = look_definition(context, options->task_definition, &change.after, err);
    } else {
        change.after = change.before;
    }
    if (rc != 0) {
        return rc;
    }
    if (change.after == NULL && request == NULL) {
        return err_set(err, ERR_INVALID, "service '%.*s' has no task definition of its own",
                       TEXT_FMT(options->service));
    }
    if (request == NULL) {
        request = change_as_request(change.after, &context->arena);
    }
    rc = change_images(request, options, &changed, err);
    if (rc == 0 && changed) {
        change.registers = request;
        change.after = NULL;
    }
    *out_change = change;
    return rc;
}

// ---- what is not said ---------------------------------------------------------------------

enum ecs_launch_type change_launch_type(const struct ecs_compatibility_list *compatibilities)
{
    bool fargate = false;
    for (size_t i = 0; i < compatibilities->count; i++) {
        if (compatibilities->items[i] == ECS_COMPATIBILITY_EC2) {
            return ECS_LAUNCH_TYPE_ABSENT;
        }
        fargate = fargate || compatibilities->items[i] == ECS_COMPATIBILITY_FARGATE;
    }
    return fargate ? ECS_LAUNCH_TYPE_FARGATE : ECS_LAUNCH_TYPE_ABSENT;
}

int change_default_network(struct cli_context *context,
                           struct ecs_network_configuration **out_network, struct err *err)
{
    const struct berth_describe_network_request request = {0};
    struct berth_describe_network_response network = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_DESCRIBE_NETWORK], &request, &network, err);
    if (rc != 0) {
        return rc;
    }
    struct ecs_aws_vpc_configuration *vpc =
        ARENA_NEW(&context->arena, struct ecs_aws_vpc_configuration);
    // RunTask takes 16 of them.
    size_t count = MIN(network.subnets.count, (size_t)16);
    vpc->subnets.items = arena_array(&context->arena, count, sizeof(*vpc->subnets.items));
    vpc->subnets.count = count;
    for (size_t i = 0; i < count; i++) {
        vpc->subnets.items[i] = network.subnets.items[i].subnet_id;
    }
    *out_network = ARENA_NEW(&context->arena, struct ecs_network_configuration);
    (*out_network)->awsvpc_configuration = vpc;
    return 0;
}
