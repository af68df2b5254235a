#include "ecs/task_internal.h"

/*
 * Credentials of tasks' roles: which are due, to which node. What they are is made when a message
 * leaves the server, so nothing here is secret.
 *
 * A node gets those of a task behind the task itself, again until it acknowledged them, all of them
 * when it connects, and new ones for all of its tasks every TASK_CREDENTIALS_RENEW_MS.
 */

#define RESEND_MS 10000

enum credentials_step { CREDENTIALS_DUE, CREDENTIALS_SENT, CREDENTIALS_ACKNOWLEDGED };

// Places in task_entry.credentials.
enum { ROLE_TASK, ROLE_EXECUTION };

static const struct text role_types[TASK_ROLES] = {
    [ROLE_TASK] = TEXT("TaskApplication"),
    [ROLE_EXECUTION] = TEXT("TaskExecution"),
};

static struct text named_role(const struct core *core, const struct task_record_task *record,
                              int role)
{
    const struct ecs_task_override *overrides =
        record->extra == NULL ? NULL : record->extra->overrides;
    const struct ecs_task_definition *definition = task_definition(core, record->definition);
    struct text other = {0};
    if (overrides != NULL) {
        other = role == ROLE_TASK ? overrides->task_role_arn : overrides->execution_role_arn;
    }
    if (!text_empty(other)) {
        return other;
    }
    return role == ROLE_TASK ? definition->task_role_arn : definition->execution_role_arn;
}

// @return the ARN of one of a task's roles; absent when it has none
static struct text role_of(struct core_call *call, const struct task_record_task *record, int which)
{
    struct text role = named_role(call->core, record, which);
    if (text_empty(role) || text_starts(role, TEXT("arn:"))) {
        return role;
    }
    const struct ecs_record_cluster *cluster =
        core_get(call->core, &ecs_cluster_kind, record->cluster);
    return arena_format(call->arena, "arn:aws:iam::%.*s:role/%.*s",
                        TEXT_FMT(ecs_scope(call->core, cluster->realm).account), TEXT_FMT(role));
}

// The task's id in the form of a UUID, which ids of credentials have.
static struct text credentials_id(struct core_call *call, struct text task_id)
{
    return arena_format(
        call->arena, "%.*s-%.*s-%.*s-%.*s-%.*s", TEXT_FMT(text_slice(task_id, 0, 8)),
        TEXT_FMT(text_slice(task_id, 8, 12)), TEXT_FMT(text_slice(task_id, 12, 16)),
        TEXT_FMT(text_slice(task_id, 16, 20)), TEXT_FMT(text_slice(task_id, 20, 32)));
}

static bool wants(const struct task_record_task *record)
{
    return record->desired_status == TASK_RECORD_TASK_STATUS_RUNNING &&
           record->last_status < TASK_RECORD_TASK_STATUS_DEPROVISIONING;
}

static void look_at(struct core_call *call, struct task_node *node, int64_t at_ms)
{
    if (node->credentials_due_ms == 0 || at_ms < node->credentials_due_ms) {
        node->credentials_due_ms = at_ms;
        core_timer(call, &task_managers[TASK_MANAGER_CREDENTIALS], node->key, at_ms);
    }
}

static void send_role(struct core_call *call, struct task_node *node, struct task_entry *entry,
                      int which)
{
    const struct task_record_task *record = core_get(call->core, &task_kind, entry->key);
    struct text role = role_of(call, record, which);
    if (entry->credentials[which] == CREDENTIALS_ACKNOWLEDGED || !wants(record) ||
        text_empty(role)) {
        return;
    }
    struct text arn = task_arn(call, record);
    size_t slash = text_find_last(arn, '/');
    struct text id = credentials_id(call, text_slice(arn, slash + 1, arn.size));
    struct session_role_credentials credentials = {
        .credentials_id = id,
        .role_arn = role,
        .access_key_id = TEXT(""),
        .secret_access_key = TEXT(""),
        .session_token = TEXT(""),
        .expiration = TEXT(""),
    };
    const struct session_iam_role_credentials_message message = {
        .message_id = arena_format(call->arena, "%.*s-%lld", TEXT_FMT(id), (long long)call->now_ms),
        .task_arn = arn,
        .role_type = role_types[which],
        .role_credentials = &credentials,
    };
    core_effect(call, CORE_EFFECT_NODE, node->node_id, "IAMRoleCredentialsMessage",
                &session_iam_role_credentials_message_shape, &message);
    entry->credentials[which] = CREDENTIALS_SENT;
    look_at(call, node, call->now_ms + RESEND_MS);
}

// Berth's agent pulls and logs without the execution role; Amazon's asks Docker's drivers to use
// it.
void task_credentials_send(struct core_call *call, struct task_node *node, struct task_entry *entry)
{
    const struct task_record_node *record = core_get(call->core, &task_node_kind, node->key);
    send_role(call, node, entry, ROLE_TASK);
    if (!record->berth_agent) {
        send_role(call, node, entry, ROLE_EXECUTION);
    }
}

void task_credentials_connected(struct core_call *call, struct task_node *node)
{
    node->credentials_round_ms = call->now_ms;
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        for (int i = 0; i < TASK_ROLES; i++) {
            entry->credentials[i] = CREDENTIALS_DUE;
        }
    }
}

void task_credentials_work(struct core_call *call, void *state, int64_t key)
{
    struct task_node *node = task_node(state, key);
    if (node == NULL) {
        return;
    }
    node->credentials_due_ms = 0;
    if (!node->connected || node->removed) {
        return; // all are sent when it connects
    }
    if (call->now_ms >= node->credentials_round_ms + TASK_CREDENTIALS_RENEW_MS) {
        task_credentials_connected(call, node);
    }
    bool any = false;
    for (struct task_entry *entry = node->first; entry != NULL; entry = entry->next) {
        task_credentials_send(call, node, entry);
        for (int i = 0; i < TASK_ROLES; i++) {
            any = any || entry->credentials[i] != CREDENTIALS_DUE;
        }
    }
    if (any) {
        look_at(call, node, node->credentials_round_ms + TASK_CREDENTIALS_RENEW_MS);
    }
}

int task_credentials_ack(struct core_call *call, void *pointer, const void *input, void *output)
{
    (void)output;
    const struct node_node_credentials_ack_request *request = input;
    const struct task_state *state = pointer;
    struct task_node *node = task_node_of(state, call->caller->node_id);
    struct text rest = request->credentials_id;
    char id[32];
    size_t size = 0;
    for (size_t i = 0; i < rest.size && size < sizeof(id); i++) {
        if (rest.data[i] != '-') {
            id[size++] = rest.data[i];
        }
    }
    struct task_entry *entry = task_entry_by_id(state, (struct text){id, size});
    if (node != NULL && entry != NULL && entry->node == node) {
        bool execution = request->has_execution && request->execution;
        entry->credentials[execution ? ROLE_EXECUTION : ROLE_TASK] = CREDENTIALS_ACKNOWLEDGED;
    }
    return 0;
}
