#include "cli/diagnose.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/change.h"
#include "cli/commands.h"
#include "cli/diagnose_service.h"
#include "cli/look.h"
#include "shape/json.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define WISHES_MAX 16 // constraints, strategies, subnets: the server says when they are too many
#define HOSTS_SHOWN 20
#define UNPLACED_SHOWN 20
#define UNPLACED_ALL 100 // as many as the server remembers

struct options {
    struct diagnose_style style;
    bool json;
    struct text task;
    struct text subnets[WISHES_MAX];
    struct ecs_placement_constraint constraints[WISHES_MAX];
    struct ecs_placement_strategy strategies[WISHES_MAX];
    struct ecs_capacity_provider_strategy_item providers[WISHES_MAX];
    struct ecs_task_override overrides;
    struct ecs_aws_vpc_configuration vpc;
    struct ecs_network_configuration network;
    struct berth_explain_placement_request request;
};

// ---- the command line ---------------------------------------------------------------------

static int wrong(const char *what, const char *given)
{
    fprintf(stderr, "berth diagnose: '%s' is no %s\n", given, what);
    return ERR_INVALID;
}

static int read_number(const char *what, const char *given, int32_t *out_value)
{
    int64_t value = 0;
    if (text_to_i64(text_of(given), &value) != 0 || value < 1 || value > 1000) {
        return wrong(what, given);
    }
    *out_value = (int32_t)value;
    return 0;
}

static int read_subnets(struct options *out, const char *given)
{
    struct text rest = text_of(given);
    while (rest.data != NULL) {
        struct text subnet = text_cut(&rest, ',');
        if (out->vpc.subnets.count == WISHES_MAX || text_empty(subnet)) {
            return wrong("list of up to 16 subnets", given);
        }
        out->vpc.subnets.items = out->subnets;
        out->subnets[out->vpc.subnets.count] = subnet;
        out->vpc.subnets.count++;
    }
    return 0;
}

static int read_constraint(struct options *out, const char *given)
{
    struct berth_ecs_placement_constraint_list *list = &out->request.placement_constraints;
    if (list->count == WISHES_MAX) {
        return wrong("constraint more that a task can have", given);
    }
    bool distinct = strcmp(given, "distinctInstance") == 0;
    list->items = out->constraints;
    list->items[list->count] = (struct ecs_placement_constraint){
        .type = distinct ? ECS_PLACEMENT_CONSTRAINT_TYPE_DISTINCT_INSTANCE
                         : ECS_PLACEMENT_CONSTRAINT_TYPE_MEMBER_OF,
        .expression = distinct ? (struct text){0} : text_of(given),
    };
    list->count++;
    return 0;
}

static int read_strategy(struct options *out, const char *given)
{
    struct berth_ecs_placement_strategy_list *list = &out->request.placement_strategy;
    struct text field = text_of(given);
    struct text name = text_cut(&field, ':');
    int32_t type = shape_enum_number(&ecs_placement_strategy_type_shape, name);
    if (list->count == WISHES_MAX || type < 1) {
        return wrong("strategy: random, spread:FIELD or binpack:cpu|memory", given);
    }
    list->items = out->strategies;
    list->items[list->count] = (struct ecs_placement_strategy){
        .type = (enum ecs_placement_strategy_type)type, .field = field};
    list->count++;
    return 0;
}

static int read_launch_type(struct options *out, const char *given)
{
    int32_t type = shape_enum_number(&ecs_launch_type_shape, text_of(given));
    if (type < 1) {
        return wrong("launch type: EC2 or FARGATE", given);
    }
    out->request.launch_type = (enum ecs_launch_type)type;
    return 0;
}

static int read_provider(struct options *out, const char *given)
{
    struct berth_ecs_capacity_provider_strategy_item_list *list =
        &out->request.capacity_provider_strategy;
    if (list->count == WISHES_MAX) {
        return wrong("capacity provider more that a task can have", given);
    }
    list->items = out->providers;
    list->items[list->count].capacity_provider = text_of(given);
    list->count++;
    return 0;
}

// What only makes sense with --task-definition.
static int read_wish(struct options *out, int option, const char *given)
{
    switch (option) {
    case 't':
        out->request.task_definition = text_of(given);
        return 0;
    case 'l':
        return read_launch_type(out, given);
    case 'p':
        return read_provider(out, given);
    case 's':
        return read_subnets(out, given);
    case 'e':
        return read_constraint(out, given);
    case 'y':
        return read_strategy(out, given);
    case 'n':
        out->request.has_count = true;
        return read_number("count from 1 to 1000", given, &out->request.count);
    case 'h':
        out->request.has_max_hosts = true;
        return read_number("number of hosts from 1 to 1000", given, &out->request.max_hosts);
    case 'g':
        out->request.group = text_of(given);
        return 0;
    case 'u':
        out->overrides.cpu = text_of(given);
        out->request.overrides = &out->overrides;
        return 0;
    case 'm':
        out->overrides.memory = text_of(given);
        out->request.overrides = &out->overrides;
        return 0;
    default:
        return ERR_INVALID;
    }
}

static int read_options(int argc, char **argv, struct options *out)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"task-definition", required_argument, NULL, 't'},
                                          {"launch-type", required_argument, NULL, 'l'},
                                          {"capacity-provider", required_argument, NULL, 'p'},
                                          {"subnets", required_argument, NULL, 's'},
                                          {"constraint", required_argument, NULL, 'e'},
                                          {"strategy", required_argument, NULL, 'y'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"max-hosts", required_argument, NULL, 'h'},
                                          {"group", required_argument, NULL, 'g'},
                                          {"cpu", required_argument, NULL, 'u'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {0}};
    bool wishes = false;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'd') {
            out->style.data_dir = optarg;
        } else if (option == 'c') {
            out->request.cluster = text_of(optarg);
        } else if (option == 'j') {
            out->json = true;
        } else {
            wishes = true;
            if (read_wish(out, option, optarg) != 0) {
                return ERR_INVALID;
            }
        }
    }
    out->task = optind < argc ? text_of(argv[optind]) : (struct text){0};
    if (optind + 1 < argc) {
        return wrong("option nor a second task or service: one at a time", argv[optind + 1]);
    }
    if (wishes && (out->request.task_definition.data == NULL || out->task.data != NULL)) {
        fprintf(stderr, "berth diagnose: these options are about where tasks would go: they need "
                        "--task-definition, and no TASK or SERVICE\n");
        return ERR_INVALID;
    }
    return 0;
}

// ---- asking -------------------------------------------------------------------------------

static void print_json(const struct shape_type *type, const void *value)
{
    AUTO(buf_deinit) struct buf json = {0};
    json_encode(type, value, &json);
    printf("%.*s\n", (int)json.size, json.data);
}

// What a person leaves out: FARGATE for a definition that is for nothing else, and all subnets of
// the default network for one whose tasks have an interface of their own.
static int fill_in(struct cli_context *context, struct options *options, struct err *err)
{
    const struct ecs_describe_task_definition_request request = {
        .task_definition = options->request.task_definition};
    struct ecs_describe_task_definition_response answer = {0};
    int rc =
        cli_call(context, &ecs_operations[ECS_OP_DESCRIBE_TASK_DEFINITION], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    const struct ecs_task_definition *definition = answer.task_definition;
    if (options->request.launch_type == ECS_LAUNCH_TYPE_ABSENT &&
        options->request.capacity_provider_strategy.count == 0) {
        options->request.launch_type = change_launch_type(&definition->requires_compatibilities);
    }
    if (definition->network_mode == ECS_NETWORK_MODE_AWSVPC && options->vpc.subnets.count == 0) {
        return change_default_network(context, &options->request.network_configuration, err);
    }
    if (options->vpc.subnets.count > 0) {
        options->network.awsvpc_configuration = &options->vpc;
        options->request.network_configuration = &options->network;
    }
    return 0;
}

static int explain_placement(struct cli_context *context, struct options *options, bool *out_fine,
                             struct err *err)
{
    struct berth_explain_placement_response answer = {0};
    if (!options->json && !options->request.has_max_hosts) {
        options->request.has_max_hosts = true;
        options->request.max_hosts = HOSTS_SHOWN;
    }
    int rc = fill_in(context, options, err);
    if (rc == 0) {
        rc = cli_call(context, &berth_operations[BERTH_OP_EXPLAIN_PLACEMENT], &options->request,
                      &answer, err);
    }
    if (rc != 0) {
        return rc;
    }
    *out_fine = answer.placed_count == answer.asked_count;
    if (options->json) {
        print_json(&berth_explain_placement_response_shape, &answer);
    } else {
        diagnose_print_placement(&options->style, &answer);
    }
    return 0;
}

static int list_unplaced(struct cli_context *context, const struct options *options, bool *out_fine,
                         struct err *err)
{
    const struct berth_list_unplaced_tasks_request request = {
        .cluster = options->request.cluster,
        .has_max_results = true,
        .max_results = options->json ? UNPLACED_ALL : UNPLACED_SHOWN,
    };
    struct berth_list_unplaced_tasks_response answer = {0};
    int rc =
        cli_call(context, &berth_operations[BERTH_OP_LIST_UNPLACED_TASKS], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    *out_fine = answer.unplaced.count == 0;
    if (options->json) {
        print_json(&berth_list_unplaced_tasks_response_shape, &answer);
    } else {
        diagnose_print_unplaced(&options->style, &answer);
    }
    return 0;
}

static int explain_service(struct cli_context *context, const struct options *options,
                           bool *out_fine, struct err *err)
{
    const struct diagnose_service asked = {
        .cluster = options->request.cluster, .service = options->task, .json = options->json};
    int rc = diagnose_service(context, &options->style, &asked, out_fine, err);
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    return err_set(err, rc,
                   "there is no service '%.*s' in cluster '%.*s', and no task is called so: a task "
                   "is named by its ARN or the 32 digits at its end",
                   TEXT_FMT(text_slice(options->task, 0, 200)),
                   TEXT_FMT(text_empty(options->request.cluster) ? TEXT("default")
                                                                 : options->request.cluster));
}

// Whether what the container wrote may tell more: it ran, and did not do well.
static bool words_matter(const struct berth_explain_task_response *answer)
{
    switch (answer->cause) {
    case BERTH_TASK_CAUSE_CONTAINER_EXITED:
    case BERTH_TASK_CAUSE_OUT_OF_MEMORY:
    case BERTH_TASK_CAUSE_UNHEALTHY:
    case BERTH_TASK_CAUSE_HOOK_FAILED:
    case BERTH_TASK_CAUSE_DEPENDENCY_FAILED:
        return !text_empty(answer->container);
    default:
        return false;
    }
}

static int explain_task(struct cli_context *context, const struct options *options, bool *out_fine,
                        struct err *err)
{
    const struct berth_explain_task_request request = {.cluster = options->request.cluster,
                                                       .task = options->task};
    struct berth_explain_task_response answer = {0};
    int rc = cli_call(context, &berth_operations[BERTH_OP_EXPLAIN_TASK], &request, &answer, err);
    if (rc != 0) {
        return rc;
    }
    *out_fine = !answer.failed;
    if (options->json) {
        print_json(&berth_explain_task_response_shape, &answer);
    } else {
        struct text_list wrote = {0};
        if (words_matter(&answer)) {
            look_logs(context, answer.task->cluster_arn, answer.task->task_arn, answer.container,
                      &wrote);
        }
        diagnose_print_task(&options->style, &answer, &wrote);
    }
    return 0;
}

int cli_diagnose(int argc, char **argv)
{
    struct options options = {.style = {.now_ms = clock_wall_ms()}};
    if (read_options(argc, argv, &options) != 0) {
        return CLI_USAGE;
    }
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    bool fine = false;
    int rc = cli_context_open(&context, options.style.data_dir, &err);
    if (rc == 0) {
        rc = options.task.data != NULL && diagnose_names_task(options.task)
                 ? explain_task(&context, &options, &fine, &err)
             : options.task.data != NULL ? explain_service(&context, &options, &fine, &err)
             : options.request.task_definition.data != NULL
                 ? explain_placement(&context, &options, &fine, &err)
                 : list_unplaced(&context, &options, &fine, &err);
    }
    if (rc != 0) {
        return cli_fail(&err);
    }
    return fine ? 0 : CLI_FAILED;
}
