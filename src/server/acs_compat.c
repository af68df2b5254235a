#include "server/acs_compat.h"

#include "acs/acs.h"
#include "api/berth.h"
#include "api/ecs.h"
#include "base/clock.h"
#include "base/text.h"
#include "identity/identity.h"
#include "server/role.h"
#include "shape/json.h"

#include <string.h>

#define TASK_ROLE TEXT("TaskApplication")
#define EXECUTION_ROLE TEXT("TaskExecution")

// ---- names ------------------------------------------------------------------------------------

static struct text last_name(struct text arn)
{
    return text_slice(arn, text_find_last(arn, '/') + 1, arn.size);
}

// The cluster of arn:aws:ecs:REGION:ACCOUNT:KIND/CLUSTER/ID, absent in another ARN.
static struct text cluster_of(struct text arn, struct arena *arena)
{
    size_t first = text_find(arn, '/');
    size_t last = text_find_last(arn, '/');
    size_t colon = text_find_last(arn, ':');
    if (first == last || colon == SIZE_MAX || colon > first) {
        return (struct text){0};
    }
    return arena_format(arena, "%.*s:cluster/%.*s", TEXT_FMT(text_slice(arn, 0, colon)),
                        TEXT_FMT(text_slice(arn, first + 1, last)));
}

// ---- credentials ------------------------------------------------------------------------------

static struct text signing_key(const struct session *session)
{
    return identity_signing_key(session->sessions->server->core);
}

// Containers of other tasks share the agent's endpoint, which gives credentials to whoever names
// them. A task's id is shown by the API, so it cannot be the name.
static struct text secret_name(const struct session *session, struct text task_arn,
                               struct text role, struct arena *arena)
{
    char id[ROLE_ID_CHARS + 1];
    role_credentials_id(signing_key(session), last_name(task_arn), role, id);
    return arena_text(arena, text_of(id));
}

static struct session_role_credentials *mint(const struct session *session, struct text task_arn,
                                             struct text role_arn, struct text role,
                                             struct arena *arena)
{
    if (text_empty(role_arn) || text_empty(signing_key(session))) {
        return NULL;
    }
    struct session_role_credentials wanted = {
        .credentials_id = secret_name(session, task_arn, role, arena), .role_arn = role_arn};
    const struct session_iam_role_credentials_message asked = {
        .task_arn = task_arn, .role_type = role, .role_credentials = &wanted};
    return role_mint(signing_key(session), &asked, clock_wall_ms(), arena);
}

// Overrides may name a role without its ARN.
static struct text role_arn(const struct session_task_spec *spec, struct text role,
                            struct arena *arena)
{
    if (text_empty(role) || text_starts(role, TEXT("arn:"))) {
        return role;
    }
    return arena_format(arena, "arn:aws:iam::%.*s:role/%.*s", TEXT_FMT(spec->account),
                        TEXT_FMT(role));
}

static struct acs_private credentials_of(const struct session *session,
                                         const struct session_task_spec *spec, struct arena *arena)
{
    if (spec->definition == NULL) {
        return (struct acs_private){0};
    }
    return (struct acs_private){
        .task = mint(session, spec->task_arn,
                     role_arn(spec, spec->definition->task_role_arn, arena), TASK_ROLE, arena),
        .execution = mint(session, spec->task_arn,
                          role_arn(spec, spec->definition->execution_role_arn, arena),
                          EXECUTION_ROLE, arena),
    };
}

void acs_compat_credentials_ack(struct session *session, struct text credentials_id)
{
    static const bool execution[] = {false, true};
    for (size_t i = 0; i < ARRAY_LEN(execution); i++) {
        char task_id[ROLE_TASK_CHARS + 1];
        // The other role's gives the id of no task, which the engine does not know.
        if (text_empty(signing_key(session)) ||
            role_credentials_task(signing_key(session), credentials_id,
                                  execution[i] ? EXECUTION_ROLE : TASK_ROLE, task_id) != 0) {
            continue;
        }
        const struct node_node_credentials_ack_request request = {
            .credentials_id = text_of(task_id),
            .has_execution = true,
            .execution = execution[i],
        };
        session_tell_lightly(session, NODE_OP_NODE_CREDENTIALS_ACK, &request);
    }
}

// ---- secrets ----------------------------------------------------------------------------------

static bool has_secrets(const struct ecs_task_definition *definition)
{
    bool any = false;
    for (size_t i = 0; definition != NULL && i < definition->container_definitions.count; i++) {
        any = any || definition->container_definitions.items[i].secrets.count > 0;
    }
    return any;
}

// The node says that the task ended: it would have found out by asking for the secrets itself.
static void tell_stopped(struct session *session, struct text task_arn, struct text reason,
                         struct arena *arena)
{
    const struct api_operation *described = &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE];
    const struct ecs_submit_task_state_change_request request = {
        .task = task_arn, .status = TEXT("STOPPED"), .reason = reason};
    struct ecs_submit_task_state_change_response response = {0};
    struct core_call call = {.arena = arena};
    IGNORE(host_request(session->sessions->server->options.host, &session->caller, described, &call,
                        &request, &response),
           "the engine sends the task again");
}

// Amazon's agent would ask AWS for them, so it gets the values, as variables.
// @return whether the task may be sent
static bool read_secrets(struct session *session, const struct session_task_spec *spec,
                         struct arena *arena, struct berth_task_secret_list *out_secrets)
{
    const struct api_operation *described = &berth_operations[BERTH_OP_GET_TASK_SECRETS];
    const struct berth_get_task_secrets_request request = {.task = spec->task_arn};
    struct berth_get_task_secrets_response response = {0};
    struct core_call call = {.arena = arena};
    int rc = host_request(session->sessions->server->options.host, &session->caller, described,
                          &call, &request, &response);
    if (rc == 0 && response.reason.data != NULL) {
        tell_stopped(session, spec->task_arn, response.reason, arena);
        return false;
    }
    *out_secrets = response.secrets;
    return rc == 0; // else it is not to run any more, or is sent again
}

// ---- messages ---------------------------------------------------------------------------------

static bool send_payload(struct session *session, const void *message, struct arena *arena)
{
    const struct session_payload_message *from = message;
    struct acs_payload_message to = {
        .message_id = from->message_id,
        .cluster_arn = from->cluster_arn,
        .container_instance_arn = from->container_instance_arn,
        .has_seq_num = true,
        .seq_num = from->seq_num,
        .has_generated_at = true,
        .generated_at = from->generated_at,
    };
    bool secret = false;
    to.tasks.items = arena_array(arena, from->tasks.count, sizeof(*to.tasks.items));
    for (size_t i = 0; i < from->tasks.count; i++) {
        const struct session_task_spec *spec = &from->tasks.items[i];
        struct acs_private given = credentials_of(session, spec, arena);
        if (has_secrets(spec->definition)) {
            secret = true;
            if (!read_secrets(session, spec, arena, &given.secrets)) {
                continue;
            }
        }
        acs_task(spec, &given, arena, &to.tasks.items[to.tasks.count]);
        to.tasks.count++;
    }
    if (to.tasks.count == 0) {
        return true;
    }
    return (secret ? session_send_durable : session_send)(session, "PayloadMessage",
                                                          &acs_payload_message_shape, &to);
}

static struct acs_task_identifier_list identifiers(const struct session_manifest_task_list *from,
                                                   struct arena *arena)
{
    struct acs_task_identifier_list to = {
        .items =
            from->count == 0 ? SHAPE_EMPTY : arena_array(arena, from->count, sizeof(*to.items)),
        .count = from->count};
    for (size_t i = 0; i < from->count; i++) {
        to.items[i] = (struct acs_task_identifier){
            .task_arn = from->items[i].task_arn,
            .task_cluster_arn = cluster_of(from->items[i].task_arn, arena),
            .desired_status = from->items[i].desired_status,
        };
    }
    return to;
}

static bool send_manifest(struct session *session, const void *message, struct arena *arena)
{
    const struct session_task_manifest_message *from = message;
    const struct acs_task_manifest_message to = {
        .message_id = from->message_id,
        .cluster_arn = cluster_of(from->container_instance_arn, arena),
        .container_instance_arn = from->container_instance_arn,
        .tasks = identifiers(&from->tasks, arena),
        .has_timeline = true,
        .timeline = from->timeline,
        .has_generated_at = true,
        .generated_at = clock_wall_ms(),
    };
    return session_send(session, "TaskManifestMessage", &acs_task_manifest_message_shape, &to);
}

static bool send_stop_ack(struct session *session, const void *message, struct arena *arena)
{
    const struct session_task_stop_verification_ack *from = message;
    const struct acs_task_stop_verification_ack to = {
        .message_id = from->message_id,
        .stop_tasks = identifiers(&from->stop_tasks, arena),
        .has_generated_at = true,
        .generated_at = from->generated_at,
    };
    return session_send(session, "TaskStopVerificationAck", &acs_task_stop_verification_ack_shape,
                        &to);
}

// Their keys were minted on the way here; only their name is another.
static bool send_credentials(struct session *session, const void *message, struct arena *arena)
{
    struct session_iam_role_credentials_message to =
        *(const struct session_iam_role_credentials_message *)message;
    struct session_role_credentials credentials = *to.role_credentials;
    credentials.credentials_id = secret_name(session, to.task_arn, to.role_type, arena);
    to.role_credentials = &credentials;
    return session_send(session, ROLE_MESSAGE, &session_iam_role_credentials_message_shape, &to);
}

static const struct {
    const char *type;
    bool (*send)(struct session *session, const void *message, struct arena *arena);
} outgoing[] = {
    {"PayloadMessage", send_payload},
    {"TaskManifestMessage", send_manifest},
    {"TaskStopVerificationAck", send_stop_ack},
    {ROLE_MESSAGE, send_credentials},
};

bool acs_compat_send(struct session *session, const char *type, const struct shape_type *shape,
                     const void *message)
{
    (void)shape;
    AUTO(arena_deinit) struct arena arena = {0};
    for (size_t i = 0; i < ARRAY_LEN(outgoing); i++) {
        if (strcmp(outgoing[i].type, type) == 0) {
            return outgoing[i].send(session, message, &arena);
        }
    }
    return false;
}

// ---- refusals ---------------------------------------------------------------------------------

void acs_compat_refusal(const struct refusal *refusal, struct buf *out)
{
    static const struct {
        const char *code;
        const char *name; // of the agent's errors
    } names[] = {
        {"InactiveInstanceException", "InactiveInstanceException"},
        {"ResourceNotFoundException", "InvalidInstanceException"},
        {"ThrottlingException", "ServerException"},
        {"ServiceUnavailableException", "ServerException"},
        {"BadRequestException", "BadRequestException"},
        {"NotFoundException", "BadRequestException"},
    };
    const char *name = "AccessDeniedException"; // of all that is about keys and signatures
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(refusal->code, names[i].code) == 0) {
            name = names[i].name;
        }
    }
    buf_byte(out, '{');
    json_quote(text_of(name), out);
    buf_byte(out, ':');
    json_quote(refusal->message, out);
    buf_byte(out, '}');
}
