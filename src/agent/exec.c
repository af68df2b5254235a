#include "agent/exec.h"

#include "base/text.h"

#include <signal.h>
#include <string.h>

#define SIGNAL_BASE 128 // a shell's way to tell a signal in an exit code
#define SIGNAL_LAST 64

bool exec_id_valid(struct text session_id)
{
    if (text_empty(session_id) || session_id.size > EXEC_ID_CHARS_MAX) {
        return false;
    }
    for (size_t i = 0; i < session_id.size; i++) {
        char byte = session_id.data[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
        if (!plain) {
            return false;
        }
    }
    return true;
}

// ---- words ----------------------------------------------------------------------------------

/** A line being split. Words are put together one behind the other in bytes. */
struct splitter {
    struct text rest;
    char *bytes; ///< as many as the line has
    size_t used;
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static char next_byte(struct splitter *splitter)
{
    char byte = splitter->rest.data[0];
    splitter->rest = text_slice(splitter->rest, 1, splitter->rest.size);
    return byte;
}

static void keep(struct splitter *splitter, char byte)
{
    splitter->bytes[splitter->used++] = byte;
}

static int take_single(struct splitter *splitter, struct err *err)
{
    while (splitter->rest.size > 0) {
        char byte = next_byte(splitter);
        if (byte == '\'') {
            return 0;
        }
        keep(splitter, byte);
    }
    return err_set(err, ERR_INVALID, "The command has a ' without its end.");
}

static int take_double(struct splitter *splitter, struct err *err)
{
    while (splitter->rest.size > 0) {
        char byte = next_byte(splitter);
        if (byte == '"') {
            return 0;
        }
        if (byte == '\\' && splitter->rest.size > 0) {
            char escaped = next_byte(splitter);
            bool special = escaped == '$' || escaped == '`' || escaped == '"' || escaped == '\\';
            if (!special && escaped != '\n') {
                keep(splitter, byte);
            }
            if (escaped != '\n') {
                keep(splitter, escaped);
            }
            continue;
        }
        keep(splitter, byte);
    }
    return err_set(err, ERR_INVALID, "The command has a \" without its end.");
}

static int take_escaped(struct splitter *splitter, struct err *err)
{
    if (splitter->rest.size == 0) {
        return err_set(err, ERR_INVALID, "The command ends with a \\ that escapes nothing.");
    }
    char byte = next_byte(splitter);
    if (byte != '\n') {
        keep(splitter, byte);
    }
    return 0;
}

static int take_word(struct splitter *splitter, struct text *out_word, struct err *err)
{
    size_t from = splitter->used;
    int rc = 0;
    while (rc == 0 && splitter->rest.size > 0 && !is_blank(splitter->rest.data[0])) {
        char byte = next_byte(splitter);
        if (byte == '\'') {
            rc = take_single(splitter, err);
        } else if (byte == '"') {
            rc = take_double(splitter, err);
        } else if (byte == '\\') {
            rc = take_escaped(splitter, err);
        } else {
            keep(splitter, byte);
        }
    }
    *out_word = (struct text){splitter->bytes + from, splitter->used - from};
    return rc;
}

static void skip_blanks(struct splitter *splitter)
{
    while (splitter->rest.size > 0 && is_blank(splitter->rest.data[0])) {
        splitter->rest = text_slice(splitter->rest, 1, splitter->rest.size);
    }
}

int exec_split(struct text command, struct arena *arena, struct text_list *out_words,
               struct err *err)
{
    if (command.size > EXEC_COMMAND_BYTES_MAX) {
        return err_set(err, ERR_INVALID, "The command is longer than %d bytes.",
                       EXEC_COMMAND_BYTES_MAX);
    }
    if (command.size > 0 && memchr(command.data, '\0', command.size) != NULL) {
        return err_set(err, ERR_INVALID, "The command holds a zero byte.");
    }
    struct splitter splitter = {.rest = command, .bytes = arena_alloc(arena, command.size + 1)};
    struct text_list list = {.items = arena_array(arena, EXEC_WORDS_MAX, sizeof(struct text))};
    for (skip_blanks(&splitter); splitter.rest.size > 0; skip_blanks(&splitter)) {
        if (list.count == EXEC_WORDS_MAX) {
            return err_set(err, ERR_INVALID, "The command has more than %d words.", EXEC_WORDS_MAX);
        }
        int rc = take_word(&splitter, &list.items[list.count], err);
        if (rc != 0) {
            return rc;
        }
        list.count++;
    }
    if (list.count == 0 || list.items[0].size == 0) {
        return err_set(err, ERR_INVALID, "The command names no program.");
    }
    *out_words = list;
    return 0;
}

// ---- who may --------------------------------------------------------------------------------

bool exec_container_runs(const struct agent_task_view *view, struct text container)
{
    const struct supervisor_state *state = view->state;
    for (size_t i = 0; state != NULL && i < state->containers.count; i++) {
        const struct supervisor_container_state *at = &state->containers.items[i];
        if (text_equal(at->name, container)) {
            // One that is being stopped still runs.
            return at->status == SUPERVISOR_STATUS_RUNNING ||
                   at->status == SUPERVISOR_STATUS_STOPPING;
        }
    }
    return false;
}

int exec_admit(const struct agent_task_view *view, struct text container, size_t session_count,
               size_t *out_index, struct err *err)
{
    if (view == NULL || view->ended || view->spec->definition == NULL) {
        return err_set(err, ERR_NOT_FOUND, "The task is not running.");
    }
    if (!view->spec->enable_execute_command) {
        return err_set(err, ERR_UNSUPPORTED, "The task was started without enableExecuteCommand.");
    }
    const struct ecs_container_definition_list *list =
        &view->spec->definition->container_definitions;
    size_t index = 0;
    while (index < list->count && !text_equal(list->items[index].name, container)) {
        index++;
    }
    if (index == list->count) {
        return err_set(err, ERR_NOT_FOUND, "The container %.*s does not exist in the task.",
                       TEXT_FMT(container));
    }
    if (!exec_container_runs(view, container)) {
        return err_set(err, ERR_NOT_FOUND, "The container %.*s is not running.",
                       TEXT_FMT(container));
    }
    if (session_count >= EXEC_SESSIONS_MAX) {
        return err_set(
            err, ERR_NO_ROOM,
            "The container %.*s has %d sessions already, which is the limit. Exit one of "
            "them and try again.",
            TEXT_FMT(container), EXEC_SESSIONS_MAX);
    }
    *out_index = index;
    return 0;
}

// ---- the end --------------------------------------------------------------------------------

static bool is_crash(int32_t exit_code)
{
    int32_t signal = exit_code - SIGNAL_BASE;
    // What a person does at a terminal is no crash: ^C, a hang-up, a reader that closed its pipe.
    return signal > 0 && signal <= SIGNAL_LAST && signal != SIGINT && signal != SIGHUP &&
           signal != SIGPIPE;
}

struct text exec_farewell(const struct exec_end *end, struct arena *arena)
{
    if (!end->has_exit_code && !text_empty(end->reason)) {
        return arena_format(arena, "Unable to start command: %.*s", TEXT_FMT(end->reason));
    }
    if (end->container_ended) {
        return TEXT("The container has stopped.");
    }
    if (end->has_exit_code && is_crash(end->exit_code)) {
        return arena_format(arena, "The command ended with exit code %d (signal %d).",
                            end->exit_code, end->exit_code - SIGNAL_BASE);
    }
    return TEXT("");
}
