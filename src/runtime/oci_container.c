#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/config.h"
#include "runtime/spec.h"
#include "runtime/user.h"
#include "task/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define CPU_SHARES_MIN 2 // the kernel's
#define MIB (UINT64_C(1) << 20)
#define INIT_PATH "/dev/init" // on the tmpfs of /dev, so that no image needs room for it

/** One container while its bundle is made. */
struct bundle {
    const struct oci_task *task;
    const struct ecs_container_definition *definition;
    const struct image *image;
    size_t index;
    struct arena *arena;
    struct text path;
    struct text files; ///< where its own files of /etc are
    struct overlay overlay;
    int root_fd;
    struct config config;
    struct config_mount *mounts;
    struct text_list links; ///< variables of the containers that it links to
};

static struct text joined(struct arena *arena, struct text directory, const char *name)
{
    return arena_format(arena, "%.*s/%s", TEXT_FMT(directory), name);
}

static struct text_list strings(struct arena *arena, const char *const *items, size_t count)
{
    struct text_list list = {.items = arena_array(arena, count, sizeof(struct text))};
    for (size_t i = 0; i < count; i++) {
        list.items[list.count++] = text_of(items[i]);
    }
    return list;
}

// The root of the merged tree has the upper layer's owner and mode: those of the image.
static int copy_root_attributes(const struct bundle *bundle, struct err *err)
{
    struct text_list layers = bundle->overlay.layers;
    struct stat status;
    const char *upper = bundle->overlay.upper.data;
    AUTO(alloc_string) char *top = alloc_format("%.*s", TEXT_FMT(layers.items[layers.count - 1]));
    if (stat(top, &status) != 0) {
        return err_sys(err, errno, "looking at layer '%s'", top);
    }
    if (chown(upper, status.st_uid, status.st_gid) != 0 ||
        chmod(upper, status.st_mode & 07777u) != 0) {
        return err_sys(err, errno, "preparing '%s'", upper);
    }
    return 0;
}

static int make_directories(struct bundle *bundle, struct err *err)
{
    const struct oci_task *task = bundle->task;
    struct text data =
        arena_format(bundle->arena, "%.*s/c/%zu", TEXT_FMT(task->data), bundle->index);
    // The container writes these, too: there they count as what it writes elsewhere, while the
    // directory of the run is the agent's, and often memory.
    bundle->files = joined(bundle->arena, data, "etc");
    struct text output = runtime_output_path(task->oci->data_dir, task->task->id,
                                             bundle->definition->name, bundle->arena);
    bundle->path = arena_format(bundle->arena, "%.*s/c/%zu", TEXT_FMT(task->run), bundle->index);
    bundle->overlay = (struct overlay){
        .layers = bundle->image->layers,
        .upper = joined(bundle->arena, data, "upper"),
        .work = joined(bundle->arena, data, "work"),
    };
    struct text paths[] = {
        joined(bundle->arena, bundle->path, "rootfs"),
        bundle->files,
        bundle->overlay.upper,
        bundle->overlay.work,
        arena_text(bundle->arena, text_slice(output, 0, text_find_last(output, '/'))),
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        int rc = file_make_dirs(paths[i].data, 0755, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (bundle->overlay.layers.count == 0) {
        return err_set(err, ERR_INVALID, "image '%.*s' has no layers",
                       TEXT_FMT(bundle->image->name));
    }
    return copy_root_attributes(bundle, err);
}

// Users and directories must be looked up in the merged tree. The supervisor mounts it in a mount
// namespace of its own; here it is mounted for a moment, and lives on behind the descriptor.
static int open_root(struct bundle *bundle, struct err *err)
{
    struct text target = joined(bundle->arena, bundle->path, "rootfs");
    int rc = overlay_mount(&bundle->overlay, target.data, err);
    if (rc != 0) {
        return rc;
    }
    bundle->root_fd = open(target.data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int number = errno;
    IGNORE(umount2(target.data, MNT_DETACH) != 0, "clean tries again");
    return bundle->root_fd < 0 ? err_sys(err, number, "opening '%s'", target.data) : 0;
}

static void add_bind(struct bundle *bundle, struct text source, struct text destination,
                     bool readonly)
{
    const char *const options[] = {"rbind", "rprivate", readonly ? "ro" : "rw"};
    bundle->mounts[bundle->config.mount_count++] = (struct config_mount){
        .destination = destination,
        .type = TEXT("bind"),
        .source = source,
        .options = strings(bundle->arena, options, ARRAY_LEN(options)),
    };
}

static int add_volumes(struct bundle *bundle, const struct ecs_mount_point_list *points,
                       struct err *err)
{
    for (size_t i = 0; i < points->count; i++) {
        const struct ecs_mount_point *point = &points->items[i];
        struct text destination = spec_clean_path(point->container_path, bundle->arena);
        struct text source = {0};
        if (destination.data == NULL) {
            return err_set(err, ERR_INVALID, "containerPath '%.*s' is not absolute",
                           TEXT_FMT(point->container_path));
        }
        int rc = oci_volume_source(bundle->task, bundle->root_fd, point->source_volume, destination,
                                   &source, err);
        if (rc != 0) {
            return rc;
        }
        add_bind(bundle, source, destination, point->read_only);
    }
    return 0;
}

static int add_tmpfs(struct bundle *bundle, struct err *err)
{
    const struct ecs_linux_parameters *parameters = bundle->definition->linux_parameters;
    for (size_t i = 0; parameters != NULL && i < parameters->tmpfs.count; i++) {
        const struct ecs_tmpfs *tmpfs = &parameters->tmpfs.items[i];
        struct text_list options = {
            .items =
                arena_array(bundle->arena, tmpfs->mount_options.count + 4, sizeof(struct text))};
        struct text destination = spec_clean_path(tmpfs->container_path, bundle->arena);
        if (destination.data == NULL || tmpfs->size <= 0) {
            return err_set(err, ERR_INVALID,
                           "a tmpfs of container '%.*s' has no valid path or size",
                           TEXT_FMT(bundle->definition->name));
        }
        options.items[options.count++] = TEXT("nosuid");
        options.items[options.count++] = TEXT("nodev");
        options.items[options.count++] = TEXT("noexec");
        for (size_t k = 0; k < tmpfs->mount_options.count; k++) {
            options.items[options.count++] = tmpfs->mount_options.items[k];
        }
        options.items[options.count++] =
            arena_format(bundle->arena, "size=%llu", (unsigned long long)tmpfs->size * MIB);
        bundle->mounts[bundle->config.mount_count++] = (struct config_mount){
            .destination = destination,
            .type = TEXT("tmpfs"),
            .source = TEXT("tmpfs"),
            .options = options,
        };
    }
    return 0;
}

static int compare_depth(const void *a, const void *b)
{
    const struct config_mount *left = a;
    const struct config_mount *right = b;
    size_t depths[2] = {0, 0};
    for (size_t i = 0; i < left->destination.size; i++) {
        depths[0] += left->destination.data[i] == '/' ? 1 : 0;
    }
    for (size_t i = 0; i < right->destination.size; i++) {
        depths[1] += right->destination.data[i] == '/' ? 1 : 0;
    }
    if (depths[0] != depths[1]) {
        return depths[0] < depths[1] ? -1 : 1;
    }
    return text_compare(left->destination, right->destination);
}

static void add_shared_memory(struct bundle *bundle)
{
    enum spec_sharing sharing = spec_ipc(bundle->task->task->spec->definition);
    if (sharing == SPEC_TASK) {
        add_bind(bundle, joined(bundle->arena, bundle->task->run, "shm"), TEXT("/dev/shm"), false);
    } else if (sharing == SPEC_HOST) {
        add_bind(bundle, TEXT("/dev/shm"), TEXT("/dev/shm"), false);
    }
}

static int fill_mounts(struct bundle *bundle, struct err *err)
{
    static const char *const files[] = {"hosts", "hostname", "resolv.conf"};
    const struct ecs_linux_parameters *parameters = bundle->definition->linux_parameters;
    struct ecs_mount_point_list points = {0};
    int rc =
        spec_mount_points(bundle->task->definition,
                          &bundle->task->definition->container_definitions.items[bundle->index],
                          bundle->arena, &points, err);
    if (rc != 0) {
        return rc;
    }
    size_t most =
        ARRAY_LEN(files) + 2 + points.count + (parameters == NULL ? 0 : parameters->tmpfs.count);
    bundle->mounts = arena_array(bundle->arena, most, sizeof(struct config_mount));
    bundle->config.mounts = bundle->mounts;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        add_bind(bundle, joined(bundle->arena, bundle->files, files[i]),
                 arena_format(bundle->arena, "/etc/%s", files[i]), false);
    }
    if (parameters != NULL && parameters->init_process_enabled) {
        add_bind(bundle, text_of(bundle->task->oci->supervisor), TEXT(INIT_PATH), true);
    }
    add_shared_memory(bundle);
    rc = add_tmpfs(bundle, err);
    if (rc == 0) {
        rc = add_volumes(bundle, &points, err);
    }
    if (rc == 0) {
        // What lies inside another mount comes after it, whatever the order of the definition.
        qsort(bundle->mounts, bundle->config.mount_count, sizeof(struct config_mount),
              compare_depth);
    }
    return rc;
}

static uint64_t own_capabilities(void)
{
    uint64_t own = 0;
    for (unsigned long i = 0; i < 64 && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        own |= (uint64_t)(prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1) << i;
    }
    return own;
}

// The supervisor's program is the container's first process, too, and runs the rest.
static struct text_list init_arguments(const struct bundle *bundle, struct text_list program)
{
    struct text_list list = {
        .items = arena_array(bundle->arena, program.count + 2, sizeof(struct text))};
    list.items[list.count++] = TEXT(INIT_PATH);
    list.items[list.count++] = TEXT("--init");
    for (size_t i = 0; i < program.count; i++) {
        list.items[list.count++] = program.items[i];
    }
    return list;
}

static struct text_list environment_of(const struct bundle *bundle, struct text home)
{
    const struct runtime_task *task = bundle->task->task;
    return spec_environment(bundle->definition, bundle->image, bundle->links, task->environment,
                            task->containers[bundle->index].environment, bundle->config.hostname,
                            home, bundle->arena);
}

static int fill_process(struct bundle *bundle, struct err *err)
{
    struct config_process *process = &bundle->config.process;
    const struct ecs_container_definition *definition = bundle->definition;
    struct user user = {0};
    int rc = spec_arguments(definition, bundle->image, bundle->arena, &process->arguments, err);
    if (rc != 0) {
        return rc;
    }
    if (definition->linux_parameters != NULL &&
        definition->linux_parameters->init_process_enabled) {
        process->arguments = init_arguments(bundle, process->arguments);
    }
    rc = user_resolve(bundle->root_fd,
                      text_empty(definition->user) ? bundle->image->user : definition->user,
                      bundle->arena, &user, err);
    if (rc != 0) {
        return rc;
    }
    struct text directory = text_empty(definition->working_directory)
                                ? bundle->image->working_directory
                                : definition->working_directory;
    process->directory =
        text_empty(directory) ? TEXT("/") : spec_clean_path(directory, bundle->arena);
    if (process->directory.data == NULL) {
        return err_set(err, ERR_INVALID, "the working directory '%.*s' is not absolute",
                       TEXT_FMT(directory));
    }
    rc = user_make_directory(bundle->root_fd, process->directory, err);
    if (rc != 0) {
        return rc;
    }
    rc = oci_link_environment(bundle->task, bundle->index, &bundle->links, err);
    if (rc != 0) {
        return rc;
    }
    process->uid = user.uid;
    process->gid = user.gid;
    process->groups = user.groups;
    process->group_count = user.group_count;
    process->environment = environment_of(bundle, user.home);
    process->capabilities = spec_capabilities(definition, own_capabilities(), bundle->arena);
    process->no_new_privileges = spec_no_new_privileges(definition);
    struct config_limit *limits = NULL;
    spec_limits(definition, runtime_hard_limit, bundle->arena, &limits, &process->limit_count);
    process->limits = limits;
    return 0;
}

// Processes and shared memory: the container's own, the task's (in its directory, see
// supervisor_namespaces.c), or the host's. Its mounts are in fill_mounts.
static void fill_namespaces(struct bundle *bundle)
{
    const struct ecs_task_definition *task = bundle->task->task->spec->definition;
    struct config *config = &bundle->config;
    config->pid.host = spec_pids(task) == SPEC_HOST;
    config->ipc.host = spec_ipc(task) == SPEC_HOST;
    if (spec_pids(task) == SPEC_TASK) {
        config->pid.path = joined(bundle->arena, bundle->task->run, "ns/pid");
    }
    if (spec_ipc(task) == SPEC_TASK) {
        config->ipc.path = joined(bundle->arena, bundle->task->run, "ns/ipc");
    }
    // With ipcMode none there is no /dev/shm at all, as in Docker.
    config->shm_bytes = spec_ipc(task) == SPEC_OWN && task->ipc_mode != ECS_IPC_MODE_NONE
                            ? spec_shm_mib(task, bundle->definition) * MIB
                            : 0;
}

static int fill_swap(struct bundle *bundle, struct err *err)
{
    struct config *config = &bundle->config;
    struct sysinfo info = {0};
    const struct spec_swap_host host = {
        .accounted = cgroup_limits_swap(&bundle->task->cgroup),
        .has_swap = sysinfo(&info) == 0 && info.totalswap > 0,
        .per_group = cgroup_has_swappiness(&bundle->task->cgroup),
    };
    struct spec_swap swap = {0};
    int rc = spec_swap(bundle->definition, &host, &swap, err);
    if (rc != 0) {
        return rc;
    }
    config->limit_swap = host.accounted;
    config->swap_bytes = swap.limited ? swap.mib * MIB : 0;
    config->has_swappiness = swap.has_swappiness;
    config->swappiness = swap.swappiness;
    return 0;
}

static int write_config(struct bundle *bundle, struct err *err)
{
    const struct ecs_container_definition *definition = bundle->definition;
    const struct runtime_task *task = bundle->task->task;
    struct config *config = &bundle->config;
    config->readonly_root = definition->readonly_root_filesystem;
    config->network_namespace = oci_network_namespace(task, bundle->index);
    config->network_off = definition->disable_networking ||
                          task->spec->definition->network_mode == ECS_NETWORK_MODE_NONE;
    config->privileged = definition->privileged;
    config->confined = spec_confined(definition);
    config->process.terminal = definition->pseudo_terminal;
    fill_namespaces(bundle);
    int rc = oci_devices(definition, bundle->arena, &config->devices, &config->device_count, err);
    if (rc != 0) {
        return rc;
    }
    config->cgroup_path = cgroup_container_path(&bundle->task->cgroup, bundle->index,
                                                definition->name, bundle->arena);
    bool own_network = config->network_off || config->network_namespace.data != NULL;
    config->sysctls = spec_sysctls(definition, own_network, bundle->arena);
    config->memory_bytes = definition->memory > 0 ? (uint64_t)definition->memory * MIB : 0;
    config->memory_reservation_bytes =
        definition->memory_reservation > 0 ? (uint64_t)definition->memory_reservation * MIB : 0;
    rc = fill_swap(bundle, err);
    if (rc != 0) {
        return rc;
    }
    config->annotations = spec_annotations(definition, bundle->arena);
    if (config->confined && atomic_load(&bundle->task->oci->takes_programs)) {
        rc = oci_filter(bundle->task->oci, config->process.capabilities, bundle->arena,
                        &config->filter, err);
        if (rc != 0) {
            return rc;
        }
    }
    config->pids_max = bundle->task->oci->pids_max;
    config->cpu_shares = (uint64_t)MAX(definition->cpu, CPU_SHARES_MIN);
    AUTO(buf_deinit) struct buf document = {0};
    config_write(config, &document);
    return oci_write_file(bundle->path, "config.json", 0600, buf_view(&document), err);
}

// The filter of what enters the container later. Whatever the runtime is given for the first
// process, here it is a program.
static int command_filter(struct bundle *bundle, struct text *out_filter, struct err *err)
{
    *out_filter = bundle->config.filter;
    return !bundle->config.confined || out_filter->data != NULL
               ? 0
               : oci_filter(bundle->task->oci, bundle->config.process.capabilities, bundle->arena,
                            out_filter, err);
}

// How a command is run in the container, for the supervisor.
static int write_command(struct bundle *bundle, struct text_list command, const char *name,
                         struct text *out_path, struct err *err)
{
    struct config_process process = bundle->config.process;
    struct text filter = {0};
    process.terminal = false;
    process.arguments = command;
    *out_path = joined(bundle->arena, bundle->path, name);
    int rc = command_filter(bundle, &filter, err);
    return rc != 0 ? rc
                   : oci_command_write(&process, filter, bundle->path, name, bundle->arena, err);
}

static int write_commands(struct bundle *bundle, struct supervisor_plan_container *plan,
                          struct err *err)
{
    struct shape_extension extension = {0};
    int rc = spec_extension(bundle->definition, bundle->arena, &extension, err);
    if (rc == 0 && plan->health_check != NULL) {
        rc = write_command(bundle, plan->health_check->command, "health.process",
                           &plan->health_check->process, err);
    }
    if (rc == 0 && plan->readiness != NULL) {
        rc = write_command(bundle, plan->readiness->command, "readiness.process",
                           &plan->readiness->process, err);
    }
    if (rc == 0 && plan->post_start != NULL) {
        rc = write_command(bundle, extension.post_start, "post-start.process",
                           &plan->post_start->process, err);
    }
    if (rc == 0 && plan->pre_stop != NULL) {
        rc = write_command(bundle, extension.pre_stop, "pre-stop.process", &plan->pre_stop->process,
                           err);
    }
    return rc;
}

// How commands of ECS Exec are run: as root, on a terminal, with the container's environment.
static int write_exec(struct bundle *bundle, struct err *err)
{
    struct config_process process = bundle->config.process;
    struct user root = {0};
    int rc = user_resolve(bundle->root_fd, TEXT("0"), bundle->arena, &root, err);
    if (rc != 0) {
        return rc;
    }
    process.terminal = true;
    process.uid = root.uid;
    process.gid = root.gid;
    process.groups = root.groups;
    process.group_count = root.group_count;
    process.environment = spec_exec_environment(environment_of(bundle, root.home), bundle->arena);
    process.arguments = (struct text_list){0};
    struct text filter = {0};
    rc = command_filter(bundle, &filter, err);
    return rc != 0 ? rc
                   : oci_command_write(&process, filter, bundle->path, OCI_EXEC_TEMPLATE,
                                       bundle->arena, err);
}

static bool may_trace(const struct bundle *bundle)
{
    const struct text_list *capabilities = &bundle->config.process.capabilities;
    for (size_t i = 0; i < capabilities->count; i++) {
        if (text_is(capabilities->items[i], "CAP_SYS_PTRACE")) {
            return true;
        }
    }
    return false;
}

// What the runtime makes a container of has more rights than a container for a moment. Where the
// task's containers see one another's processes, one that may trace must not run meanwhile. With
// the host's it could do worse.
static int fill_freezer(const struct bundle *bundle, struct supervisor_plan_container *plan,
                        struct err *err)
{
    if (spec_pids(bundle->task->task->spec->definition) != SPEC_TASK || !may_trace(bundle)) {
        return 0;
    }
    plan->freezer =
        cgroup_freezer_directory(&bundle->task->cgroup, bundle->index, plan->name, bundle->arena);
    if (text_empty(plan->freezer)) {
        return err_set(err, ERR_UNSUPPORTED,
                       "SYS_PTRACE together with pidMode task takes the freezer of cgroups, which "
                       "this host has not mounted");
    }
    return 0;
}

static int fill_plan(struct bundle *bundle, struct supervisor_plan_container *out_plan,
                     struct err *err)
{
    const struct ecs_container_definition *definition = bundle->definition;
    const struct runtime_task *task = bundle->task->task;
    struct supervisor_plan_container plan = {0};
    int rc = spec_plan(definition, bundle->image, bundle->arena, &plan, err);
    if (rc != 0) {
        return rc;
    }
    spec_links_depend(definition, bundle->arena, &plan.depends_on);
    plan.id = runtime_container_id(task->id, bundle->index, bundle->arena);
    plan.bundle = bundle->path;
    plan.output =
        runtime_output_path(bundle->task->oci->data_dir, task->id, definition->name, bundle->arena);
    plan.cgroup = cgroup_memory_directory(&bundle->task->cgroup, bundle->index, definition->name,
                                          bundle->arena);
    plan.has_shares_pids = spec_pids(task->spec->definition) != SPEC_OWN;
    plan.shares_pids = plan.has_shares_pids;
    plan.layers = bundle->overlay.layers;
    plan.upper = bundle->overlay.upper;
    plan.work = bundle->overlay.work;
    rc = fill_freezer(bundle, &plan, err);
    rc = rc != 0 ? rc : write_commands(bundle, &plan, err);
    if (rc == 0 && task->spec->enable_execute_command) {
        rc = write_exec(bundle, err);
    }
    if (rc == 0) {
        *out_plan = plan;
    }
    return rc;
}

static int prepare_bundle(struct bundle *bundle, struct supervisor_plan_container *out_plan,
                          struct err *err)
{
    int rc = make_directories(bundle, err);
    if (rc != 0) {
        return rc;
    }
    rc = open_root(bundle, err);
    if (rc != 0) {
        return rc;
    }
    rc = oci_files_write(bundle->task, bundle->index, bundle->files, err);
    if (rc != 0) {
        return rc;
    }
    rc = fill_process(bundle, err);
    if (rc != 0) {
        return rc;
    }
    rc = fill_mounts(bundle, err);
    if (rc != 0) {
        return rc;
    }
    rc = write_config(bundle, err);
    if (rc != 0) {
        return rc;
    }
    return fill_plan(bundle, out_plan, err);
}

int oci_container_prepare(const struct oci_task *task, size_t index,
                          struct supervisor_plan_container *out_plan, struct err *err)
{
    struct bundle bundle = {
        .task = task,
        .definition = task->task->containers[index].definition,
        .image = task->task->containers[index].image,
        .index = index,
        .arena = task->arena,
        .root_fd = -1,
        .config.hostname = oci_hostname(task->task, index, task->arena),
    };
    int rc = spec_supported(task->task->spec->definition, bundle.definition, err);
    if (rc == 0) {
        rc = prepare_bundle(&bundle, out_plan, err);
    }
    fd_close(bundle.root_fd);
    return rc == 0 ? 0 : err_wrap(err, "container '%.*s'", TEXT_FMT(bundle.definition->name));
}
