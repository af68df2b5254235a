#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What containers wrote. A supervisor writes to one file and, once that is full, renames it and
 * begins another; one older part is kept.
 *
 * An offset names a part, by what identifies its file, and a place in it. So a reader goes on where
 * it was, whatever was renamed meanwhile and whichever agent answers: it is opaque to readers, but
 * for 0 (the oldest byte there is) and -1 (the last bytes).
 */

#define READ_MAX (512 << 10) // a reply is base64 in JSON: far below a frame
#define POSITION_BITS 40
#define MARK_MASK 0x3fffff // so that an offset is never negative

/** One of the two files. */
struct part {
    int fd; ///< -1: there is none
    int64_t mark;
    int64_t size;
};

static void part_close(struct part *part)
{
    fd_close(part->fd);
}
AUTO_VALUE(struct part, part_close)

// What tells a file from the others of its name. The inode alone does not: that of the file which
// was just removed is often given to the next one.
static int64_t make_mark(const struct statx *status)
{
    uint64_t parts[3] = {status->stx_ino, 0, 0};
    if ((status->stx_mask & STATX_BTIME) != 0) {
        parts[1] = (uint64_t)status->stx_btime.tv_sec;
        parts[2] = status->stx_btime.tv_nsec;
    }
    uint64_t hash = text_hash((struct text){(const char *)parts, sizeof(parts)});
    return MAX((int64_t)((hash ^ hash >> 32) & MARK_MASK), (int64_t)1);
}

static struct part part_open(const char *path)
{
    struct part part = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct statx status;
    if (part.fd < 0) {
        return part;
    }
    if (statx(part.fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status) != 0 ||
        !S_ISREG(status.stx_mode)) {
        fd_close(part.fd);
        return (struct part){.fd = -1};
    }
    part.mark = make_mark(&status);
    part.size = (int64_t)status.stx_size;
    return part;
}

static char *arena_copy(struct arena *arena, struct text text)
{
    char *copy = arena_alloc(arena, text.size + 1);
    memcpy(copy, text.data, text.size);
    return copy;
}

/** Where to read: in the older part, or in the newer one. */
struct place {
    bool in_older;
    int64_t position;
};

static struct place find_place(const struct part *older, const struct part *newer, int64_t offset,
                               int64_t limit)
{
    if (offset < 0) {
        int64_t missing = limit - newer->size;
        bool reach = missing > 0 && older->fd >= 0;
        return reach ? (struct place){true, MAX(older->size - missing, (int64_t)0)}
                     : (struct place){false, MAX(newer->size - limit, (int64_t)0)};
    }
    int64_t mark = offset >> POSITION_BITS;
    int64_t position = offset & ((INT64_C(1) << POSITION_BITS) - 1);
    if (mark != 0 && mark == newer->mark) {
        return (struct place){false, MIN(position, newer->size)};
    }
    if (mark != 0 && older->fd >= 0 && mark == older->mark) {
        return (struct place){true, MIN(position, older->size)};
    }
    // From the start; or what was read last is gone, and the oldest there is comes next.
    return (struct place){older->fd >= 0, mark == 0 ? position : 0};
}

// Read from one part. @return how much, or -1
static int64_t read_part(const struct part *part, int64_t position, char *to, int64_t size)
{
    int64_t done = 0;
    while (done < size) {
        ssize_t got = pread(part->fd, to + done, (size_t)(size - done), (off_t)(position + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += got;
    }
    return done;
}

static void read_output(struct job *job, const char *path)
{
    struct session_logs_reply *reply = job->logs_reply;
    AUTO(alloc_string) char *older_path = alloc_format("%s.1", path);
    // The newer first: when it becomes the older between the two, nothing is missed.
    AUTO(part_close) struct part newer = part_open(path);
    AUTO(part_close) struct part older = part_open(older_path);
    if (newer.fd < 0) {
        reply->error = TEXT("The container has not written anything, or its output is not kept on "
                            "the node any more.");
        return;
    }
    if (older.fd >= 0 && older.mark == newer.mark) {
        fd_close(older.fd);
        older.fd = -1;
    }
    int64_t limit = MIN((int64_t)job->logs_request->limit, (int64_t)READ_MAX);
    struct place place = find_place(&older, &newer, job->logs_request->offset, limit);
    char *bytes = arena_alloc(&job->arena, (size_t)limit + 1);
    int64_t size = 0;
    if (place.in_older) {
        size = read_part(&older, place.position, bytes, limit);
        if (size >= 0 && size < limit) {
            place = (struct place){false, 0};
        } else {
            place.position += MAX(size, (int64_t)0);
        }
    }
    if (size >= 0 && !place.in_older) {
        int64_t got = read_part(&newer, place.position, bytes + size, limit - size);
        place.position += MAX(got, (int64_t)0);
        size = got < 0 ? -1 : size + got;
    }
    if (size < 0) {
        reply->error = arena_format(&job->arena, "Reading the output failed: %s.", strerror(errno));
        return;
    }
    int64_t mark = place.in_older ? older.mark : newer.mark;
    reply->data = (struct text){bytes, (size_t)size};
    reply->has_next_offset = true;
    reply->next_offset = mark << POSITION_BITS | place.position;
    reply->has_ended = true;
    reply->ended = job->ended && !place.in_older && place.position >= newer.size;
}

// A task that the agent does not know any more: find its container by the files it left.
static char *only_container(struct job *job, const char *directory)
{
    DIR *listing = opendir(directory);
    char *name = NULL;
    size_t count = 0;
    for (;;) {
        const struct dirent *entry = listing == NULL ? NULL : readdir(listing);
        if (entry == NULL) {
            break;
        }
        if (entry->d_name[0] != '.') {
            count++;
            name = arena_copy(&job->arena, text_of(entry->d_name));
        }
    }
    if (listing != NULL) {
        closedir(listing);
    }
    return count == 1 ? name : NULL;
}

static void run_logs(struct job *job)
{
    const char *data_dir = job->agent->options.data_dir;
    struct text id = text_of(job->task_id);
    if (job->container == NULL) {
        struct text directory = arena_format(&job->arena, "%s/output/%s", data_dir, job->task_id);
        job->container = only_container(job, directory.data);
    }
    if (job->container == NULL) {
        job->logs_reply->error =
            TEXT("No output of this task is kept on the node, or it has several "
                 "containers: name one.");
        return;
    }
    job->logs_reply->container = text_of(job->container);
    struct text path = runtime_output_path(data_dir, id, text_of(job->container), &job->arena);
    read_output(job, path.data);
}

static void done_logs(struct job *job)
{
    const struct agent_effect effect = {.frame_type = "LogsReply",
                                        .frame_shape = &session_logs_reply_shape,
                                        .frame = job->logs_reply};
    agent_frame_send(job->agent, &effect, false);
}

static bool is_container_name(struct text name)
{
    return name.size > 0 && name.size <= LIMIT_NAME_CHARS && text_made_of(name, "-_");
}

// Which container is meant, and whether it may still write. @return NULL, or what is wrong
static const char *choose_container(const struct agent *agent, struct text *name, struct text id,
                                    bool *out_ended)
{
    struct agent_task_view view;
    *out_ended = true;
    if (!text_empty(*name) && !is_container_name(*name)) {
        return "There is no container of that name.";
    }
    if (!agent_logic_task(agent->logic, id, &view) || view.spec->definition == NULL) {
        return NULL;
    }
    const struct ecs_container_definition_list *containers =
        &view.spec->definition->container_definitions;
    if (text_empty(*name)) {
        if (containers->count != 1) {
            return "The task has several containers: name one.";
        }
        *name = containers->items[0].name;
    }
    *out_ended = view.ended;
    for (size_t i = 0; view.state != NULL && i < view.state->containers.count; i++) {
        const struct supervisor_container_state *state = &view.state->containers.items[i];
        if (text_equal(state->name, *name)) {
            *out_ended = view.ended || state->status == SUPERVISOR_STATUS_STOPPED;
        }
    }
    return NULL;
}

void agent_logs_answer(struct agent *agent, const struct session_logs_request *request)
{
    struct text id = agent_task_id(request->task_arn);
    struct text name = request->container;
    bool ended = true;
    const char *problem =
        id.data == NULL ? "That is no task." : choose_container(agent, &name, id, &ended);
    struct job *job = agent_job_new(agent, id, run_logs, done_logs);
    job->logs_request = shape_copy(&session_logs_request_shape, request, &job->arena);
    job->logs_request->limit = MAX(job->logs_request->limit, 1);
    job->logs_reply = ARENA_NEW(&job->arena, struct session_logs_reply);
    job->logs_reply->request_id = job->logs_request->request_id;
    job->ended = ended;
    if (!text_empty(name)) {
        job->container = arena_copy(&job->arena, name);
    }
    if (problem != NULL) {
        job->logs_reply->error = text_of(problem);
        job->run = NULL; // there is nothing to read, only to answer
    }
    agent_job_submit(job);
}
