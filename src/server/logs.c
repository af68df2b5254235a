#include "api/berth.h"
#include "base/text.h"
#include "server/server_internal.h"

/*
 * GetTaskLogs: what a container wrote is on its node, so the server asks there and answers when
 * the node did. A question that may wait for more is asked again until there is something.
 */

#define ANSWER_MS 5000   // a node reads a file and replies
#define ASK_AGAIN_MS 200 // while a caller waits for more output
#define LIMIT_DEFAULT 65536
#define QUESTIONS_MAX 1000 // people who follow logs at the same time

struct log_question {
    struct log_question *next;
    struct exchange *exchange;
    uint64_t id;
    struct text node_id; // these borrow from the exchange's arena
    struct text task_arn;
    struct text container;
    int64_t offset;
    int32_t limit;
    uint64_t deadline_ms; // until when an answer without output is asked again
    uint64_t due_ms;      // when to ask again, or give up
    bool asked;
};

static uint64_t now_ms(const struct server *server)
{
    return uv_now(server->options.loop);
}

static void unlink_question(struct log_question *question)
{
    struct log_question **at = &question->exchange->server->questions;
    while (*at != question) {
        at = &(*at)->next;
    }
    *at = question->next;
    question->exchange->question = NULL;
}

static void refuse(struct exchange *exchange, const struct api_error *error, struct text message)
{
    struct refusal refusal = refusal_modelled(error, message);
    dispatch_refuse(exchange, &refusal);
}

// The question lives in the exchange's arena, so the reply is the last thing done with it.
static void fail(struct log_question *question, struct text message)
{
    struct exchange *exchange = question->exchange;
    unlink_question(question);
    refuse(exchange, &berth_error_resource_not_found_exception, message);
}

static void fail_away(struct log_question *question)
{
    fail(question, arena_format(&question->exchange->arena,
                                "Node %.*s, which holds the output of task %.*s, is not connected. "
                                "The output can be read when it is back.",
                                TEXT_FMT(question->node_id), TEXT_FMT(question->task_arn)));
}

static void fail_docker(struct log_question *question)
{
    fail(
        question,
        arena_format(&question->exchange->arena,
                     "Node %.*s has Amazon's container agent: the output of task %.*s is Docker's. "
                     "Read it on that host with docker logs, or give the containers a log driver "
                     "that sends it elsewhere.",
                     TEXT_FMT(question->node_id), TEXT_FMT(question->task_arn)));
}

static void ask(struct log_question *question)
{
    struct server *server = question->exchange->server;
    if (server_sessions_stock(server->sessions, question->node_id)) {
        fail_docker(question);
        return;
    }
    question->id = ++server->question_id;
    question->asked = true;
    question->due_ms = now_ms(server) + ANSWER_MS;
    const struct session_logs_request request = {
        .request_id =
            arena_format(&question->exchange->arena, "%llu", (unsigned long long)question->id),
        .task_arn = question->task_arn,
        .container = question->container,
        .has_offset = true,
        .offset = question->offset,
        .has_limit = true,
        .limit = question->limit,
    };
    if (!server_sessions_send(server->sessions, question->node_id, "LogsRequest",
                              &session_logs_request_shape, &request)) {
        fail_away(question);
    }
}

static size_t question_count(const struct server *server)
{
    size_t count = 0;
    for (const struct log_question *at = server->questions; at != NULL; at = at->next) {
        count++;
    }
    return count;
}

void logs_request(struct exchange *exchange, const void *request)
{
    const struct berth_get_task_logs_request *in = request;
    struct server *server = exchange->server;
    if (question_count(server) >= QUESTIONS_MAX) {
        struct refusal refusal = refusal_front(
            FRONT_THROTTLING, TEXT("Rate exceeded: too many requests wait for output of tasks."));
        dispatch_refuse(exchange, &refusal);
        return;
    }
    struct log_question *question = ARENA_NEW(&exchange->arena, struct log_question);
    bool stopped = false;
    struct text node_id = {0};
    struct text task_arn = {0};
    if (server->options.locate(server->core, exchange->caller.account, exchange->caller.region,
                               in->cluster, in->task, &node_id, &task_arn, &stopped) != 0) {
        refuse(exchange, &berth_error_resource_not_found_exception,
               arena_format(&exchange->arena,
                            "There is no task '%.*s' in cluster '%.*s' that was given to a node.",
                            TEXT_FMT(in->task),
                            TEXT_FMT(in->cluster.data == NULL ? TEXT("default") : in->cluster)));
        return;
    }
    *question = (struct log_question){
        .next = server->questions,
        .exchange = exchange,
        .node_id = arena_text(&exchange->arena, node_id),
        .task_arn = arena_text(&exchange->arena, task_arn),
        .container = in->container,
        .offset = in->has_offset ? in->offset : -1,
        .limit = in->has_limit ? in->limit : LIMIT_DEFAULT,
        .deadline_ms = now_ms(server) + (in->has_wait_ms ? (uint64_t)in->wait_ms : 0),
    };
    server->questions = question;
    exchange->question = question;
    ask(question);
}

static void answer(struct log_question *question, const struct session_logs_reply *reply)
{
    struct exchange *exchange = question->exchange;
    if (reply->error.data != NULL) {
        fail(question, arena_text(&exchange->arena, reply->error));
        return;
    }
    bool empty = text_empty(reply->data);
    if (empty && !reply->ended && now_ms(exchange->server) < question->deadline_ms) {
        question->offset = reply->has_next_offset ? reply->next_offset : question->offset;
        question->asked = false;
        question->due_ms = now_ms(exchange->server) + ASK_AGAIN_MS;
        return;
    }
    const struct berth_get_task_logs_response response = {
        .data = reply->data,
        .has_next_offset = true,
        .next_offset = reply->next_offset,
        .has_ended = true,
        .ended = reply->ended,
        .container = reply->container.data == NULL ? TEXT("") : reply->container,
    };
    unlink_question(question);
    dispatch_respond(exchange, &response);
}

void logs_reply(struct server *server, struct text node_id, const struct session_logs_reply *reply)
{
    uint64_t id = 0;
    if (text_to_u64(reply->request_id, &id) != 0) {
        return;
    }
    for (struct log_question *at = server->questions; at != NULL; at = at->next) {
        // A node answers its own questions only, and late answers go nowhere.
        if (at->id == id && at->asked && text_equal(at->node_id, node_id)) {
            answer(at, reply);
            return;
        }
    }
}

void logs_tick(struct server *server)
{
    uint64_t now = now_ms(server);
    struct log_question *next = NULL;
    for (struct log_question *at = server->questions; at != NULL; at = next) {
        next = at->next;
        if (now < at->due_ms) {
            continue;
        }
        if (!at->asked) {
            ask(at);
        } else {
            fail(at,
                 arena_format(&at->exchange->arena, "Node %.*s did not answer within %d seconds.",
                              TEXT_FMT(at->node_id), ANSWER_MS / 1000));
        }
    }
}

void logs_cancel(struct exchange *exchange)
{
    if (exchange->question != NULL) {
        unlink_question(exchange->question);
    }
}

void logs_node_gone(struct server *server, struct text node_id)
{
    struct log_question *next = NULL;
    for (struct log_question *at = server->questions; at != NULL; at = next) {
        next = at->next;
        if (text_equal(at->node_id, node_id)) {
            fail_away(at);
        }
    }
}

void logs_stop(struct server *server)
{
    while (server->questions != NULL) {
        struct exchange *exchange = server->questions->exchange;
        unlink_question(server->questions);
        struct refusal refusal = refusal_front(FRONT_UNAVAILABLE, TEXT("The server is stopping."));
        dispatch_refuse(exchange, &refusal);
    }
}
