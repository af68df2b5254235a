#include "ecs/diagnose.h"

#include <string.h>

/*
 * Causes are read off what a node reported, in the words of Amazon's agent that Berth's own uses
 * too.
 */

#define REASON_MAX 500 // of what a node said, in a summary

static bool has(struct text text, const char *part)
{
    size_t size = strlen(part);
    for (size_t i = 0; i + size <= text.size; i++) {
        if (memcmp(text.data + i, part, size) == 0) {
            return true;
        }
    }
    return false;
}

void diagnose_conclude(const struct diagnose_subject *subject, enum berth_task_cause cause,
                       bool failed, struct text summary)
{
    subject->response->cause = cause;
    subject->response->failed = failed;
    subject->response->summary = summary;
}

void diagnose_point_at(const struct diagnose_subject *subject, size_t container)
{
    subject->response->container = subject->definition->container_definitions.items[container].name;
    subject->response->image = subject->definition->container_definitions.items[container].image;
}

// ---- what a reason is made of -------------------------------------------------------------

// Point at the container whose name is the first in quotes.
static void point_at_quoted(const struct diagnose_subject *subject, struct text text)
{
    const struct ecs_container_definition_list *all = &subject->definition->container_definitions;
    struct text rest = text;
    IGNORE(text_empty(text_cut(&rest, '\'')), "the words before the name");
    struct text name = text_cut(&rest, '\'');
    for (size_t i = 0; i < all->count; i++) {
        if (text_equal(all->items[i].name, name)) {
            diagnose_point_at(subject, i);
        }
    }
}

// Nodes say which container it is: `ResourceInitializationError: container 'NAME': ...`.
static struct text rest_of(const struct diagnose_subject *subject, struct text reason)
{
    struct text rest = reason;
    IGNORE(text_empty(text_cut(&rest, ':')), "the error's name");
    rest = text_trim(rest.data == NULL ? reason : rest);
    if (!text_starts(rest, TEXT("container '"))) {
        return rest;
    }
    point_at_quoted(subject, rest);
    size_t colon = text_find(rest, ':');
    return colon == SIZE_MAX ? rest : text_trim(text_slice(rest, colon + 1, rest.size));
}

// What Docker's words say of the port: between the second colon, which ends the container's name,
// and the advice.
static struct text port_conflict(struct text reason)
{
    struct text rest = text_slice(reason, 0, text_find(reason, ';'));
    IGNORE(text_empty(text_cut(&rest, ':')), "the error's name");
    struct text endpoint = text_cut(&rest, ':');
    return text_trim(rest.data == NULL ? endpoint : rest);
}

// ---- what it says -------------------------------------------------------------------------

/** Words of which a sentence is made. */
struct words {
    struct text who;  ///< `Container NAME`, or `A container`
    struct text host; ///< the node's name
    struct text rest; ///< of the reason, behind the error's and the container's name
    struct text whole;
    struct text image;
    struct text name; ///< of the container
};

// Reasons by how they begin and by what they hold, tried in this order. In a sentence $w stands for
// who it is, $h for the host, $r for the rest of the reason, $a for all of it, $p for a port, $i
// for the image, $n for the container's name.
static const struct {
    const char *begin;
    const char *part;
    enum berth_task_cause cause;
    const char *sentence;
} known[] = {
    {"CannotPull", "not found", BERTH_TASK_CAUSE_IMAGE_MISSING,
     "$w needs the image $i, which is not on host $h."},
    {"CannotPull", "", BERTH_TASK_CAUSE_CANNOT_PULL,
     "$w needs the image $i, which host $h cannot use: $r"},
    {"CannotStart", "dependency '", BERTH_TASK_CAUSE_DEPENDENCY_FAILED,
     "$w was not started, as it depends on another: $r"},
    {"CannotStart", "post-start command", BERTH_TASK_CAUSE_HOOK_FAILED,
     "The command that $n has as its label berth.post-start failed."},
    {"CannotStart", "external connectivity", BERTH_TASK_CAUSE_PORT_TAKEN,
     "$w asks for a port of host $h that something else has: $p."},
    {"CannotStart", "executable file", BERTH_TASK_CAUSE_COMMAND_MISSING,
     "$w has a command that is not in its image: $r"},
    {"CannotStart", "o such file or directory", BERTH_TASK_CAUSE_COMMAND_MISSING,
     "$w has a command that is not in its image: $r"},
    {"CannotStart", "", BERTH_TASK_CAUSE_CANNOT_START, "$w cannot be started: $r"},
    {"CannotCreate", "no space left on device", BERTH_TASK_CAUSE_DISK_FULL,
     "Host $h has no room left on its disk: $r"},
    {"CannotCreate", "", BERTH_TASK_CAUSE_CANNOT_START, "$w cannot be started: $r"},
    {"OutOfMemory", "", BERTH_TASK_CAUSE_OUT_OF_MEMORY,
     "$w was killed because its memory was used up."},
    {"Fetching secret data", "", BERTH_TASK_CAUSE_SECRET_MISSING,
     "$w needs a secret that host $h cannot get: $a"},
    {"ResourceInitialization", "unable to pull secrets", BERTH_TASK_CAUSE_SECRET_MISSING,
     "$w needs a secret that host $h cannot get: $r"},
    {"ResourceInitialization", "No space left on device", BERTH_TASK_CAUSE_DISK_FULL,
     "Host $h has no room left on its disk: $r"},
    {"ResourceInitialization", "failed to download env files",
     BERTH_TASK_CAUSE_ENVIRONMENT_FILE_MISSING,
     "$w needs an environment file that host $h cannot read: $r"},
    {"ResourceInitialization", "which this version of Berth does not have",
     BERTH_TASK_CAUSE_UNSUPPORTED, "$w needs what host $h does not do: $r"},
    {"ResourceInitialization", "volume '", BERTH_TASK_CAUSE_VOLUME_MISSING,
     "$w needs a volume that host $h cannot give: $r"},
    {"ResourceInitialization", ": container '", BERTH_TASK_CAUSE_CANNOT_START,
     "$w cannot be made on host $h as its definition says: $r"},
    {"ResourceInitialization", "", BERTH_TASK_CAUSE_HOST_FAILED, "Something failed on host $h: $a"},
    {"ContainerRuntime", "", BERTH_TASK_CAUSE_HOST_FAILED, "Something failed on host $h: $a"},
    {"UnrecognizedTask", "", BERTH_TASK_CAUSE_HOST_FAILED, "Something failed on host $h: $a"},
};

static struct text word(const struct words *words, char letter)
{
    switch (letter) {
    case 'w':
        return words->who;
    case 'h':
        return words->host;
    case 'r':
        return text_slice(words->rest, 0, REASON_MAX);
    case 'a':
        return text_slice(words->whole, 0, REASON_MAX);
    case 'p':
        return port_conflict(words->whole);
    case 'i':
        return words->image;
    case 'n':
        return words->name;
    default:
        ASSERT(false);
        return (struct text){0};
    }
}

static struct text fill_in(const struct words *words, const char *sentence, struct arena *arena)
{
    AUTO(buf_deinit) struct buf out = {0};
    for (const char *at = sentence; *at != '\0'; at++) {
        if (*at == '$') {
            at++;
            buf_text(&out, word(words, *at));
        } else {
            buf_byte(&out, *at);
        }
    }
    return arena_text(arena, buf_view(&out));
}

bool diagnose_reason(struct core_call *call, const struct diagnose_subject *subject,
                     struct text reason)
{
    size_t row = 0;
    while (row < ARRAY_LEN(known) &&
           !(text_starts(reason, text_of(known[row].begin)) && has(reason, known[row].part))) {
        row++;
    }
    if (row == ARRAY_LEN(known)) {
        return false;
    }
    struct words words = {.host = subject->host, .whole = reason};
    words.rest = rest_of(subject, reason);
    words.image = subject->response->image;
    words.name = subject->response->container;
    words.who = words.name.data == NULL
                    ? TEXT("A container")
                    : arena_format(call->arena, "Container %.*s", TEXT_FMT(words.name));
    diagnose_conclude(subject, known[row].cause, true,
                      fill_in(&words, known[row].sentence, call->arena));
    if (known[row].cause == BERTH_TASK_CAUSE_DEPENDENCY_FAILED) {
        point_at_quoted(subject, words.rest); // that one is at fault
    }
    return true;
}
