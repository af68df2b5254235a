#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/*
 * Letting go of what nothing needs any more, and watching how full the disk is: images and output
 * of containers by the rules of garbage.h. What is left of tasks themselves goes when they end.
 *
 * A cycle is two jobs: one looks, and the other removes what was chosen in between, on the loop,
 * where it is known which tasks there are.
 */

#define CYCLE_MS (30 * 60 * 1000)     // ECS_IMAGE_CLEANUP_INTERVAL of ECS's agent
#define FIRST_MS (60 * 1000)          // after the start, for what a crash left
#define URGENT_CYCLE_MS (60 * 1000)   // while the disk is too full
#define DISK_MS 5000                  // between looks at how full it is
#define KEEP_OUTPUT_MS (24 * 3600000) // of ended tasks; ECS's agent keeps it for three hours
#define OUTPUT_LIMIT_BYTES (UINT64_C(4) << 30)
#define OUTPUTS_MAX 20000 // looked at in a cycle; twice as many as tasks are known

/** What a look found, in the job's arena. */
struct garbage_look {
    bool urgent;
    int64_t begun_ms;
    struct image_content *images;
    size_t image_count;
    struct text *output_ids;
    struct garbage_output *outputs;
    size_t output_count;
    struct garbage_disk disk;
    uint64_t need_bytes; ///< to remove of output; 0 for what its own limit says
    struct text_list digests;
    uint64_t image_bytes; ///< of those chosen
};

// ---- how full the disk is -----------------------------------------------------------------

static int read_disk(const char *directory, struct garbage_disk *out_disk, struct err *err)
{
    struct statvfs status;
    while (statvfs(directory, &status) != 0) {
        if (errno != EINTR) {
            return err_sys(err, errno, "looking how full the disk of '%s' is", directory);
        }
    }
    *out_disk = (struct garbage_disk){
        .total_bytes = (uint64_t)status.f_blocks * status.f_frsize,
        .free_bytes = (uint64_t)status.f_bavail * status.f_frsize,
        .total_files = status.f_files,
        .free_files = status.f_favail,
    };
    return 0;
}

static uint64_t reserve_bytes(const struct agent *agent, const struct garbage_disk *disk)
{
    return garbage_reserve_bytes(disk, agent->options.disk_reserve_bytes);
}

struct text agent_disk_refusal(const struct agent *agent, struct arena *arena)
{
    const struct garbage_disk *disk = &agent->garbage.disk;
    if (!agent->garbage.pressed) {
        return (struct text){0};
    }
    return arena_format(
        arena,
        "the disk of %s has %llu of %llu MiB and %llu files free, and the node keeps %llu MiB; "
        "remove images with: berth image rm NAME, or make room there",
        agent->options.data_dir, (unsigned long long)(disk->free_bytes >> 20),
        (unsigned long long)(disk->total_bytes >> 20), (unsigned long long)disk->free_files,
        (unsigned long long)(reserve_bytes(agent, disk) >> 20));
}

static void set_pressed(struct agent *agent, bool pressed)
{
    AUTO(arena_deinit) struct arena arena = {0};
    agent->garbage.pressed = pressed;
    if (pressed) {
        LOG(ERROR, "the disk is too full: no new tasks are taken",
            LOG_TXT("reason", agent_disk_refusal(agent, &arena)));
    } else {
        LOG(INFO, "the disk has room again: new tasks are taken",
            LOG_U64("free_mib", agent->garbage.disk.free_bytes >> 20));
    }
    agent_status_changed(agent);
}

static void begin_cycle(struct agent *agent, bool urgent);

// Before it is told that the disk is too full, what nothing needs goes.
static void take_disk(struct agent *agent, const struct garbage_disk *disk, bool collected)
{
    struct agent_garbage *garbage = &agent->garbage;
    garbage->disk = *disk;
    bool pressed = garbage_pressed(disk, reserve_bytes(agent, disk), garbage->pressed);
    int64_t now_ms = agent_now().monotonic_ms;
    if (pressed && !collected && !garbage->busy && now_ms >= garbage->urgent_at_ms) {
        garbage->urgent_at_ms = now_ms + URGENT_CYCLE_MS;
        begin_cycle(agent, true);
    } else if (pressed != garbage->pressed && (!pressed || !garbage->busy)) {
        set_pressed(agent, pressed);
    }
}

static void run_disk(struct job *job)
{
    struct err err = {0};
    struct garbage_look *look = ARENA_NEW(&job->arena, struct garbage_look);
    job->garbage = look;
    job->rc = read_disk(job->agent->options.data_dir, &look->disk, &err);
    if (job->rc != 0) {
        job->reason = arena_text(&job->arena, text_of(err.text));
    }
}

static void done_disk(struct job *job)
{
    struct agent *agent = job->agent;
    agent->garbage.disk_busy = false;
    agent->garbage.disk_at_ms = agent_now().monotonic_ms + DISK_MS;
    if (job->rc != 0) {
        LOG(WARN, "the disk cannot be watched", LOG_TXT("reason", job->reason));
        return;
    }
    take_disk(agent, &job->garbage->disk, false);
}

// ---- looking ------------------------------------------------------------------------------

static uint64_t tree_bytes(int dir_fd, const char *name)
{
    uint64_t bytes = 0;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        fd_close(fd);
        return 0;
    }
    const struct dirent *entry = NULL;
    struct stat status;
    while ((entry = readdir(dir)) != NULL) {
        if (fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode)) {
            bytes += (uint64_t)status.st_blocks * 512;
        }
    }
    closedir(dir);
    return bytes;
}

// A task has a folder, in which each container has one with its two files.
static uint64_t output_bytes(int dir_fd, const char *task)
{
    uint64_t bytes = 0;
    int fd = openat(dir_fd, task, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        fd_close(fd);
        return 0;
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        bytes += entry->d_name[0] == '.' ? 0 : tree_bytes(dirfd(dir), entry->d_name);
    }
    closedir(dir);
    return bytes;
}

// The age is that of the task's directory, which does not change once all containers were begun.
static void look_at_output(struct job *job, struct garbage_look *look)
{
    AUTO(alloc_string) char *path = alloc_format("%s/output", job->agent->options.data_dir);
    DIR *dir = opendir(path);
    AUTO(buf_deinit) struct buf ids = {0};
    AUTO(buf_deinit) struct buf outputs = {0};
    const struct dirent *entry = NULL;
    while (dir != NULL && look->output_count < OUTPUTS_MAX && (entry = readdir(dir)) != NULL) {
        struct stat status;
        if (agent_task_id(arena_format(&job->arena, "/%s", entry->d_name)).data == NULL ||
            fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        struct text id = arena_text(&job->arena, text_of(entry->d_name));
        const struct garbage_output output = {
            .changed_s = status.st_mtime,
            .bytes = output_bytes(dirfd(dir), entry->d_name),
            .index = look->output_count,
        };
        buf_add(&ids, &id, sizeof(id));
        buf_add(&outputs, &output, sizeof(output));
        look->output_count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    look->output_ids = arena_array(&job->arena, look->output_count, sizeof(struct text));
    look->outputs = arena_array(&job->arena, look->output_count, sizeof(struct garbage_output));
    if (look->output_count > 0) {
        memcpy(look->output_ids, ids.data, ids.size);
        memcpy(look->outputs, outputs.data, outputs.size);
    }
}

static void run_look(struct job *job)
{
    struct garbage_look *look = job->garbage;
    struct image_store *images = job->agent->options.images;
    struct err err = {0};
    if (images != NULL &&
        image_contents(images, &job->arena, &look->images, &look->image_count, &err) != 0) {
        LOG(WARN, "images cannot be looked at", LOG_STR("reason", err.text));
        look->image_count = 0;
    }
    look_at_output(job, look);
    IGNORE(read_disk(job->agent->options.data_dir, &look->disk, &err),
           "it is looked at by itself as well, which tells");
}

// ---- choosing -----------------------------------------------------------------------------

// What the containers of tasks that have not ended are made from, mounted already or not.
static void keep_images(void *context, struct text task_id, const struct agent_task_view *view)
{
    struct map *kept = context;
    for (size_t i = 0; i < view->images.count && !view->ended; i++) {
        map_put(kept, view->images.items[i].digest, kept);
    }
}

static void choose_images(struct agent *agent, struct job *job)
{
    struct garbage_look *look = job->garbage;
    AUTO(map_deinit) struct map kept = {0};
    agent_logic_each(agent->logic, keep_images, &kept);
    struct garbage_image *images = arena_array(&job->arena, look->image_count, sizeof(*images));
    size_t *chosen = arena_array(&job->arena, look->image_count, sizeof(*chosen));
    for (size_t i = 0; i < look->image_count; i++) {
        const struct image_content *content = &look->images[i];
        images[i] = (struct garbage_image){
            .digest = content->digest,
            .named = content->names.count > 0,
            .in_use = content->in_use || map_get(&kept, content->digest) != NULL,
        };
    }
    const struct garbage_rules rules = {
        .named_age_ms = agent->options.remove_images_ms,
        .urgent = look->urgent,
    };
    size_t count = garbage_images(&agent->garbage.state, images, look->image_count, &rules,
                                  agent_now().monotonic_ms, chosen);
    look->digests.items = arena_array(&job->arena, count, sizeof(struct text));
    for (size_t i = 0; i < count; i++) {
        const struct image_content *content = &look->images[chosen[i]];
        look->digests.items[look->digests.count++] = content->digest;
        look->image_bytes += content->size_bytes;
        LOG(INFO, "removing an image that nothing uses", LOG_TXT("digest", content->digest),
            LOG_TXT("name", content->names.count > 0 ? content->names.items[0] : TEXT("")));
    }
}

// On a disk that is too full, output of ended tasks makes room up to what is to stay free.
static uint64_t output_limit(const struct agent *agent, const struct garbage_look *look,
                             uint64_t total_bytes)
{
    uint64_t limit = agent->options.output_limit_bytes > 0 ? agent->options.output_limit_bytes
                                                           : OUTPUT_LIMIT_BYTES;
    uint64_t reserve = reserve_bytes(agent, &look->disk);
    uint64_t wanted = reserve + reserve / 4;
    if (look->urgent && look->disk.free_bytes < wanted) {
        uint64_t need = wanted - look->disk.free_bytes;
        limit = MIN(limit, total_bytes > need ? total_bytes - need : 0);
    }
    return limit;
}

static void choose_output(struct agent *agent, struct job *job)
{
    struct garbage_look *look = job->garbage;
    uint64_t total_bytes = 0;
    for (size_t i = 0; i < look->output_count; i++) {
        struct agent_task_view view;
        look->outputs[i].live = agent_logic_task(agent->logic, look->output_ids[i], &view);
        total_bytes += look->outputs[i].bytes;
    }
    int64_t keep_ms =
        agent->options.keep_output_ms > 0 ? agent->options.keep_output_ms : KEEP_OUTPUT_MS;
    struct agent_time now = agent_now();
    int64_t now_s = garbage_now_s(&agent->garbage.state, now.wall_ms, now.monotonic_ms, keep_ms);
    size_t count = garbage_outputs(look->outputs, look->output_count, keep_ms / 1000,
                                   output_limit(agent, look, total_bytes), now_s);
    job->task_ids.items = arena_array(&job->arena, count, sizeof(struct text));
    for (size_t i = 0; i < count; i++) {
        job->task_ids.items[job->task_ids.count++] = look->output_ids[look->outputs[i].index];
    }
}

// ---- removing -----------------------------------------------------------------------------

static void run_remove(struct job *job)
{
    struct image_store *images = job->agent->options.images;
    struct garbage_look *look = job->garbage;
    struct err err = {0};
    // Also without a digest: what killed loads and removals left goes.
    if (images != NULL && image_collect(images, &look->digests, &err) != 0) {
        LOG(WARN, "images cannot be removed", LOG_STR("reason", err.text));
    }
    for (size_t i = 0; i < job->task_ids.count; i++) {
        AUTO(alloc_string)
        char *path = alloc_format("%s/output/%.*s", job->agent->options.data_dir,
                                  TEXT_FMT(job->task_ids.items[i]));
        if (file_remove_tree(AT_FDCWD, path, &err) != 0) {
            LOG(WARN, "old output cannot be removed", LOG_STR("path", path),
                LOG_STR("reason", err.text));
        }
    }
    job->rc = read_disk(job->agent->options.data_dir, &look->disk, &err);
}

static void done_remove(struct job *job)
{
    struct agent *agent = job->agent;
    agent->garbage.busy = false;
    agent->garbage.cycle_count++;
    if (job->task_ids.count > 0) {
        LOG(INFO, "output of ended tasks was removed", LOG_U64("tasks", job->task_ids.count));
    }
    if (job->rc == 0) {
        take_disk(agent, &job->garbage->disk, true);
    }
}

// The second job of a cycle takes over what the first one has found.
static void done_look(struct job *job)
{
    struct agent *agent = job->agent;
    choose_images(agent, job);
    choose_output(agent, job);
    struct job *removal = agent_job_new(agent, (struct text){0}, run_remove, done_remove);
    removal->garbage = job->garbage;
    removal->task_ids = job->task_ids;
    arena_deinit(&removal->arena);
    removal->arena = job->arena;
    job->arena = (struct arena){0};
    job->garbage = NULL;
    job->task_ids = (struct text_list){0};
    agent_job_submit(removal);
}

static void begin_cycle(struct agent *agent, bool urgent)
{
    struct agent_garbage *garbage = &agent->garbage;
    ASSERT(!garbage->busy);
    garbage->busy = true;
    garbage->cycle_at_ms = agent_now().monotonic_ms + CYCLE_MS;
    struct job *job = agent_job_new(agent, (struct text){0}, run_look, done_look);
    job->garbage = ARENA_NEW(&job->arena, struct garbage_look);
    job->garbage->urgent = urgent;
    agent_job_submit(job);
}

void agent_garbage_watch(struct agent *agent)
{
    struct agent_garbage *garbage = &agent->garbage;
    int64_t now_ms = agent_now().monotonic_ms;
    if (agent->closed) {
        return;
    }
    if (garbage->cycle_at_ms == 0) {
        int64_t first_ms = agent->options.garbage_ms > 0 ? agent->options.garbage_ms : FIRST_MS;
        garbage->cycle_at_ms = now_ms + first_ms;
    }
    if (!garbage->disk_busy && now_ms >= garbage->disk_at_ms) {
        garbage->disk_busy = true;
        agent_job_submit(agent_job_new(agent, (struct text){0}, run_disk, done_disk));
    }
    if (!garbage->busy && now_ms >= garbage->cycle_at_ms) {
        begin_cycle(agent, false);
        if (agent->options.garbage_ms > 0) {
            garbage->cycle_at_ms = now_ms + agent->options.garbage_ms;
        }
    }
}
