#include "runtime/cgroup.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CPU_PERIOD_US 100000u
#define CPU_QUOTA_MIN_US 1000u // the kernel takes no less
#define UNITS_PER_CORE 1024u
#define MOUNTINFO_BYTES_MAX (16u << 20)
#define CONTROL_BYTES_MAX 4096
#define SUPERVISOR_NAME "supervisor"

// A task has a group for each container and its supervisor; more only if a privileged container
// makes its own.
#define TREE_MAX 4096

// What the supervisor itself is put into on v1. Others, such as cpuset, need values before they
// take a process, and limit nothing of a task.
static const char *const supervisor_controllers[] = {"memory", "cpu", "cpuacct", "pids", "freezer"};

// What a task's limits need on v2; the runtime turns on more if it wants.
static const char *const enabled_controllers[] = {"+cpu", "+memory", "+pids", "+io", "+cpuset"};

static bool has_word(struct text list, const char *word, char separator)
{
    while (list.data != NULL) {
        if (text_is(text_cut(&list, separator), word)) {
            return true;
        }
    }
    return false;
}

// A line: id parent major:minor root mount-point options [tags] - type source super-options
static int detect_line(struct text line, struct cgroup_host *host)
{
    struct text fields[5];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        fields[i] = text_cut(&line, ' ');
    }
    struct text path = fields[4];
    struct text word = {0};
    while (line.data != NULL && !text_is(word, "-")) {
        word = text_cut(&line, ' ');
    }
    if (line.data == NULL) {
        return ERR_INVALID;
    }
    struct text type = text_cut(&line, ' ');
    text_cut(&line, ' ');
    bool below = text_is(path, "/sys/fs/cgroup") || text_starts(path, TEXT("/sys/fs/cgroup/"));
    if (!below) {
        return 0;
    }
    if (text_is(type, "cgroup2")) {
        return text_copy(path, host->unified, sizeof(host->unified));
    }
    if (!text_is(type, "cgroup") || host->count == CGROUP_MOUNT_MAX) {
        return 0;
    }
    struct cgroup_mount *mount = &host->mounts[host->count];
    int rc = text_copy(path, mount->path, sizeof(mount->path));
    if (rc == 0) {
        rc = text_copy(line, mount->controllers, sizeof(mount->controllers));
    }
    host->count += rc == 0 ? 1 : 0;
    return rc;
}

int cgroup_detect(struct text mountinfo, struct cgroup_host *out_host)
{
    struct cgroup_host host = {.layout = CGROUP_NONE};
    struct text rest = mountinfo;
    while (rest.data != NULL) {
        struct text line = text_cut(&rest, '\n');
        if (!text_empty(line) && detect_line(line, &host) != 0) {
            return ERR_INVALID;
        }
    }
    if (host.count > 0) {
        host.layout = host.unified[0] == '\0' ? CGROUP_V1 : CGROUP_HYBRID;
    } else if (host.unified[0] != '\0') {
        host.layout = CGROUP_V2;
    }
    *out_host = host;
    return 0;
}

const struct cgroup_mount *cgroup_find_mount(const struct cgroup_host *host, const char *controller)
{
    for (size_t i = 0; i < host->count; i++) {
        if (has_word(text_of(host->mounts[i].controllers), controller, ',')) {
            return &host->mounts[i];
        }
    }
    return NULL;
}

const char *cgroup_finder(const struct cgroup_host *host)
{
    if (host->layout == CGROUP_V2) {
        return host->unified;
    }
    // The freezer first: it keeps a fork bomb from outrunning the kill.
    const struct cgroup_mount *mount = cgroup_find_mount(host, "freezer");
    return mount != NULL ? mount->path : cgroup_find_mount(host, "memory")->path;
}

static int check_v2(const struct cgroup_host *host, struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    AUTO(alloc_string) char *path = alloc_format("%s/cgroup.controllers", host->unified);
    int rc = file_read(AT_FDCWD, path, CONTROL_BYTES_MAX, &content, err);
    if (rc != 0) {
        return rc;
    }
    struct text controllers = text_trim(buf_view(&content));
    if (!has_word(controllers, "memory", ' ') || !has_word(controllers, "cpu", ' ')) {
        return err_set(
            err, ERR_UNSUPPORTED,
            "cgroup v2 at '%s' has the controllers '%.*s'; tasks need cpu and memory. In a "
            "container, delegate them; on a host, remove cgroup_disable= from the kernel's "
            "command line",
            host->unified, TEXT_FMT(controllers));
    }
    return 0;
}

int cgroup_host_read(struct cgroup_host *out_host, struct err *err)
{
    AUTO(buf_deinit) struct buf table = {0};
    int rc = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_BYTES_MAX, &table, err);
    if (rc != 0) {
        return rc;
    }
    struct cgroup_host host;
    rc = cgroup_detect(buf_view(&table), &host);
    if (rc != 0) {
        return err_set(err, rc, "/proc/self/mountinfo is not understood");
    }
    if (host.layout == CGROUP_NONE) {
        return err_set(err, ERR_UNSUPPORTED,
                       "no cgroups are mounted; `mount -t cgroup2 none /sys/fs/cgroup` gives them");
    }
    if (host.layout == CGROUP_V2) {
        rc = check_v2(&host, err);
        if (rc != 0) {
            return rc;
        }
    } else if (cgroup_find_mount(&host, "memory") == NULL ||
               cgroup_find_mount(&host, "cpu") == NULL) {
        return err_set(
            err, ERR_UNSUPPORTED,
            "the host's cgroups (v1) lack the memory or cpu controller, which tasks need");
    }
    *out_host = host;
    return 0;
}

static struct text instance_directory(const struct cgroup_task *task, const char *mount,
                                      struct arena *arena)
{
    return arena_format(arena, "%s/berth-%s", mount, task->instance);
}

struct text cgroup_directory(const struct cgroup_task *task, const char *mount, struct arena *arena)
{
    return arena_format(arena, "%s/berth-%s/%.*s", mount, task->instance, TEXT_FMT(task->id));
}

// The index in front keeps a container's name from meeting a file of the kernel's, such as `tasks`,
// and leaves room for the longest name.
struct text cgroup_container_path(const struct cgroup_task *task, size_t index,
                                  struct text container, struct arena *arena)
{
    struct text name = text_slice(container, 0, NAME_MAX - 8);
    return arena_format(arena, "/berth-%s/%.*s/%zu-%.*s", task->instance, TEXT_FMT(task->id), index,
                        TEXT_FMT(name));
}

// Of v1 the hierarchy with the controller; no text where none has it.
static struct text container_directory(const struct cgroup_task *task, const char *controller,
                                       size_t index, struct text container, struct arena *arena)
{
    const char *mount = task->host->unified;
    if (task->host->layout != CGROUP_V2) {
        const struct cgroup_mount *found = cgroup_find_mount(task->host, controller);
        if (found == NULL) {
            return (struct text){0};
        }
        mount = found->path;
    }
    struct text path = cgroup_container_path(task, index, container, arena);
    return arena_format(arena, "%s%.*s", mount, TEXT_FMT(path));
}

struct text cgroup_memory_directory(const struct cgroup_task *task, size_t index,
                                    struct text container, struct arena *arena)
{
    return container_directory(task, "memory", index, container, arena);
}

struct text cgroup_freezer_directory(const struct cgroup_task *task, size_t index,
                                     struct text container, struct arena *arena)
{
    return container_directory(task, "freezer", index, container, arena);
}

static int make_directory(struct text path, struct err *err)
{
    if (mkdir(path.data, 0755) != 0 && errno != EEXIST) {
        return err_sys(err, errno, "making cgroup '%.*s'", TEXT_FMT(path));
    }
    return 0;
}

static int write_control(struct text directory, const char *name, struct text value,
                         struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), name);
    return file_write(AT_FDCWD, path, value, err);
}

static int write_number(struct text directory, const char *name, uint64_t value, struct err *err)
{
    char digits[32];
    snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    return write_control(directory, name, text_of(digits), err);
}

static bool has_control(struct text directory, const char *name)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), name);
    return access(path, W_OK) == 0;
}

static uint64_t quota_us(uint64_t cpu_units)
{
    return MAX(cpu_units * CPU_PERIOD_US / UNITS_PER_CORE, (uint64_t)CPU_QUOTA_MIN_US);
}

// Controllers of a group's children; one by one, as a kernel may lack some.
static int enable_controllers(struct text directory, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(enabled_controllers); i++) {
        struct err why = {0};
        int rc = write_control(directory, "cgroup.subtree_control", text_of(enabled_controllers[i]),
                               &why);
        bool needed = i < 2;
        if (rc != 0 && needed) {
            *err = why;
            return err_wrap(err, "turning on controllers below '%.*s'", TEXT_FMT(directory));
        }
    }
    return 0;
}

static int limit_v2(struct text directory, const struct cgroup_limits *limits, struct err *err)
{
    int rc = 0;
    if (limits->cpu_units > 0) {
        char value[64];
        snprintf(value, sizeof(value), "%llu %u", (unsigned long long)quota_us(limits->cpu_units),
                 CPU_PERIOD_US);
        rc = write_control(directory, "cpu.max", text_of(value), err);
    }
    if (rc == 0 && limits->memory_mib > 0) {
        rc = write_number(directory, "memory.max", limits->memory_mib << 20, err);
        // With swap that nobody asked for the limit would bind in name only.
        if (rc == 0 && has_control(directory, "memory.swap.max")) {
            rc = write_number(directory, "memory.swap.max", limits->swap_mib << 20, err);
        }
    }
    return rc;
}

static int create_v2(const struct cgroup_task *task, const struct cgroup_limits *limits,
                     struct arena *arena, struct err *err)
{
    const char *mount = task->host->unified;
    struct text directory = cgroup_directory(task, mount, arena);
    const struct text steps[] = {text_of(mount), instance_directory(task, mount, arena), directory};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int rc = i == 0 ? 0 : make_directory(steps[i], err);
        rc = rc != 0 ? rc : enable_controllers(steps[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = limit_v2(directory, limits, err);
    if (rc != 0) {
        return rc;
    }
    return make_directory(arena_format(arena, "%.*s/%s", TEXT_FMT(directory), SUPERVISOR_NAME),
                          err);
}

static int limit_v1(const struct cgroup_task *task, const struct cgroup_limits *limits,
                    struct arena *arena, struct err *err)
{
    struct text cpu = cgroup_directory(task, cgroup_find_mount(task->host, "cpu")->path, arena);
    struct text memory =
        cgroup_directory(task, cgroup_find_mount(task->host, "memory")->path, arena);
    int rc = 0;
    if (limits->cpu_units > 0) {
        rc = write_number(cpu, "cpu.cfs_period_us", CPU_PERIOD_US, err);
        rc = rc != 0 ? rc : write_number(cpu, "cpu.cfs_quota_us", quota_us(limits->cpu_units), err);
    }
    if (rc == 0 && limits->memory_mib > 0) {
        uint64_t bytes = limits->memory_mib << 20;
        rc = write_number(memory, "memory.limit_in_bytes", bytes, err);
        if (rc == 0 && has_control(memory, "memory.memsw.limit_in_bytes")) {
            rc = write_number(memory, "memory.memsw.limit_in_bytes",
                              bytes + (limits->swap_mib << 20), err);
        }
    }
    return rc;
}

static int create_v1(const struct cgroup_task *task, const struct cgroup_limits *limits,
                     struct arena *arena, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(supervisor_controllers); i++) {
        const struct cgroup_mount *mount = cgroup_find_mount(task->host, supervisor_controllers[i]);
        if (mount == NULL) {
            continue;
        }
        struct text directory = cgroup_directory(task, mount->path, arena);
        struct text steps[] = {
            instance_directory(task, mount->path, arena), directory,
            arena_format(arena, "%.*s/%s", TEXT_FMT(directory), SUPERVISOR_NAME)};
        for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
            int rc = make_directory(steps[k], err);
            if (rc != 0) {
                return rc;
            }
            // Kernels before 5.11 apply a parent's limit to its children only when told so.
            struct err ignored = {0};
            if (strcmp(supervisor_controllers[i], "memory") == 0) {
                IGNORE(write_number(steps[k], "memory.use_hierarchy", 1, &ignored),
                       "later kernels always do");
            }
        }
    }
    return limit_v1(task, limits, arena, err);
}

int cgroup_create(const struct cgroup_task *task, const struct cgroup_limits *limits,
                  struct err *err)
{
    ASSERT(task->host->layout != CGROUP_NONE);
    if (limits->memory_mib > UINT64_MAX >> 22 || limits->swap_mib > UINT64_MAX >> 22 ||
        limits->cpu_units > UINT32_MAX) {
        return err_set(err, ERR_INVALID, "a limit of the task is out of range");
    }
    AUTO(arena_deinit) struct arena arena = {0};
    return task->host->layout == CGROUP_V2 ? create_v2(task, limits, &arena, err)
                                           : create_v1(task, limits, &arena, err);
}

struct text_list cgroup_supervisor_directories(const struct cgroup_task *task, struct arena *arena)
{
    struct text_list list = {
        .items = arena_array(arena, ARRAY_LEN(supervisor_controllers), sizeof(struct text))};
    if (task->host->layout == CGROUP_V2) {
        struct text directory = cgroup_directory(task, task->host->unified, arena);
        list.items[list.count++] =
            arena_format(arena, "%.*s/%s", TEXT_FMT(directory), SUPERVISOR_NAME);
        return list;
    }
    for (size_t i = 0; i < ARRAY_LEN(supervisor_controllers); i++) {
        const struct cgroup_mount *mount = cgroup_find_mount(task->host, supervisor_controllers[i]);
        if (mount != NULL) {
            struct text directory = cgroup_directory(task, mount->path, arena);
            list.items[list.count++] =
                arena_format(arena, "%.*s/%s", TEXT_FMT(directory), SUPERVISOR_NAME);
        }
    }
    return list;
}

bool cgroup_has_swappiness(const struct cgroup_task *task)
{
    AUTO(arena_deinit) struct arena arena = {0};
    const struct cgroup_mount *mount = cgroup_find_mount(task->host, "memory");
    return task->host->layout != CGROUP_V2 &&
           has_control(cgroup_directory(task, mount->path, &arena), "memory.swappiness");
}

bool cgroup_limits_swap(const struct cgroup_task *task)
{
    AUTO(arena_deinit) struct arena arena = {0};
    bool v2 = task->host->layout == CGROUP_V2;
    const char *mount = v2 ? task->host->unified : cgroup_find_mount(task->host, "memory")->path;
    return has_control(cgroup_directory(task, mount, &arena),
                       v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes");
}

static int add_children(struct text_list *list, struct text directory, struct arena *arena,
                        struct err *err)
{
    DIR *dir = opendir(directory.data);
    if (dir == NULL) {
        // Gone between its being listed and now.
        return errno == ENOENT ? 0 : err_sys(err, errno, "opening '%s'", directory.data);
    }
    int rc = 0;
    const struct dirent *entry = NULL;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.') {
            continue;
        }
        if (list->count == TREE_MAX) {
            rc = err_set(err, ERR_NO_ROOM, "more than %d cgroups in a task", TREE_MAX);
            break;
        }
        list->items[list->count++] =
            arena_format(arena, "%.*s/%s", TEXT_FMT(directory), entry->d_name);
    }
    closedir(dir);
    return rc;
}

int cgroup_tree(struct text directory, struct arena *arena, struct text_list *out_directories,
                struct err *err)
{
    struct text_list list = {0};
    if (access(directory.data, F_OK) == 0) {
        list.items = arena_array(arena, TREE_MAX, sizeof(struct text));
        list.items[list.count++] = directory;
        for (size_t i = 0; i < list.count; i++) {
            int rc = add_children(&list, list.items[i], arena, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    *out_directories = list;
    return 0;
}

static int remove_below(const struct cgroup_task *task, const char *mount, struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list list = {0};
    int rc = cgroup_tree(cgroup_directory(task, mount, &arena), &arena, &list, err);
    for (size_t i = list.count; rc == 0 && i > 0; i--) {
        if (rmdir(list.items[i - 1].data) != 0 && errno != ENOENT) {
            rc = err_sys(err, errno, "removing cgroup '%s'", list.items[i - 1].data);
        }
    }
    return rc;
}

int cgroup_remove(const struct cgroup_task *task, struct err *err)
{
    int rc = 0;
    if (task->host->layout == CGROUP_V2) {
        rc = remove_below(task, task->host->unified, err);
    }
    for (size_t i = 0; rc == 0 && i < task->host->count; i++) {
        rc = remove_below(task, task->host->mounts[i].path, err);
    }
    return rc;
}

int cgroup_list(const struct cgroup_host *host, const char *instance, struct arena *arena,
                struct text_list *out_ids, struct err *err)
{
    struct text directory = arena_format(arena, "%s/berth-%s", cgroup_finder(host), instance);
    struct text_list list = {.items = arena_array(arena, TREE_MAX, sizeof(struct text))};
    struct text_list ids = {.items = list.items};
    int rc = add_children(&list, directory, arena, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < list.count; i++) {
        size_t slash = text_find_last(list.items[i], '/');
        ids.items[ids.count++] = text_slice(list.items[i], slash + 1, list.items[i].size);
    }
    *out_ids = ids;
    return 0;
}

void cgroup_remove_instance(const struct cgroup_host *host, const char *instance)
{
    AUTO(arena_deinit) struct arena arena = {0};
    if (host->layout == CGROUP_V2) {
        struct text path = arena_format(&arena, "%s/berth-%s", host->unified, instance);
        IGNORE(rmdir(path.data) != 0, "it is missing, or other tasks are in it");
    }
    for (size_t i = 0; i < host->count; i++) {
        struct text path = arena_format(&arena, "%s/berth-%s", host->mounts[i].path, instance);
        IGNORE(rmdir(path.data) != 0, "it is missing, or other tasks are in it");
    }
}
