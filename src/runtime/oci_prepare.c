#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/spec.h"
#include "shape/cbor.h"
#include "task/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define PLAN_VERSION 1
#define HOSTNAME_BYTES_MAX 64 // the kernel's
#define SHORT_ID_CHARS 12     // Docker's host names from container ids

struct text oci_hostname(const struct runtime_task *task, size_t index, struct arena *arena)
{
    const struct session_eni *eni = task->spec->eni;
    const struct runtime_container *container = &task->containers[index];
    struct text name = eni == NULL ? container->definition->hostname : eni->hostname;
    if (text_empty(name)) {
        name = text_slice(task->id, 0, SHORT_ID_CHARS);
        // With an address of its own a container has a name of its own.
        if (container->address.data != NULL) {
            return arena_format(arena, "%.*s-%zu", TEXT_FMT(name), index);
        }
    }
    if (name.size > HOSTNAME_BYTES_MAX) {
        size_t dot = text_find(name, '.');
        name = text_slice(name, 0, MIN(dot, (size_t)HOSTNAME_BYTES_MAX));
    }
    return arena_text(arena, name);
}

struct text oci_network_namespace(const struct runtime_task *task, size_t index)
{
    struct text own = task->containers[index].network_namespace;
    return own.data == NULL ? task->network_namespace : own;
}

// Those of containers that have their own.
static struct text_list own_namespaces(const struct oci_task *task)
{
    size_t count = task->task->container_count;
    struct text_list list = {.items = arena_array(task->arena, count, sizeof(struct text))};
    for (size_t i = 0; i < count; i++) {
        struct text path = task->task->containers[i].network_namespace;
        if (path.data != NULL) {
            list.items[list.count++] = path;
        }
    }
    return list;
}

static struct text_list runtime_arguments(const struct oci_task *task)
{
    struct text_list list = {.items = arena_array(task->arena, 3, sizeof(struct text))};
    list.items[list.count++] = text_of(task->oci->binary);
    list.items[list.count++] = TEXT("--root");
    list.items[list.count++] = arena_format(task->arena, "%.*s/oci", TEXT_FMT(task->run));
    return list;
}

// Where the supervisor keeps what containers share: see oci_container.c for those that name it.
static int share(const struct oci_task *task, struct supervisor_plan *plan, struct err *err)
{
    const struct ecs_task_definition *definition = task->definition;
    plan->has_shares_pids = spec_pids(definition) == SPEC_TASK;
    plan->shares_pids = plan->has_shares_pids;
    plan->has_shares_ipc = spec_ipc(definition) == SPEC_TASK;
    plan->shares_ipc = plan->has_shares_ipc;
    struct supervisor_mount_list mounts = {0};
    int rc = oci_volume_mounts(task, &mounts, err);
    if (rc != 0) {
        return rc;
    }
    if (plan->shares_ipc) {
        uint64_t mib = spec_shm_mib(definition, &definition->container_definitions.items[0]);
        mounts.items[mounts.count++] = (struct supervisor_mount){
            .target = arena_format(task->arena, "%.*s/shm", TEXT_FMT(task->run)),
            .type = TEXT("tmpfs"),
            .options = arena_format(task->arena, "mode=1777,size=%llum", (unsigned long long)mib),
        };
    }
    plan->mounts = mounts;
    return 0;
}

static int write_plan(const struct oci_task *task, struct supervisor_plan_container *containers,
                      struct err *err)
{
    struct text hidden = text_of(task->oci->cgroups.unified);
    struct supervisor_plan plan = {
        .task_arn = task->task->spec->task_arn,
        .runtime = runtime_arguments(task),
        .containers = {containers, task->task->container_count},
        .has_output_max_bytes = true,
        .output_max_bytes = (int64_t)MIN(task->oci->output_max_bytes, (uint64_t)INT64_MAX),
        .cgroups = cgroup_supervisor_directories(&task->cgroup, task->arena),
        .network_namespace = task->task->network_namespace,
        .storage = task->data,
        .network_namespaces = own_namespaces(task),
        .namespaces = arena_format(task->arena, "%s/netns", task->oci->run_dir),
    };
    int rc = share(task, &plan, err);
    if (rc != 0) {
        return rc;
    }
    if (task->oci->cgroups.layout == CGROUP_HYBRID) {
        // crun wants to see one hierarchy or the others, never both.
        plan.unmount = (struct text_list){&hidden, 1};
    }
    AUTO(buf_deinit) struct buf record = {0};
    cbor_encode(&supervisor_plan_shape, &plan, PLAN_VERSION, NULL, &record);
    return oci_write_file(task->run, "plan", 0600, buf_view(&record), err);
}

static int check_task(const struct oci *oci, const struct runtime_task *task, struct err *err)
{
    int rc = oci_check_id(task->id, err);
    if (rc != 0) {
        return rc;
    }
    if (task->spec->definition == NULL || task->container_count == 0) {
        return err_set(err, ERR_INVALID, "the task has no containers");
    }
    for (size_t i = 0; i < task->container_count; i++) {
        struct text name = task->containers[i].definition->name;
        // A name becomes one of a directory.
        if (text_empty(name) || name.size > NAME_MAX || text_find(name, '/') != SIZE_MAX ||
            name.data[0] == '.') {
            return err_set(err, ERR_INVALID, "'%.*s' is no name for a container", TEXT_FMT(name));
        }
    }
    if (oci_alive(oci, task->id)) {
        return err_set(err, ERR_BUSY, "the task runs already");
    }
    return 0;
}

// Left by a clean of the same task that failed half-way; it was never launched, or no agent would
// prepare it.
static void forget_kill(const struct oci_task *task)
{
    AUTO(alloc_string)
    char *path = alloc_format("%.*s/%s", TEXT_FMT(task->run), SUPERVISOR_KILLED_NAME);
    IGNORE(unlink(path) != 0, "it is hardly ever there");
}

static int prepare(const struct oci_task *task, struct err *err)
{
    const struct session_task_spec *spec = task->task->spec;
    int rc = file_make_dirs(task->run.data, 0711, err);
    if (rc == 0) {
        forget_kill(task);
        rc = file_make_dirs(task->data.data, 0711, err);
    }
    if (rc == 0) {
        rc = oci_storage_make(task, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct cgroup_limits limits = {
        .cpu_units = spec->cpu_units > 0 ? (uint64_t)spec->cpu_units : 0,
        .memory_mib = spec->memory_mib > 0 ? (uint64_t)spec->memory_mib : 0,
        .swap_mib = spec_task_swap_mib(spec->definition),
    };
    pthread_mutex_lock(&task->oci->group_lock);
    rc = cgroup_create(&task->cgroup, &limits, err);
    pthread_mutex_unlock(&task->oci->group_lock);
    if (rc != 0) {
        return rc;
    }
    struct supervisor_plan_container *containers =
        arena_array(task->arena, task->task->container_count, sizeof(*containers));
    for (size_t i = 0; i < task->task->container_count; i++) {
        rc = oci_container_prepare(task, i, &containers[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    return write_plan(task, containers, err);
}

int oci_prepare(struct runtime *runtime, const struct runtime_task *task, struct err *err)
{
    struct oci *oci = oci_of(runtime);
    int rc = check_task(oci, task, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(arena_deinit) struct arena arena = {0};
    const struct image **images =
        arena_array(&arena, task->container_count, sizeof(const struct image *));
    for (size_t i = 0; i < task->container_count; i++) {
        images[i] = task->containers[i].image;
    }
    const struct oci_task prepared = {
        .oci = oci,
        .task = task,
        .definition = spec_with_image_volumes(task->spec->definition, images, &arena),
        .cgroup = oci_cgroup(oci, task->id),
        .arena = &arena,
        .run = oci_run_directory(oci, task->id, &arena),
        .data = oci_data_directory(oci, task->id, &arena),
    };
    return prepare(&prepared, err);
}
