#include "cli/diagnose.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Append a command; `berth` and its name come first, then where the data is, then the rest.
PRINTF_LIKE(5, 6)
static void suggest(const struct diagnose_style *style, struct diagnose_next *next,
                    struct arena *arena, const char *command, const char *format, ...)
{
    if (next->count == DIAGNOSE_NEXT_MAX) {
        return;
    }
    char rest[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rest, sizeof(rest), format, arguments);
    va_end(arguments);
    bool data = style->data_dir != NULL;
    struct text line = arena_format(arena, "berth %s%s%s%s%s", command, data ? " --data " : "",
                                    data ? style->data_dir : "", rest[0] == '\0' ? "" : " ", rest);
    for (size_t i = 0; i < next->count; i++) {
        if (text_equal(next->lines[i], line)) {
            return;
        }
    }
    next->lines[next->count] = line;
    next->count++;
}

// The first host that a reason is said of, and what is said.
static const struct berth_placement_reason *example(const struct berth_placement_host_list *hosts,
                                                    struct text reason,
                                                    const struct berth_placement_host **out_host)
{
    for (size_t i = 0; i < hosts->count; i++) {
        for (size_t j = 0; j < hosts->items[i].reasons.count; j++) {
            if (text_equal(hosts->items[i].reasons.items[j].reason, reason)) {
                *out_host = &hosts->items[i];
                return &hosts->items[i].reasons.items[j];
            }
        }
    }
    return NULL;
}

// Whether no host that a reason is said of would take the task if it were empty.
static bool never_fits(const struct berth_placement_host_list *hosts, struct text reason)
{
    for (size_t i = 0; i < hosts->count; i++) {
        for (size_t j = 0; j < hosts->items[i].reasons.count; j++) {
            const struct berth_placement_reason *said = &hosts->items[i].reasons.items[j];
            if (text_equal(said->reason, reason) && said->asked <= said->total) {
                return false;
            }
        }
    }
    return true;
}

static void suggest_for(const struct diagnose_style *style, struct diagnose_next *next,
                        struct arena *arena, struct text cluster, struct text reason,
                        const struct berth_placement_host_list *hosts)
{
    const struct berth_placement_host *host = NULL;
    const struct berth_placement_reason *said = example(hosts, reason, &host);
    if (said == NULL) {
        return;
    }
    if (text_is(reason, "AGENT")) {
        suggest(style, next, arena, "node ls", "%s", "");
    } else if (text_is(reason, "INACTIVE") && host->container_instance_arn.data != NULL) {
        struct text id = cli_short(host->container_instance_arn);
        suggest(style, next, arena, "aws",
                "ecs update-container-instances-state --cluster %.*s --status ACTIVE "
                "--container-instances %.*s",
                TEXT_FMT(cluster), TEXT_FMT(id));
    } else if (text_is(reason, "ATTRIBUTE")) {
        suggest(style, next, arena, "aws",
                "ecs list-attributes --cluster %.*s --target-type container-instance "
                "--attribute-name %.*s",
                TEXT_FMT(cluster), TEXT_FMT(said->subject));
    } else if (text_starts(reason, TEXT("MemberOf")) &&
               text_find(said->subject, '\'') == SIZE_MAX) {
        suggest(style, next, arena, "aws",
                "ecs list-container-instances --cluster %.*s --filter '%.*s'", TEXT_FMT(cluster),
                TEXT_FMT(text_slice(said->subject, 0, 500)));
    } else if (text_is(reason, "LOCATION")) {
        suggest(style, next, arena, "env", "%s", "");
    } else if (said->has_asked && never_fits(hosts, reason)) {
        // A larger host has to join.
        suggest(style, next, arena, "node token", "%s", "");
    } else if (text_starts(reason, TEXT("RESOURCE:")) ||
               text_starts(reason, TEXT("DistinctInstance"))) {
        suggest(style, next, arena, "ps", "--cluster %.*s", TEXT_FMT(cluster));
    }
}

struct diagnose_next diagnose_next_of_hosts(const struct diagnose_style *style, struct text cluster,
                                            const struct berth_reason_count_list *counts,
                                            const struct berth_placement_host_list *hosts,
                                            struct arena *arena)
{
    struct diagnose_next next = {0};
    bool done[64] = {false};
    size_t count = MIN(counts->count, ARRAY_LEN(done));
    for (size_t round = 0; round < count; round++) {
        size_t most = SIZE_MAX;
        for (size_t i = 0; i < count; i++) {
            if (!done[i] && (most == SIZE_MAX ||
                             counts->items[i].host_count > counts->items[most].host_count)) {
                most = i;
            }
        }
        done[most] = true;
        suggest_for(style, &next, arena, cluster, counts->items[most].reason, hosts);
    }
    if (count == 0 && hosts->count == 0) {
        suggest(style, &next, arena, "node ls", "%s", "");
    }
    return next;
}

// Whether a text is one word for a shell, whatever a definition says an image is called.
static bool plain(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && !digit && strchr("._:/@-", byte) == NULL) {
            return false;
        }
    }
    return text.size > 0;
}

struct diagnose_next diagnose_next_of_task(const struct diagnose_style *style,
                                           const struct berth_explain_task_response *answer,
                                           struct arena *arena)
{
    struct diagnose_next next = {0};
    struct text task = answer->task->task_arn;
    struct text cluster = cli_short(answer->task->cluster_arn);
    struct text definition = cli_short(answer->task->task_definition_arn);
    struct text container = answer->container;
    switch (answer->cause) {
    case BERTH_TASK_CAUSE_RUNNING:
    case BERTH_TASK_CAUSE_STARTING:
    case BERTH_TASK_CAUSE_STOPPING:
    case BERTH_TASK_CAUSE_STOPPED_BY_USER:
        break;
    case BERTH_TASK_CAUSE_NOT_ACKNOWLEDGED:
    case BERTH_TASK_CAUSE_AGENT_LOST:
        suggest(style, &next, arena, "node ls", "%s", "");
        break;
    case BERTH_TASK_CAUSE_WAITING_FOR_CAPACITY:
        suggest(style, &next, arena, "capacity", "--cluster %.*s", TEXT_FMT(cluster));
        break;
    case BERTH_TASK_CAUSE_IMAGE_MISSING:
        suggest(style, &next, arena, "image load", "--name %.*s FILE",
                TEXT_FMT(plain(answer->image) ? answer->image : TEXT("NAME")));
        suggest(style, &next, arena, "image ls", "%s", "");
        break;
    case BERTH_TASK_CAUSE_CANNOT_PULL:
        suggest(style, &next, arena, "image ls", "%s", "");
        break;
    case BERTH_TASK_CAUSE_COMMAND_MISSING:
    case BERTH_TASK_CAUSE_CANNOT_START:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,image,entryPoint,command]'",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_SECRET_MISSING:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,secrets]'",
                TEXT_FMT(definition));
        suggest(style, &next, arena, "aws",
                "secretsmanager list-secrets --include-planned-deletion --query "
                "'SecretList[].[ARN,DeletedDate]'%s",
                "");
        suggest(style, &next, arena, "aws",
                "ssm describe-parameters --query 'Parameters[].[Name,Version]'%s", "");
        break;
    case BERTH_TASK_CAUSE_ENVIRONMENT_FILE_MISSING:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,environmentFiles,secrets]'",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_VOLUME_MISSING:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.[volumes,containerDefinitions[].[name,mountPoints]]'",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_HOOK_FAILED:
        suggest(style, &next, arena, "logs", "--cluster %.*s %.*s %.*s", TEXT_FMT(cluster),
                TEXT_FMT(cli_short(task)), TEXT_FMT(container));
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,dockerLabels]'",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_UNSUPPORTED:
        suggest(style, &next, arena, "aws", "ecs describe-task-definition --task-definition %.*s",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_PORT_TAKEN:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,portMappings]'",
                TEXT_FMT(definition));
        suggest(style, &next, arena, "ps", "--cluster %.*s", TEXT_FMT(cluster));
        break;
    case BERTH_TASK_CAUSE_OUT_OF_MEMORY:
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.[memory,containerDefinitions[].[name,memory]]'",
                TEXT_FMT(definition));
        suggest(style, &next, arena, "logs", "--cluster %.*s %.*s %.*s", TEXT_FMT(cluster),
                TEXT_FMT(cli_short(task)), TEXT_FMT(container));
        break;
    case BERTH_TASK_CAUSE_UNHEALTHY:
        suggest(style, &next, arena, "logs", "--cluster %.*s %.*s %.*s", TEXT_FMT(cluster),
                TEXT_FMT(cli_short(task)), TEXT_FMT(container));
        suggest(style, &next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s --query "
                "'taskDefinition.containerDefinitions[].[name,healthCheck]'",
                TEXT_FMT(definition));
        break;
    case BERTH_TASK_CAUSE_CONTAINER_EXITED:
    case BERTH_TASK_CAUSE_FINISHED:
        suggest(style, &next, arena, "logs", "--cluster %.*s %.*s %.*s", TEXT_FMT(cluster),
                TEXT_FMT(cli_short(task)), TEXT_FMT(container));
        break;
    case BERTH_TASK_CAUSE_FAILED_TO_START:
    case BERTH_TASK_CAUSE_HOST_FAILED:
    case BERTH_TASK_CAUSE_ABSENT:
    case BERTH_TASK_CAUSE_UNRECOGNIZED:
        suggest(style, &next, arena, "node ls", "%s", "");
        suggest(style, &next, arena, "doctor", "%s", "");
        break;
    }
    return next;
}
