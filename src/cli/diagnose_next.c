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
    return text.size > 0 && text_made_of(text, "._:/@-");
}

// What helps with a cause: rows of the same cause in the order in which they are told.
enum help {
    HELP_COMMAND,    // a command as it is
    HELP_AWS,        // the same, of the AWS CLI
    HELP_CLUSTER,    // the same, about the task's cluster
    HELP_LOGS,       // what the container wrote
    HELP_DEFINITION, // what the definition says, by a query
    HELP_IMAGE,      // how the image comes to the host
};

static const struct {
    enum berth_task_cause cause;
    enum help help;
    const char *words; ///< the command, or what is asked of the definition
} helps[] = {
    {BERTH_TASK_CAUSE_NOT_ACKNOWLEDGED, HELP_COMMAND, "node ls"},
    {BERTH_TASK_CAUSE_AGENT_LOST, HELP_COMMAND, "node ls"},
    {BERTH_TASK_CAUSE_WAITING_FOR_CAPACITY, HELP_CLUSTER, "capacity"},
    {BERTH_TASK_CAUSE_IMAGE_MISSING, HELP_IMAGE, NULL},
    {BERTH_TASK_CAUSE_IMAGE_MISSING, HELP_COMMAND, "image ls"},
    {BERTH_TASK_CAUSE_CANNOT_PULL, HELP_COMMAND, "image ls"},
    {BERTH_TASK_CAUSE_COMMAND_MISSING, HELP_DEFINITION,
     "containerDefinitions[].[name,image,entryPoint,command]"},
    {BERTH_TASK_CAUSE_CANNOT_START, HELP_DEFINITION,
     "containerDefinitions[].[name,image,entryPoint,command,user,workingDirectory,"
     "linuxParameters]"},
    {BERTH_TASK_CAUSE_DEPENDENCY_FAILED, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_DEPENDENCY_FAILED, HELP_DEFINITION,
     "containerDefinitions[].[name,dependsOn,startTimeout,healthCheck]"},
    {BERTH_TASK_CAUSE_DISK_FULL, HELP_COMMAND, "node ls"},
    {BERTH_TASK_CAUSE_DISK_FULL, HELP_COMMAND, "image ls"},
    {BERTH_TASK_CAUSE_DISK_FULL, HELP_COMMAND, "doctor"},
    {BERTH_TASK_CAUSE_SECRET_MISSING, HELP_DEFINITION, "containerDefinitions[].[name,secrets]"},
    {BERTH_TASK_CAUSE_SECRET_MISSING, HELP_AWS,
     "secretsmanager list-secrets --include-planned-deletion --query "
     "'SecretList[].[ARN,DeletedDate]'"},
    {BERTH_TASK_CAUSE_SECRET_MISSING, HELP_AWS,
     "ssm describe-parameters --query 'Parameters[].[Name,Version]'"},
    {BERTH_TASK_CAUSE_ENVIRONMENT_FILE_MISSING, HELP_DEFINITION,
     "containerDefinitions[].[name,environmentFiles,secrets]"},
    {BERTH_TASK_CAUSE_VOLUME_MISSING, HELP_DEFINITION,
     "[volumes,containerDefinitions[].[name,mountPoints]]"},
    {BERTH_TASK_CAUSE_HOOK_FAILED, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_HOOK_FAILED, HELP_DEFINITION, "containerDefinitions[].[name,dockerLabels]"},
    {BERTH_TASK_CAUSE_UNSUPPORTED, HELP_DEFINITION, NULL},
    {BERTH_TASK_CAUSE_PORT_TAKEN, HELP_DEFINITION, "containerDefinitions[].[name,portMappings]"},
    {BERTH_TASK_CAUSE_PORT_TAKEN, HELP_CLUSTER, "ps"},
    {BERTH_TASK_CAUSE_OUT_OF_MEMORY, HELP_DEFINITION,
     "[memory,containerDefinitions[].[name,memory]]"},
    {BERTH_TASK_CAUSE_OUT_OF_MEMORY, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_UNHEALTHY, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_UNHEALTHY, HELP_DEFINITION, "containerDefinitions[].[name,healthCheck]"},
    {BERTH_TASK_CAUSE_CONTAINER_EXITED, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_FINISHED, HELP_LOGS, NULL},
    {BERTH_TASK_CAUSE_FAILED_TO_START, HELP_COMMAND, "node ls"},
    {BERTH_TASK_CAUSE_FAILED_TO_START, HELP_COMMAND, "doctor"},
    {BERTH_TASK_CAUSE_HOST_FAILED, HELP_COMMAND, "node ls"},
    {BERTH_TASK_CAUSE_HOST_FAILED, HELP_COMMAND, "doctor"},
};

static void suggest_help(const struct diagnose_style *style, struct diagnose_next *next,
                         struct arena *arena, const struct berth_explain_task_response *answer,
                         size_t row)
{
    struct text cluster = cli_short(answer->task->cluster_arn);
    struct text definition = cli_short(answer->task->task_definition_arn);
    const char *words = helps[row].words;
    switch (helps[row].help) {
    case HELP_COMMAND:
        suggest(style, next, arena, words, "%s", "");
        return;
    case HELP_AWS:
        suggest(style, next, arena, "aws", "%s", words);
        return;
    case HELP_CLUSTER:
        suggest(style, next, arena, words, "--cluster %.*s", TEXT_FMT(cluster));
        return;
    case HELP_LOGS:
        suggest(style, next, arena, "logs", "--cluster %.*s %.*s %.*s", TEXT_FMT(cluster),
                TEXT_FMT(cli_short(answer->task->task_arn)), TEXT_FMT(answer->container));
        return;
    case HELP_DEFINITION:
        suggest(style, next, arena, "aws",
                "ecs describe-task-definition --task-definition %.*s%s%s%s", TEXT_FMT(definition),
                words == NULL ? "" : " --query 'taskDefinition.", words == NULL ? "" : words,
                words == NULL ? "" : "'");
        return;
    case HELP_IMAGE:
        suggest(style, next, arena, "image load", "--name %.*s FILE",
                TEXT_FMT(plain(answer->image) ? answer->image : TEXT("NAME")));
        return;
    }
}

struct diagnose_next diagnose_next_of_task(const struct diagnose_style *style,
                                           const struct berth_explain_task_response *answer,
                                           struct arena *arena)
{
    struct diagnose_next next = {0};
    for (size_t i = 0; i < ARRAY_LEN(helps); i++) {
        if (helps[i].cause == answer->cause) {
            suggest_help(style, &next, arena, answer, i);
        }
    }
    return next;
}
