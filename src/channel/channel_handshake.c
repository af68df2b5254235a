#include "api/channel.h"
#include "base/text.h"
#include "channel/channel_internal.h"
#include "shape/json.h"

#define VERSION "1.2.0.0" // of the protocol's programs; clients look that it is not too old
#define EXIT_CODE_ACTION "ExitCode" // what our own clients say that they do, unasked

void channel_ask_handshake(struct channel *channel, int64_t now_ms)
{
    struct channel_client_action action = {
        .action_type = TEXT("SessionType"),
        .action_parameters = TEXT("{\"SessionType\":\"InteractiveCommands\",\"Properties\":{}}"),
    };
    const struct channel_handshake_request request = {
        .agent_version = TEXT(VERSION),
        .requested_client_actions = {.items = &action, .count = 1},
    };
    channel_put_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_REQUEST,
                      &channel_handshake_request_shape, &request);
}

void channel_become_ready(struct channel *channel)
{
    if (!channel->ready) {
        channel->ready = true;
        channel->handlers.ready(channel->handlers.context);
    }
}

int channel_answer_handshake(struct channel *channel, int64_t now_ms, struct text payload,
                             struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_handshake_request request = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_handshake_request_shape, payload, &arena, &request, &error) != 0) {
        return err_set(err, ERR_INVALID, "the handshake cannot be read: %s", error.text);
    }
    size_t count = request.requested_client_actions.count;
    struct channel_processed_client_action *done = arena_array(&arena, count + 1, sizeof(*done));
    for (size_t i = 0; i < count; i++) {
        struct text type = request.requested_client_actions.items[i].action_type;
        bool known = text_is(type, "SessionType");
        done[i] = (struct channel_processed_client_action){
            .action_type = type,
            .has_action_status = true,
            .action_status = known ? 1 : 3,
            .error = known ? (struct text){0} : TEXT("This client cannot do that."),
        };
    }
    done[count] = (struct channel_processed_client_action){
        .action_type = TEXT(EXIT_CODE_ACTION), .has_action_status = true, .action_status = 1};
    const struct channel_handshake_response response = {
        .client_version = TEXT(VERSION),
        .processed_client_actions = {.items = done, .count = count + 1},
    };
    channel_put_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_RESPONSE,
                      &channel_handshake_response_shape, &response);
    return 0;
}

int channel_finish_handshake(struct channel *channel, int64_t now_ms, struct text payload,
                             struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct channel_handshake_response response = {0};
    struct shape_error error = {0};
    if (json_decode(&channel_handshake_response_shape, payload, &arena, &response, &error) != 0) {
        return err_set(err, ERR_INVALID, "the client's handshake cannot be read: %s", error.text);
    }
    for (size_t i = 0; i < response.processed_client_actions.count; i++) {
        const struct channel_processed_client_action *action =
            &response.processed_client_actions.items[i];
        if (action->action_status != 1) {
            return err_set(err, ERR_INVALID, "the client refused the action '%.*s': %.*s",
                           TEXT_FMT(action->action_type), TEXT_FMT(action->error));
        }
        channel->takes_exit_code |= text_is(action->action_type, EXIT_CODE_ACTION);
    }
    const struct channel_handshake_complete complete = {
        .has_handshake_time_to_complete = true,
        .handshake_time_to_complete = MAX(now_ms - channel->opened_ms, (int64_t)0) * 1000000,
        .customer_message = TEXT(""),
    };
    channel_put_shape(channel, now_ms, MESSAGE_PAYLOAD_HANDSHAKE_COMPLETE,
                      &channel_handshake_complete_shape, &complete);
    channel_become_ready(channel);
    return 0;
}

bool channel_takes_exit_code(const struct channel *channel)
{
    return channel->takes_exit_code;
}
