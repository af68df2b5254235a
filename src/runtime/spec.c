#include "runtime/spec.h"

#include "base/buf.h"
#include "base/text.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NOFILE_DEFAULT 65535 // ECS's, on Fargate and in its machine images

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Docker's default set.
static const char *const default_capabilities[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

// All that Linux 6.1 knows, in the order of their numbers.
static const char *const all_capabilities[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};

struct signal_name {
    const char *name;
    int32_t number;
};

static const struct signal_name signal_names[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},
};

// Of the C library's range; the kernel's begins two lower, and threads use those.
#define SIGNAL_REALTIME_MIN 34
#define SIGNAL_MAX 64

struct limit_name {
    enum ecs_ulimit_name ecs;
    int resource;
    const char *name;
};

static const struct limit_name limit_names[] = {
    {ECS_ULIMIT_NAME_CORE, RLIMIT_CORE, "RLIMIT_CORE"},
    {ECS_ULIMIT_NAME_CPU, RLIMIT_CPU, "RLIMIT_CPU"},
    {ECS_ULIMIT_NAME_DATA, RLIMIT_DATA, "RLIMIT_DATA"},
    {ECS_ULIMIT_NAME_FSIZE, RLIMIT_FSIZE, "RLIMIT_FSIZE"},
    {ECS_ULIMIT_NAME_LOCKS, RLIMIT_LOCKS, "RLIMIT_LOCKS"},
    {ECS_ULIMIT_NAME_MEMLOCK, RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
    {ECS_ULIMIT_NAME_MSGQUEUE, RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"},
    {ECS_ULIMIT_NAME_NICE, RLIMIT_NICE, "RLIMIT_NICE"},
    {ECS_ULIMIT_NAME_NOFILE, RLIMIT_NOFILE, "RLIMIT_NOFILE"},
    {ECS_ULIMIT_NAME_NPROC, RLIMIT_NPROC, "RLIMIT_NPROC"},
    {ECS_ULIMIT_NAME_RSS, RLIMIT_RSS, "RLIMIT_RSS"},
    {ECS_ULIMIT_NAME_RTPRIO, RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
    {ECS_ULIMIT_NAME_RTTIME, RLIMIT_RTTIME, "RLIMIT_RTTIME"},
    {ECS_ULIMIT_NAME_SIGPENDING, RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
    {ECS_ULIMIT_NAME_STACK, RLIMIT_STACK, "RLIMIT_STACK"},
};

int spec_arguments(const struct ecs_container_definition *definition, const struct image *image,
                   struct arena *arena, struct text_list *out_arguments, struct err *err)
{
    bool own = definition->entry_point.count > 0;
    struct text_list first = own ? definition->entry_point : image->entry_point;
    struct text_list second = definition->command;
    if (second.count == 0 && !own) {
        second = image->command;
    }
    struct text_list list = {
        .items = arena_array(arena, first.count + second.count, sizeof(struct text))};
    for (size_t i = 0; i < first.count; i++) {
        list.items[list.count++] = first.items[i];
    }
    for (size_t i = 0; i < second.count; i++) {
        list.items[list.count++] = second.items[i];
    }
    if (list.count == 0 || text_empty(list.items[0])) {
        return err_set(err, ERR_INVALID,
                       "neither container '%.*s' nor its image says what to run: set command or "
                       "entryPoint",
                       TEXT_FMT(definition->name));
    }
    *out_arguments = list;
    return 0;
}

static struct text variable_name(struct text variable)
{
    return text_slice(variable, 0, MIN(text_find(variable, '='), variable.size));
}

static void put_variable(struct text_list *list, struct text variable)
{
    struct text name = variable_name(variable);
    for (size_t i = 0; i < list->count; i++) {
        if (text_equal(variable_name(list->items[i]), name)) {
            list->items[i] = variable;
            return;
        }
    }
    list->items[list->count++] = variable;
}

static bool has_variable(const struct text_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (text_is(variable_name(list->items[i]), name)) {
            return true;
        }
    }
    return false;
}

struct text_list spec_environment(const struct ecs_container_definition *definition,
                                  const struct image *image, struct text_list link_environment,
                                  struct text_list task_environment, struct text_list own,
                                  struct text hostname, struct text home, struct arena *arena)
{
    size_t most = 4 + link_environment.count + image->environment.count + task_environment.count +
                  definition->environment.count + own.count;
    struct text_list list = {.items = arena_array(arena, most, sizeof(struct text))};
    put_variable(&list, arena_format(arena, "PATH=%s", default_path));
    put_variable(&list, arena_format(arena, "HOSTNAME=%.*s", TEXT_FMT(hostname)));
    if (definition->pseudo_terminal) {
        put_variable(&list, TEXT("TERM=xterm")); // Docker's
    }
    for (size_t i = 0; i < link_environment.count; i++) {
        put_variable(&list, link_environment.items[i]);
    }
    for (size_t i = 0; i < image->environment.count; i++) {
        put_variable(&list, image->environment.items[i]);
    }
    for (size_t i = 0; i < task_environment.count; i++) {
        put_variable(&list, task_environment.items[i]);
    }
    for (size_t i = 0; i < definition->environment.count; i++) {
        const struct ecs_key_value_pair *pair = &definition->environment.items[i];
        put_variable(&list,
                     arena_format(arena, "%.*s=%.*s", TEXT_FMT(pair->name), TEXT_FMT(pair->value)));
    }
    for (size_t i = 0; i < own.count; i++) {
        put_variable(&list, own.items[i]);
    }
    if (!has_variable(&list, "HOME")) {
        put_variable(&list, arena_format(arena, "HOME=%.*s", TEXT_FMT(home)));
    }
    return list;
}

struct text_list spec_exec_environment(struct text_list environment, struct arena *arena)
{
    struct text_list list = {.items =
                                 arena_array(arena, environment.count + 1, sizeof(struct text))};
    for (size_t i = 0; i < environment.count; i++) {
        list.items[list.count++] = environment.items[i];
    }
    if (!has_variable(&list, "TERM")) {
        list.items[list.count++] = TEXT("TERM=xterm-256color"); // of Session Manager's agent
    }
    return list;
}

static int realtime_signal(struct text name, int32_t *out_signal)
{
    struct text digits = text_slice(name, sizeof("RTMIN+") - 1, name.size);
    bool up = text_starts(name, TEXT("RTMIN"));
    uint64_t offset = 0;
    if (name.size > sizeof("RTMIN") - 1 &&
        (name.data[sizeof("RTMIN") - 1] != (up ? '+' : '-') || text_to_u64(digits, &offset) != 0 ||
         offset > SIGNAL_MAX - SIGNAL_REALTIME_MIN)) {
        return ERR_INVALID;
    }
    *out_signal = up ? SIGNAL_REALTIME_MIN + (int32_t)offset : SIGNAL_MAX - (int32_t)offset;
    return 0;
}

int spec_signal(struct text name, int32_t *out_signal)
{
    if (text_empty(name)) {
        *out_signal = SIGTERM;
        return 0;
    }
    uint64_t number = 0;
    if (text_to_u64(name, &number) == 0) {
        if (number < 1 || number > SIGNAL_MAX) {
            return ERR_INVALID;
        }
        *out_signal = (int32_t)number;
        return 0;
    }
    struct text bare = name;
    if (text_equal_nocase(text_slice(name, 0, 3), TEXT("SIG"))) {
        bare = text_slice(name, 3, name.size);
    }
    if (text_starts(bare, TEXT("RTMIN")) || text_starts(bare, TEXT("RTMAX"))) {
        return realtime_signal(bare, out_signal);
    }
    for (size_t i = 0; i < ARRAY_LEN(signal_names); i++) {
        if (text_equal_nocase(bare, text_of(signal_names[i].name))) {
            *out_signal = signal_names[i].number;
            return 0;
        }
    }
    return ERR_INVALID;
}

struct text_list spec_health_command(struct text_list command, struct arena *arena)
{
    struct text_list list = {0};
    if (command.count == 0 || text_is(command.items[0], "NONE")) {
        return list;
    }
    bool shell = text_is(command.items[0], "CMD-SHELL");
    size_t skip = shell || text_is(command.items[0], "CMD") ? 1 : 0;
    if (command.count == skip) {
        return list;
    }
    list.items = arena_array(arena, command.count + 2, sizeof(struct text));
    if (shell) {
        list.items[list.count++] = TEXT("/bin/sh");
        list.items[list.count++] = TEXT("-c");
    }
    for (size_t i = skip; i < command.count; i++) {
        list.items[list.count++] = command.items[i];
    }
    return list;
}

// With or without CAP_ in front, in any case, as Docker takes them.
static bool names_capability(struct text_list list, const char *name)
{
    for (size_t i = 0; i < list.count; i++) {
        struct text item = list.items[i];
        if (text_equal_nocase(text_slice(item, 0, 4), TEXT("CAP_"))) {
            item = text_slice(item, 4, item.size);
        }
        if (text_equal_nocase(item, text_of(name)) || text_equal_nocase(item, TEXT("ALL"))) {
            return true;
        }
    }
    return false;
}

static bool is_default_capability(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(default_capabilities); i++) {
        if (strcmp(default_capabilities[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool listed_by_name(struct text_list list, const char *name)
{
    for (size_t i = 0; i < list.count; i++) {
        struct text_list one = {&list.items[i], 1};
        if (!text_equal_nocase(list.items[i], TEXT("ALL")) && names_capability(one, name)) {
            return true;
        }
    }
    return false;
}

struct text_list spec_capabilities(const struct ecs_container_definition *definition, uint64_t own,
                                   struct arena *arena)
{
    static const struct ecs_kernel_capabilities none = {0};
    const struct ecs_linux_parameters *parameters = definition->linux_parameters;
    const struct ecs_kernel_capabilities *change =
        parameters == NULL || parameters->capabilities == NULL ? &none : parameters->capabilities;
    struct text_list list = {
        .items = arena_array(arena, ARRAY_LEN(all_capabilities), sizeof(struct text))};
    for (size_t i = 0; i < ARRAY_LEN(all_capabilities); i++) {
        const char *name = all_capabilities[i];
        bool owned = (own >> i & 1) != 0;
        if (definition->privileged) {
            if (owned) {
                list.items[list.count++] = arena_format(arena, "CAP_%s", name);
            }
            continue;
        }
        // A name in either list is stronger than ALL in the other: drop ALL, add CHOWN keeps CHOWN.
        bool added = listed_by_name(change->add, name);
        bool dropped = listed_by_name(change->drop, name);
        bool all_dropped = names_capability(change->drop, name) && !dropped;
        bool all_added = names_capability(change->add, name) && !added && owned;
        bool has = is_default_capability(name) || all_added;
        has = has && !all_dropped;
        if (!dropped && (has || added)) {
            list.items[list.count++] = arena_format(arena, "CAP_%s", name);
        }
    }
    return list;
}

uint64_t spec_capability_bits(struct text_list capabilities)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < capabilities.count; i++) {
        struct text name = text_slice(capabilities.items[i], strlen("CAP_"), SIZE_MAX);
        for (size_t k = 0; k < ARRAY_LEN(all_capabilities); k++) {
            bits |= (uint64_t)text_is(name, all_capabilities[k]) << k;
        }
    }
    return bits;
}

// Negative numbers mean no limit, as for Docker.
static uint64_t limit_value(int32_t value)
{
    return value < 0 ? UINT64_MAX : (uint64_t)value;
}

void spec_limits(const struct ecs_container_definition *definition, spec_hard_limit_fn hard_limit,
                 struct arena *arena, struct config_limit **out_limits, size_t *out_count)
{
    struct config_limit *limits =
        arena_array(arena, ARRAY_LEN(limit_names), sizeof(struct config_limit));
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(limit_names); i++) {
        const struct ecs_ulimit *found = NULL;
        for (size_t k = 0; k < definition->ulimits.count; k++) {
            if (definition->ulimits.items[k].name == limit_names[i].ecs) {
                found = &definition->ulimits.items[k];
            }
        }
        if (found == NULL && limit_names[i].ecs != ECS_ULIMIT_NAME_NOFILE) {
            continue;
        }
        uint64_t most = hard_limit(limit_names[i].resource);
        uint64_t hard = found == NULL ? NOFILE_DEFAULT : limit_value(found->hard_limit);
        uint64_t soft = found == NULL ? NOFILE_DEFAULT : limit_value(found->soft_limit);
        hard = MIN(hard, most);
        limits[count++] = (struct config_limit){
            .name = limit_names[i].name,
            .resource = limit_names[i].resource,
            .hard = hard,
            .soft = MIN(soft, hard),
        };
    }
    *out_limits = limits;
    *out_count = count;
}

struct text spec_limits_note(const struct ecs_container_definition *definition,
                             spec_hard_limit_fn hard_limit, struct arena *arena)
{
    AUTO(buf_deinit) struct buf note = {0};
    for (size_t i = 0; i < definition->ulimits.count; i++) {
        const struct ecs_ulimit *limit = &definition->ulimits.items[i];
        size_t at = 0;
        while (at < ARRAY_LEN(limit_names) && limit_names[at].ecs != limit->name) {
            at++;
        }
        uint64_t most =
            at == ARRAY_LEN(limit_names) ? UINT64_MAX : hard_limit(limit_names[at].resource);
        if (limit_value(limit->hard_limit) <= most) {
            continue;
        }
        buf_format(&note,
                   "%scontainer '%.*s' has a hard limit '%s' of %llu, which is the most that its "
                   "host may set, instead of ",
                   note.size == 0 ? "" : "; ", TEXT_FMT(definition->name),
                   shape_enum_name(&ecs_ulimit_name_shape, (int32_t)limit->name),
                   (unsigned long long)most);
        if (limit->hard_limit < 0) {
            buf_string(&note, "none");
        } else {
            buf_format(&note, "%d", (int)limit->hard_limit);
        }
    }
    return note.size == 0 ? (struct text){0} : arena_text(arena, buf_view(&note));
}

struct text_map spec_sysctls(const struct ecs_container_definition *definition, bool own_network,
                             struct arena *arena)
{
    size_t most = definition->system_controls.count + 1;
    struct text_map map = {.items = arena_array(arena, most, sizeof(struct text_entry))};
    if (own_network) {
        map.items[map.count++] =
            (struct text_entry){TEXT("net.ipv4.ip_unprivileged_port_start"), TEXT("0")};
    }
    for (size_t i = 0; i < definition->system_controls.count; i++) {
        const struct ecs_system_control *control = &definition->system_controls.items[i];
        size_t at = 0;
        while (at < map.count && !text_equal(map.items[at].key, control->namespace)) {
            at++;
        }
        map.items[at] = (struct text_entry){control->namespace, control->value};
        map.count = MAX(map.count, at + 1);
    }
    return map;
}

struct text spec_clean_path(struct text path, struct arena *arena)
{
    if (text_empty(path) || path.data[0] != '/') {
        return (struct text){0};
    }
    char *out = arena_alloc(arena, path.size + 2);
    size_t used = 0;
    struct text rest = path;
    while (rest.data != NULL) {
        struct text part = text_cut(&rest, '/');
        if (part.size == 0 || text_is(part, ".")) {
            continue;
        }
        if (text_is(part, "..")) {
            while (used > 0 && out[--used] != '/') {}
            continue;
        }
        out[used++] = '/';
        memcpy(out + used, part.data, part.size);
        used += part.size;
    }
    if (used == 0) {
        out[used++] = '/';
    }
    out[used] = '\0';
    return (struct text){out, used};
}
