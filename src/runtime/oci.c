#include "runtime/oci_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "shape/cbor.h"
#include "task/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID_CHARS 32
#define STATE_BYTES_MAX (256u << 10)
#define LINKS_BYTES_MAX (64u << 10) // of /proc/PID/net/dev: a line for each link

// A supervisor is ready within a few milliseconds; one that is not by then hangs on a mount, for a
// busy host stands still for seconds and not for a minute.
#define LAUNCH_TIMEOUT_MS 60000

// Killed processes go within milliseconds, unless the kernel waits for a device.
#define KILL_TIMEOUT_MS 30000

struct oci *oci_of(struct runtime *runtime)
{
    return CONTAINER_OF(runtime, struct oci, runtime);
}

struct text oci_run_directory(const struct oci *oci, struct text task_id, struct arena *arena)
{
    return arena_format(arena, "%s/tasks/%.*s", oci->run_dir, TEXT_FMT(task_id));
}

struct text oci_data_directory(const struct oci *oci, struct text task_id, struct arena *arena)
{
    return arena_format(arena, "%s/tasks/%.*s", oci->data_dir, TEXT_FMT(task_id));
}

struct cgroup_task oci_cgroup(const struct oci *oci, struct text task_id)
{
    return (struct cgroup_task){.host = &oci->cgroups, .instance = oci->instance, .id = task_id};
}

static bool is_task_id(struct text id)
{
    unsigned char bytes[ID_CHARS / 2];
    return text_unhex(id, bytes, sizeof(bytes)) == 0;
}

int oci_check_id(struct text task_id, struct err *err)
{
    return is_task_id(task_id)
               ? 0
               : err_set(err, ERR_INVALID, "'%.*s' is no task id", TEXT_FMT(task_id));
}

// Looks at the lock without taking it: taking it could keep a supervisor from starting.
bool oci_alive(const struct oci *oci, struct text task_id)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text directory = oci_run_directory(oci, task_id, &arena);
    struct text path = arena_format(&arena, "%.*s/lock", TEXT_FMT(directory));
    AUTO(fd_close) int fd = open(path.data, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool has_file(struct text directory, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), name);
    return access(path, F_OK) == 0;
}

static int spawn_supervisor(const struct oci *oci, struct text task_id, int error_fd,
                            pid_t *out_pid, struct err *err)
{
    static char detach[] = "--detach";
    static char cgroup_option[] = "--cgroup";
    AUTO(arena_deinit) struct arena arena = {0};
    struct cgroup_task cgroup = oci_cgroup(oci, task_id);
    struct text group = cgroup_supervisor_directories(&cgroup, &arena).items[0];
    struct text directory = oci_run_directory(oci, task_id, &arena);
    AUTO(alloc_string) char *group_path = alloc_format("%.*s", TEXT_FMT(group));
    AUTO(alloc_string) char *path = alloc_format("%.*s", TEXT_FMT(directory));
    char *arguments[] = {oci->supervisor, detach, path, NULL, NULL, NULL};
    if (oci->cgroups.layout == CGROUP_V2) {
        arguments[3] = cgroup_option;
        arguments[4] = group_path;
    }
    char *environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_sys(err, rc, "preparing to run '%s'", oci->supervisor);
    }
    rc = posix_spawnattr_init(&attributes);
    // Nothing of the agent's reaches the supervisor: not its signals, session or descriptors.
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attributes, &all);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                             POSIX_SPAWN_SETSIGDEF |
                                                             POSIX_SPAWN_SETSID);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, 0, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, error_fd, 2);
    rc = rc != 0
             ? rc
             : posix_spawn(out_pid, oci->supervisor, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc == 0 ? 0 : err_sys(err, rc, "running '%s'", oci->supervisor);
}

// Reads what the starting supervisor says until it lets go of the pipe. @return false at the
// deadline
static bool read_errors(int fd, char out_text[ERR_TEXT_MAX])
{
    int64_t deadline_ns = clock_monotonic_ns() + INT64_C(1000000) * LAUNCH_TIMEOUT_MS;
    size_t used = 0;
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / 1000000;
        int count = left_ms <= 0 ? 0 : poll(&poll_fd, 1, (int)left_ms);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            out_text[used] = '\0';
            return false;
        }
        char rest[ERR_TEXT_MAX];
        ssize_t got = read(fd, rest, sizeof(rest));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            out_text[used] = '\0';
            return true;
        }
        size_t part = MIN((size_t)got, ERR_TEXT_MAX - 1 - used);
        memcpy(out_text + used, rest, part);
        used += part;
    }
}

static int wait_supervisor(pid_t pid, int error_fd, struct err *err)
{
    char text[ERR_TEXT_MAX];
    bool in_time = read_errors(error_fd, text);
    if (!in_time) {
        kill(pid, SIGKILL);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (!in_time) {
        return err_set(err, ERR_TIMEOUT, "the supervisor was not ready after %d s",
                       LAUNCH_TIMEOUT_MS / 1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == SUPERVISOR_EXIT_TAKEN) {
        return err_set(err, ERR_EXISTS, "the task has run before, or was killed");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        struct text reason = text_trim(text_of(text));
        return err_set(err, ERR_SYS, "the supervisor did not start: %.*s", TEXT_FMT(reason));
    }
    return 0;
}

static int oci_launch(struct runtime *runtime, struct text task_id, struct err *err)
{
    const struct oci *oci = oci_of(runtime);
    AUTO(arena_deinit) struct arena arena = {0};
    int rc = oci_check_id(task_id, err);
    if (rc != 0) {
        return rc;
    }
    struct text directory = oci_run_directory(oci, task_id, &arena);
    if (oci_alive(oci, task_id)) {
        return 0;
    }
    if (!has_file(directory, "plan")) {
        return err_set(err, ERR_NOT_FOUND, "the task is not prepared");
    }
    if (has_file(directory, SUPERVISOR_STATE_NAME)) {
        return err_set(err, ERR_EXISTS, "the task has run before; a task runs once");
    }
    if (has_file(directory, SUPERVISOR_KILLED_NAME)) {
        return err_set(err, ERR_EXISTS, "the task was killed; a task runs once");
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_sys(err, errno, "making a pipe");
    }
    AUTO(fd_close) int read_fd = ends[0];
    pid_t pid = 0;
    rc = spawn_supervisor(oci, task_id, ends[1], &pid, err);
    close(ends[1]);
    rc = rc == 0 ? wait_supervisor(pid, read_fd, err) : rc;
    // One that was begun before may have come first.
    return rc == ERR_EXISTS && oci_alive(oci, task_id) ? 0 : rc;
}

static int oci_attach(struct runtime *runtime, struct text task_id, int *out_fd, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    int rc = oci_check_id(task_id, err);
    if (rc != 0) {
        return rc;
    }
    struct text directory = oci_run_directory(oci_of(runtime), task_id, &arena);
    AUTO(fd_close) int dir_fd = open(directory.data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(err, errno, "making a socket");
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", dir_fd);
    if (dir_fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) {
            return err_set(err, ERR_NOT_FOUND, "the task has no supervisor");
        }
        return err_sys(err, errno, "connecting to the task's supervisor");
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

static int oci_read_state(struct runtime *runtime, struct text task_id, struct arena *arena,
                          struct supervisor_state *out_state, struct err *err)
{
    int rc = oci_check_id(task_id, err);
    if (rc != 0) {
        return rc;
    }
    struct text directory = oci_run_directory(oci_of(runtime), task_id, arena);
    struct text path = arena_format(arena, "%.*s/%s", TEXT_FMT(directory), SUPERVISOR_STATE_NAME);
    AUTO(buf_deinit) struct buf bytes = {0};
    rc = file_read(AT_FDCWD, path.data, STATE_BYTES_MAX, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    struct shape_error error = {0};
    struct supervisor_state state = {0};
    rc = cbor_decode(&supervisor_state_shape, buf_view(&bytes), arena, &state, NULL, NULL, &error);
    if (rc != 0) {
        return err_set(err, rc, "'%s': %s %s", path.data, error.path, error.text);
    }
    *out_state = state;
    return 0;
}

static int mark_killed(struct text directory, struct err *err)
{
    AUTO(alloc_string)
    char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), SUPERVISOR_KILLED_NAME);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0 || errno == ENOENT ? 0 : err_sys(err, errno, "making '%s'", path);
}

static int oci_kill(struct runtime *runtime, struct text task_id, struct err *err)
{
    int rc = oci_check_id(task_id, err);
    if (rc != 0) {
        return rc;
    }
    // A supervisor that was just begun may not be in its cgroup yet. It looks for this file once it
    // is, so either it finds it, or it is found here.
    AUTO(arena_deinit) struct arena arena = {0};
    struct text directory = oci_run_directory(oci_of(runtime), task_id, &arena);
    rc = mark_killed(directory, err);
    if (rc != 0) {
        return rc;
    }
    struct cgroup_task cgroup = oci_cgroup(oci_of(runtime), task_id);
    return cgroup_kill(&cgroup, KILL_TIMEOUT_MS, err);
}

// A prepare that was killed at the wrong moment leaves its view of the root mounted.
static void unmount_roots(struct text directory, struct arena *arena)
{
    struct text containers = arena_format(arena, "%.*s/c", TEXT_FMT(directory));
    DIR *dir = opendir(containers.data);
    const struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct text root =
            arena_format(arena, "%.*s/%s/rootfs", TEXT_FMT(containers), entry->d_name);
        while (umount2(root.data, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static int oci_clean(struct runtime *runtime, struct text task_id, struct err *err)
{
    struct oci *oci = oci_of(runtime);
    AUTO(arena_deinit) struct arena arena = {0};
    int rc = oci_check_id(task_id, err);
    if (rc != 0) {
        return rc;
    }
    if (oci_alive(oci, task_id)) {
        return err_set(err, ERR_BUSY, "the task's supervisor still runs");
    }
    struct cgroup_task cgroup = oci_cgroup(oci, task_id);
    rc = cgroup_remove(&cgroup, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&oci->group_lock);
    cgroup_remove_instance(&oci->cgroups, oci->instance);
    pthread_mutex_unlock(&oci->group_lock);
    struct text run = oci_run_directory(oci, task_id, &arena);
    struct text data = oci_data_directory(oci, task_id, &arena);
    unmount_roots(run, &arena);
    oci_storage_remove(data);
    rc = file_remove_tree(AT_FDCWD, data.data, err);
    if (rc != 0) {
        return rc;
    }
    // Last: while it is there, list finds the task.
    return file_remove_tree(AT_FDCWD, run.data, err);
}

static void add_id(struct buf *ids, struct text id)
{
    if (!is_task_id(id)) {
        return;
    }
    for (size_t at = 0; at < ids->size; at += ID_CHARS) {
        if (memcmp(ids->data + at, id.data, ID_CHARS) == 0) {
            return;
        }
    }
    buf_text(ids, id);
}

static int add_directory(struct buf *ids, const char *parent, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/tasks", parent);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT ? 0 : err_sys(err, errno, "opening '%s'", path);
    }
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        add_id(ids, text_of(entry->d_name));
    }
    closedir(dir);
    return 0;
}

static int find_ids(const struct oci *oci, struct arena *arena, struct buf *ids, struct err *err)
{
    int rc = add_directory(ids, oci->run_dir, err);
    if (rc == 0) {
        rc = add_directory(ids, oci->data_dir, err);
    }
    struct text_list groups = {0};
    if (rc == 0) {
        rc = cgroup_list(&oci->cgroups, oci->instance, arena, &groups, err);
    }
    for (size_t i = 0; rc == 0 && i < groups.count; i++) {
        add_id(ids, groups.items[i]);
    }
    return rc;
}

/*
 * A supervisor that an agent began to launch before it died may come up at any moment. It writes a
 * state before it starts anything, while it has the lock, and one that finds a state gives up: so
 * whoever sees a state and then no lock sees an end, and without a state nothing was started.
 */
static void find_task(struct oci *oci, struct arena *arena, struct runtime_found *found)
{
    struct text directory = oci_run_directory(oci, found->id, arena);
    bool began = false;
    bool begins = false;
    do {
        struct err ignored = {0};
        began = has_file(directory, SUPERVISOR_STATE_NAME);
        found->supervisor_alive = oci_alive(oci, found->id);
        // After that: one that ends in between has written its last state by then.
        found->has_state =
            oci_read_state(&oci->runtime, found->id, arena, &found->state, &ignored) == 0;
        begins = !began && has_file(directory, SUPERVISOR_STATE_NAME);
    } while (begins && !found->supervisor_alive);
    found->unstarted = !began && !begins && !found->supervisor_alive &&
                       has_file(directory, "plan") && !has_file(directory, SUPERVISOR_KILLED_NAME);
}

static int oci_list(struct runtime *runtime, struct arena *arena, struct runtime_found **out_found,
                    size_t *out_count, struct err *err)
{
    struct oci *oci = oci_of(runtime);
    AUTO(buf_deinit) struct buf ids = {0};
    int rc = find_ids(oci, arena, &ids, err);
    if (rc != 0) {
        return rc;
    }
    size_t count = ids.size / ID_CHARS;
    struct runtime_found *found = arena_array(arena, count, sizeof(*found));
    for (size_t i = 0; i < count; i++) {
        found[i].id = arena_text(arena, (struct text){ids.data + i * ID_CHARS, ID_CHARS});
        find_task(oci, arena, &found[i]);
    }
    *out_found = found;
    *out_count = count;
    return 0;
}

// Any process of the container is in its network namespace.
static void sample_links(int32_t pid, struct arena *arena, struct container_sample *sample)
{
    AUTO(buf_deinit) struct buf table = {0};
    struct err ignored;
    struct text path = arena_format(arena, "/proc/%d/net/dev", pid);
    if (file_read(AT_FDCWD, path.data, LINKS_BYTES_MAX, &table, &ignored) == 0) {
        stats_read_links(buf_view(&table), arena, sample);
    }
}

static int oci_sample(struct runtime *runtime, const struct runtime_sample *which,
                      struct arena *arena, struct container_sample *out_sample, struct err *err)
{
    const struct oci *oci = oci_of(runtime);
    int rc = oci_check_id(which->task_id, err);
    if (rc != 0) {
        return rc;
    }
    const struct cgroup_task group = oci_cgroup(oci, which->task_id);
    rc = cgroup_sample(&group, which->index, which->container, arena, out_sample, err);
    if (rc == 0 && which->pid > 0 && !which->host_network) {
        sample_links(which->pid, arena, out_sample);
    }
    return rc;
}

static void oci_close(struct runtime *runtime)
{
    struct oci *oci = oci_of(runtime);
    pthread_mutex_destroy(&oci->group_lock);
    oci_filters_deinit(&oci->filters);
    alloc_free(oci->instance);
    alloc_free(oci->run_dir);
    alloc_free(oci->data_dir);
    alloc_free(oci->supervisor);
    alloc_free(oci->binary);
    alloc_free(oci);
}

static void oci_free(struct oci *oci)
{
    if (oci != NULL) {
        oci_close(&oci->runtime);
    }
}

AUTO_POINTER(struct oci, oci_free)

static const struct runtime_ops oci_ops = {
    .name = "oci",
    .prepare = oci_prepare,
    .launch = oci_launch,
    .attach = oci_attach,
    .read_state = oci_read_state,
    .kill = oci_kill,
    .clean = oci_clean,
    .list = oci_list,
    .sample = oci_sample,
    .exec = oci_exec,
    .check = oci_check,
    .close = oci_close,
};

static char *find_runtime(void)
{
    static const char *const names[] = {"crun", "runc"};
    static const char *const directories[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                              "/usr/bin",        "/sbin",          "/bin"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t k = 0; k < ARRAY_LEN(directories); k++) {
            AUTO(alloc_string) char *path = alloc_format("%s/%s", directories[k], names[i]);
            if (access(path, X_OK) == 0) {
                return alloc_string(path);
            }
        }
    }
    return NULL;
}

static int check_options(const struct runtime_options *options, struct err *err)
{
    unsigned char bytes[4];
    if (text_unhex(text_of(options->instance), bytes, sizeof(bytes)) != 0) {
        return err_set(err, ERR_INVALID, "'%s' is no instance: it must be 8 hex digits",
                       options->instance);
    }
    if (access(options->supervisor, X_OK) != 0) {
        return err_sys(err, errno, "the supervisor '%s' cannot be run", options->supervisor);
    }
    if (geteuid() != 0) {
        return err_set(err, ERR_UNSUPPORTED,
                       "running containers needs root: start Berth with sudo");
    }
    return 0;
}

int runtime_oci_open(const struct runtime_options *options, struct runtime **out_runtime,
                     struct err *err)
{
    int rc = check_options(options, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(oci_free) struct oci *oci = ALLOC(struct oci);
    oci->runtime.ops = &oci_ops;
    pthread_mutex_init(&oci->group_lock, NULL); // never fails on Linux
    oci_filters_init(&oci->filters);
    oci->instance = alloc_string(options->instance);
    oci->run_dir = alloc_string(options->run_dir);
    oci->data_dir = alloc_string(options->data_dir);
    oci->supervisor = alloc_string(options->supervisor);
    oci->output_max_bytes = options->output_max_bytes;
    oci->pids_max = options->pids_max;
    oci->binary =
        options->oci_runtime != NULL ? alloc_string(options->oci_runtime) : find_runtime();
    if (oci->binary == NULL || access(oci->binary, X_OK) != 0) {
        return err_set(err, ERR_UNSUPPORTED,
                       "no OCI runtime is installed: `apt-get install crun` gives one");
    }
    struct err ignored = {0};
    IGNORE(oci_check_binary(oci, &ignored), "a program that does not run is told by check");
    rc = cgroup_host_read(&oci->cgroups, err);
    if (rc != 0) {
        return rc;
    }
    *out_runtime = &oci->runtime;
    oci = NULL;
    return 0;
}
