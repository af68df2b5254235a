#include "agent/agent_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "client/fetch.h"
#include "runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// environmentFiles: objects of S3, which a folder of this node or an HTTP server stands for, and
// beyond ECS files of the node and URLs.

#define FILE_BYTES_MAX (64u << 10) ///< as much as a whole definition
#define FETCH_MS 10000

static bool is_url(struct text place)
{
    return text_starts(place, TEXT("http://")) || text_starts(place, TEXT("https://"));
}

// A key may have slashes, and must not lead out of its bucket.
static bool leads_out(struct text key)
{
    struct text rest = key;
    while (rest.data != NULL) {
        struct text part = text_cut(&rest, '/');
        if (text_is(part, "..") || text_is(part, ".")) {
            return true;
        }
    }
    return text_empty(key) || key.data[0] == '/';
}

// arn:PARTITION:s3:::BUCKET/KEY
static struct text object_of(struct text arn)
{
    struct text rest = arn;
    for (size_t i = 0; i < 5; i++) {
        text_cut(&rest, ':');
    }
    return rest;
}

int agent_env_file_locate(struct text value, const char *base, struct arena *arena,
                          struct text *out_place, struct err *err)
{
    static const char file_scheme[] = "file://";
    struct text where = base == NULL ? (struct text){0} : text_of(base);
    while (text_ends(where, TEXT("/"))) {
        where.size--;
    }
    if (text_starts(value, text_of(file_scheme))) {
        *out_place = arena_text(arena, text_slice(value, sizeof(file_scheme) - 1, value.size));
        return 0;
    }
    if (is_url(value)) {
        // A node is behind doors that whoever writes a definition may not be: so it says whom it
        // asks.
        struct text prefix = arena_format(arena, "%.*s/", TEXT_FMT(where));
        struct text below = text_slice(value, prefix.size, value.size);
        if (!is_url(where) || !text_starts(value, prefix) || leads_out(below)) {
            return err_set(err, ERR_INVALID,
                           "this node does not fetch '%.*s': start it with --environment-files and "
                           "a URL that it begins with",
                           TEXT_FMT(value));
        }
        *out_place = arena_text(arena, value);
        return 0;
    }
    struct text object = object_of(value);
    if (leads_out(object)) {
        return err_set(err, ERR_INVALID, "'%.*s' is no ARN of an object", TEXT_FMT(value));
    }
    if (base == NULL) {
        return err_set(err, ERR_INVALID,
                       "this node has nothing that stands for S3, to find '%.*s' in: start it with "
                       "--environment-files and a folder or URL that has %.*s",
                       TEXT_FMT(value), TEXT_FMT(object));
    }
    *out_place = arena_format(arena, "%.*s/%.*s", TEXT_FMT(where), TEXT_FMT(object));
    return 0;
}

static int read_file(struct text path, struct buf *out, struct err *err)
{
    // Not blocking: somebody could have put a pipe there.
    AUTO(fd_close) int fd = open(path.data, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return err_sys(err, errno, "opening '%s'", path.data);
    }
    if (!S_ISREG(status.st_mode)) {
        return err_set(err, ERR_INVALID, "'%s' is no file", path.data);
    }
    return file_read(AT_FDCWD, path.data, FILE_BYTES_MAX, out, err);
}

static int load(const struct agent *agent, struct text value, struct arena *arena,
                struct text *out_content, struct err *err)
{
    struct text place = {0};
    AUTO(buf_deinit) struct buf content = {0};
    int rc = agent_env_file_locate(value, agent->options.environment_files, arena, &place, err);
    if (rc == 0) {
        rc = is_url(place) ? client_fetch(place.data, FILE_BYTES_MAX, FETCH_MS, &content, err)
                           : read_file(place, &content, err);
    }
    if (rc == 0) {
        *out_content = arena_text(arena, buf_view(&content));
    }
    return rc;
}

// The server sees to it, and whoever may write definitions for Fargate must not read the host.
static int check_host_file(const struct job *job, struct text value, struct err *err)
{
    return text_starts(value, TEXT("file:")) && text_is(job->spec->launch_type, "FARGATE")
               ? err_set(err, ERR_INVALID,
                         "'%.*s' is a file of the node, and a task on Fargate "
                         "has none of these",
                         TEXT_FMT(value))
               : 0;
}

static int add_files(struct job *job, struct runtime_container *container, struct err *err)
{
    const struct ecs_container_definition *definition = container->definition;
    if (definition->environment_files.count == 0) {
        return 0;
    }
    struct ecs_container_definition *copy = ARENA_NEW(&job->arena, struct ecs_container_definition);
    *copy = *definition;
    for (size_t i = 0; i < definition->environment_files.count; i++) {
        struct text content = {0};
        struct text value = definition->environment_files.items[i].value;
        int rc = check_host_file(job, value, err);
        if (rc == 0) {
            rc = load(job->agent, value, &job->arena, &content, err);
        }
        if (rc == 0) {
            rc = spec_add_file(&copy->environment, content, &job->arena, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    container->definition = copy;
    return 0;
}

int agent_env_files(struct job *job, struct runtime_container *containers)
{
    for (size_t i = 0; i < job->spec->definition->container_definitions.count; i++) {
        struct err err = {0};
        int rc = add_files(job, &containers[i], &err);
        if (rc != 0) {
            job->failed_container = containers[i].definition->name;
            return agent_job_fail(job, "ResourceInitializationError: failed to download env files",
                                  &err);
        }
    }
    return 0;
}
