#include "runtime/config.h"

#include "base/text.h"
#include "runtime/config_internal.h"
#include "runtime/syscalls.h"
#include "shape/json.h"

#include <string.h>

// Docker's choices: what must not be seen or written from inside, and why is in the kernel's
// documentation of each.
static const char *const masked_paths[] = {
    "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

struct default_mount {
    const char *destination;
    const char *type;
    const char *source;
    const char *options[8]; ///< "ro" is left out for privileged containers
};

static const struct default_mount default_mounts[] = {
    {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
    {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
    {"/dev/pts",
     "devpts",
     "devpts",
     {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
    {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
    {"/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}},
    {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
};

// Docker's device rules: nothing, but making nodes, and the harmless ones.
struct device_rule {
    bool allow;
    char type; ///< 'a' for all
    int major; ///< -1 for any
    int minor;
    const char *access;
};

static const struct device_rule device_rules[] = {
    {false, 'a', -1, -1, "rwm"}, {true, 'c', -1, -1, "m"},    {true, 'b', -1, -1, "m"},
    {true, 'c', 1, 3, "rwm"},    {true, 'c', 1, 5, "rwm"},    {true, 'c', 1, 7, "rwm"},
    {true, 'c', 1, 8, "rwm"},    {true, 'c', 1, 9, "rwm"},    {true, 'c', 5, 0, "rwm"},
    {true, 'c', 5, 2, "rwm"},    {true, 'c', 136, -1, "rwm"},
};

void config_comma(struct buf *out)
{
    char last = out->size == 0 ? '{' : out->data[out->size - 1];
    if (last != '{' && last != '[') {
        buf_byte(out, ',');
    }
}

void config_key(struct buf *out, const char *name)
{
    config_comma(out);
    buf_format(out, "\"%s\":", name);
}

static void member(struct buf *out, const char *name, struct text value)
{
    config_key(out, name);
    json_quote(value, out);
}

static void member_number(struct buf *out, const char *name, uint64_t value)
{
    config_key(out, name);
    buf_format(out, "%llu", (unsigned long long)value);
}

static void member_bool(struct buf *out, const char *name, bool value)
{
    config_key(out, name);
    buf_string(out, value ? "true" : "false");
}

static void member_texts(struct buf *out, const char *name, struct text_list list)
{
    config_key(out, name);
    buf_byte(out, '[');
    for (size_t i = 0; i < list.count; i++) {
        config_comma(out);
        json_quote(list.items[i], out);
    }
    buf_byte(out, ']');
}

static void member_strings(struct buf *out, const char *name, const char *const *strings,
                           size_t count)
{
    config_key(out, name);
    buf_byte(out, '[');
    for (size_t i = 0; i < count && strings[i] != NULL; i++) {
        config_comma(out);
        json_quote(text_of(strings[i]), out);
    }
    buf_byte(out, ']');
}

static void write_user(const struct config_process *process, struct buf *out)
{
    config_key(out, "user");
    buf_byte(out, '{');
    member_number(out, "uid", process->uid);
    member_number(out, "gid", process->gid);
    config_key(out, "additionalGids");
    buf_byte(out, '[');
    for (size_t i = 0; i < process->group_count; i++) {
        config_comma(out);
        buf_format(out, "%u", process->groups[i]);
    }
    buf_string(out, "]}");
}

static void write_limits(const struct config_process *process, struct buf *out)
{
    config_key(out, "rlimits");
    buf_byte(out, '[');
    for (size_t i = 0; i < process->limit_count; i++) {
        config_comma(out);
        buf_byte(out, '{');
        member(out, "type", text_of(process->limits[i].name));
        member_number(out, "hard", process->limits[i].hard);
        member_number(out, "soft", process->limits[i].soft);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void write_process(const struct config_process *process, struct buf *out)
{
    buf_byte(out, '{');
    member_bool(out, "terminal", process->terminal);
    write_user(process, out);
    member_texts(out, "env", process->environment);
    member(out, "cwd", process->directory);
    config_key(out, "capabilities");
    buf_byte(out, '{');
    // Not inheritable ones, as Docker since 20.10.14: a program could pass them on by file
    // capabilities. The kernel takes effective and permitted ones from other users than root.
    member_texts(out, "bounding", process->capabilities);
    member_texts(out, "effective", process->capabilities);
    member_texts(out, "permitted", process->capabilities);
    buf_byte(out, '}');
    write_limits(process, out);
    member_number(out, "oomScoreAdj", CONFIG_OOM_SCORE);
    member_bool(out, "noNewPrivileges", process->no_new_privileges);
    member_texts(out, "args", process->arguments);
    buf_byte(out, '}');
}

static void write_shm(const struct config *config, struct buf *out)
{
    if (config->shm_bytes == 0) {
        return;
    }
    config_comma(out);
    buf_byte(out, '{');
    member(out, "destination", TEXT("/dev/shm"));
    member(out, "type", TEXT("tmpfs"));
    member(out, "source", TEXT("shm"));
    config_key(out, "options");
    buf_format(out, "[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=%llu\"]}",
               (unsigned long long)config->shm_bytes);
}

static void write_options(const struct default_mount *mount, bool writable, struct buf *out)
{
    config_key(out, "options");
    buf_byte(out, '[');
    for (size_t i = 0; i < ARRAY_LEN(mount->options) && mount->options[i] != NULL; i++) {
        if (!writable || strcmp(mount->options[i], "ro") != 0) {
            config_comma(out);
            json_quote(text_of(mount->options[i]), out);
        }
    }
    buf_byte(out, ']');
}

static void write_mounts(const struct config *config, struct buf *out)
{
    config_key(out, "mounts");
    buf_byte(out, '[');
    for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++) {
        const struct default_mount *mount = &default_mounts[i];
        config_comma(out);
        buf_byte(out, '{');
        member(out, "destination", text_of(mount->destination));
        member(out, "type", text_of(mount->type));
        member(out, "source", text_of(mount->source));
        write_options(mount, config->privileged, out);
        buf_byte(out, '}');
    }
    write_shm(config, out);
    for (size_t i = 0; i < config->mount_count; i++) {
        const struct config_mount *mount = &config->mounts[i];
        config_comma(out);
        buf_byte(out, '{');
        member(out, "destination", mount->destination);
        member(out, "type", mount->type);
        member(out, "source", mount->source);
        member_texts(out, "options", mount->options);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void write_namespace(const char *type, const struct config_namespace *namespace,
                            struct buf *out)
{
    if (namespace->host) {
        return;
    }
    config_comma(out);
    buf_byte(out, '{');
    member(out, "type", text_of(type));
    if (namespace->path.data != NULL) {
        member(out, "path", namespace->path);
    }
    buf_byte(out, '}');
}

static void write_namespaces(const struct config *config, struct buf *out)
{
    static const struct config_namespace own = {0};
    static const char *const names[] = {"uts", "mount", "cgroup"};
    config_key(out, "namespaces");
    buf_byte(out, '[');
    write_namespace("pid", &config->pid, out);
    write_namespace("ipc", &config->ipc, out);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        write_namespace(names[i], &own, out);
    }
    if (config->network_off || config->network_namespace.data != NULL) {
        config_comma(out);
        buf_byte(out, '{');
        member(out, "type", TEXT("network"));
        if (!config->network_off) {
            member(out, "path", config->network_namespace);
        }
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void write_device_rule(const struct device_rule *rule, struct buf *out)
{
    config_comma(out);
    buf_byte(out, '{');
    member_bool(out, "allow", rule->allow);
    if (rule->type != 'a') {
        member(out, "type", (struct text){&rule->type, 1});
    }
    if (rule->major >= 0) {
        member_number(out, "major", (uint64_t)rule->major);
    }
    if (rule->minor >= 0) {
        member_number(out, "minor", (uint64_t)rule->minor);
    }
    member(out, "access", text_of(rule->access));
    buf_byte(out, '}');
}

static void write_device_rules(const struct config *config, struct buf *out)
{
    static const struct device_rule everything = {true, 'a', -1, -1, "rwm"};
    config_key(out, "devices");
    buf_byte(out, '[');
    if (config->privileged) {
        write_device_rule(&everything, out);
        buf_byte(out, ']');
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(device_rules); i++) {
        write_device_rule(&device_rules[i], out);
    }
    for (size_t i = 0; i < config->device_count; i++) {
        const struct config_device *device = &config->devices[i];
        write_device_rule(&(struct device_rule){true, device->type, (int)device->major,
                                                (int)device->minor, device->access},
                          out);
    }
    buf_byte(out, ']');
}

static void write_device_nodes(const struct config *config, struct buf *out)
{
    config_key(out, "devices");
    buf_byte(out, '[');
    for (size_t i = 0; i < config->device_count; i++) {
        const struct config_device *device = &config->devices[i];
        config_comma(out);
        buf_byte(out, '{');
        member(out, "path", device->path);
        member(out, "type", (struct text){&device->type, 1});
        member_number(out, "major", device->major);
        member_number(out, "minor", device->minor);
        member_number(out, "fileMode", device->mode);
        member_number(out, "uid", device->uid);
        member_number(out, "gid", device->gid);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void write_resources(const struct config *config, struct buf *out)
{
    config_key(out, "resources");
    buf_byte(out, '{');
    write_device_rules(config, out);
    if (config->memory_bytes > 0 || config->memory_reservation_bytes > 0) {
        config_key(out, "memory");
        buf_byte(out, '{');
        if (config->memory_bytes > 0) {
            member_number(out, "limit", config->memory_bytes);
        }
        if (config->memory_bytes > 0 && config->limit_swap) {
            member_number(out, "swap", config->memory_bytes + config->swap_bytes);
        }
        if (config->has_swappiness) {
            member_number(out, "swappiness", config->swappiness);
        }
        if (config->memory_reservation_bytes > 0) {
            member_number(out, "reservation", config->memory_reservation_bytes);
        }
        buf_byte(out, '}');
    }
    // Said also when there is no limit, which 0 is: crun has one of its own otherwise, and writes
    // -1 as it is, which the kernel refuses.
    config_key(out, "pids");
    buf_format(out, "{\"limit\":%u}", config->pids_max);
    config_key(out, "cpu");
    buf_byte(out, '{');
    member_number(out, "shares", config->cpu_shares);
    buf_string(out, "}}");
}

static void write_entries(const struct text_map *map, struct buf *out)
{
    for (size_t i = 0; i < map->count; i++) {
        config_comma(out);
        json_quote(map->items[i].key, out);
        buf_byte(out, ':');
        json_quote(map->items[i].value, out);
    }
}

static void write_annotations(const struct config *config, struct buf *out)
{
    config_key(out, "annotations");
    buf_byte(out, '{');
    write_entries(&config->annotations, out);
    if (config->confined && config->filter.data != NULL) {
        config_key(out, SYSCALLS_ANNOTATION);
        json_quote_bytes(config->filter, out);
    }
    buf_byte(out, '}');
}

static void write_linux(const struct config *config, struct buf *out)
{
    config_key(out, "linux");
    buf_byte(out, '{');
    write_namespaces(config, out);
    member(out, "cgroupsPath", config->cgroup_path);
    write_resources(config, out);
    write_device_nodes(config, out);
    config_key(out, "sysctl");
    buf_byte(out, '{');
    write_entries(&config->sysctls, out);
    buf_byte(out, '}');
    // Never both: reading this much of a document takes the runtime milliseconds.
    if (config->confined && config->filter.data == NULL) {
        syscalls_write(syscalls_grants(config->process.capabilities), out);
    }
    if (!config->privileged) {
        member_strings(out, "maskedPaths", masked_paths, ARRAY_LEN(masked_paths));
        member_strings(out, "readonlyPaths", readonly_paths, ARRAY_LEN(readonly_paths));
    }
    buf_byte(out, '}');
}

void config_write(const struct config *config, struct buf *out)
{
    ASSERT(config->cpu_shares >= 2);
    ASSERT(config->process.arguments.count > 0);
    buf_byte(out, '{');
    member(out, "ociVersion", TEXT("1.0.2"));
    config_key(out, "process");
    write_process(&config->process, out);
    config_key(out, "root");
    buf_byte(out, '{');
    member(out, "path", TEXT("rootfs"));
    member_bool(out, "readonly", config->readonly_root);
    buf_byte(out, '}');
    member(out, "hostname", config->hostname);
    write_mounts(config, out);
    write_linux(config, out);
    write_annotations(config, out);
    buf_byte(out, '}');
}
