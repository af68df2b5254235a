#include "agent/agent_internal.h"

#include "base/log.h"
#include "base/text.h"

// What became of tasks goes to the server as calls of SubmitTaskStateChange.

#define CALL_TIMEOUT_MS 10000
// Connections for reports, each of which costs a handshake and room in the server: when many tasks
// start, hundreds of reports are under way, and share these. Registering and asking for sessions
// have a client of their own, so that they never wait behind reports.
#define REPORT_CONNECTIONS 4
// Reports given to the client at once, so that its connections always have the next one; each takes
// 20 KiB there. The others wait as what they say, which is less than 1 KiB.
#define REPORT_CALLS_MAX 16

/** A report that waits or is under way. */
struct report_call {
    struct agent *agent;
    struct report_call *next;
    char task_id[ID_CHARS];
    int64_t report_id;
    struct ecs_submit_task_state_change_request *report; ///< owned; NULL once it is under way
};

static void unlink_report(struct report_call *call)
{
    struct report_call **at = &call->agent->reports.under_way;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    call->agent->reports.call_count--;
}

static void free_reports(struct report_call *first)
{
    struct report_call *next = NULL;
    for (struct report_call *call = first; call != NULL; call = next) {
        next = call->next;
        alloc_free(call->report);
        alloc_free(call);
    }
}

static void send_reports(struct agent *agent);

static void on_reported(void *context, const struct client_result *result)
{
    struct report_call *call = context;
    struct agent *agent = call->agent;
    unlink_report(call);
    enum agent_outcome outcome = AGENT_REPORT_ACCEPTED;
    if (result->rc != 0) {
        outcome = agent_server_may_pass(result) ? AGENT_REPORT_TRY_AGAIN : AGENT_REPORT_REFUSED;
    }
    if (outcome == AGENT_REPORT_REFUSED) {
        LOG(WARN, "the server refused what was reported of a task", LOG_STR("task", call->task_id),
            LOG_TXT("code", result->fault_code), LOG_TXT("reason", result->message));
    }
    agent_apply(agent, &(struct agent_event){.kind = AGENT_EVENT_REPORTED,
                                             .task_id = text_of(call->task_id),
                                             .report_id = call->report_id,
                                             .outcome = outcome});
    alloc_free(call);
    send_reports(agent);
    agent_check_stopped(agent);
}

static void send_report(struct report_call *call,
                        const struct ecs_submit_task_state_change_request *report)
{
    struct agent_reports *reports = &call->agent->reports;
    call->next = reports->under_way;
    reports->under_way = call;
    reports->call_count++;
    client_call(reports->client, &ecs_operations[ECS_OP_SUBMIT_TASK_STATE_CHANGE], report,
                CALL_TIMEOUT_MS, on_reported, call);
}

// As many of those that wait as there is room for, the oldest first.
static void send_reports(struct agent *agent)
{
    struct agent_reports *reports = &agent->reports;
    while (reports->first != NULL && reports->call_count < REPORT_CALLS_MAX && !agent->closed) {
        struct report_call *call = reports->first;
        reports->first = call->next;
        if (reports->first == NULL) {
            reports->last = NULL;
        }
        struct ecs_submit_task_state_change_request *report = call->report;
        call->report = NULL;
        send_report(call, report);
        alloc_free(report);
    }
}

static void keep_report(struct report_call *call,
                        const struct ecs_submit_task_state_change_request *report)
{
    struct agent_reports *reports = &call->agent->reports;
    call->report = shape_clone(&ecs_submit_task_state_change_request_shape, report, NULL);
    if (reports->last == NULL) {
        reports->first = call;
    } else {
        reports->last->next = call;
    }
    reports->last = call;
}

void agent_report(struct agent *agent, const struct agent_effect *effect)
{
    struct report_call *call = ALLOC(struct report_call);
    call->agent = agent;
    call->report_id = effect->report_id;
    agent_copy_id(effect->task_id, call->task_id);
    agent->report_count++;
    LOG(INFO, "reporting a task", LOG_STR("task", call->task_id),
        LOG_TXT("status", effect->report->status), LOG_TXT("reason", effect->report->reason));
    if (agent->reports.first == NULL && agent->reports.call_count < REPORT_CALLS_MAX) {
        send_report(call, effect->report);
    } else {
        keep_report(call, effect->report);
    }
}

int agent_reports_begin(struct agent *agent, const struct client_options *options, struct err *err)
{
    struct client_options several = *options;
    several.connection_max = REPORT_CONNECTIONS;
    return client_new(&several, &agent->reports.client, err);
}

void agent_reports_end(struct agent *agent)
{
    struct agent_reports *reports = &agent->reports;
    client_free(reports->client); // calls no callbacks any more
    free_reports(reports->under_way);
    free_reports(reports->first);
    *reports = (struct agent_reports){0};
}
