#include "agent/agent_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

// Kept for the system, the agent and the supervisors: a sixteenth, within these.
#define RESERVE_MIN_MIB 128
#define RESERVE_MAX_MIB 1024
#define UNITS_PER_CPU 1024

static int32_t host_cpu_units(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : get_nprocs();
    return MAX(count, 1) * UNITS_PER_CPU;
}

static int32_t host_memory_mib(void)
{
    struct sysinfo info;
    if (sysinfo(&info) != 0) {
        return RESERVE_MIN_MIB;
    }
    uint64_t total_mib = (uint64_t)info.totalram * info.mem_unit >> 20;
    uint64_t reserve_mib =
        MIN(MAX(total_mib / 16, (uint64_t)RESERVE_MIN_MIB), (uint64_t)RESERVE_MAX_MIB);
    return total_mib > 2 * reserve_mib ? (int32_t)MIN(total_mib - reserve_mib, (uint64_t)INT32_MAX)
                                       : (int32_t)(total_mib / 2);
}

static struct text host_architecture(struct arena *arena)
{
    struct utsname name;
    if (uname(&name) != 0) {
        return TEXT("x86_64");
    }
    // ECS's names, which are not the kernel's.
    return strcmp(name.machine, "aarch64") == 0 ? TEXT("arm64")
                                                : arena_text(arena, text_of(name.machine));
}

struct text agent_host_boot_id(struct arena *arena)
{
    AUTO(buf_deinit) struct buf content = {0};
    struct err err = {0};
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 100, &content, &err) != 0) {
        return TEXT("unknown");
    }
    return arena_text(arena, text_trim(buf_view(&content)));
}

static void add_integer(struct ecs_resource *resource, const char *name, int32_t value)
{
    *resource = (struct ecs_resource){
        .name = text_of(name),
        .type = TEXT("INTEGER"),
        .has_double_value = true,
        .has_long_value = true,
        .has_integer_value = true,
        .integer_value = value,
    };
}

static void add_ports(struct ecs_resource *resource, const char *name)
{
    *resource = (struct ecs_resource){
        .name = text_of(name),
        .type = TEXT("STRINGSET"),
        .string_set_value = {.items = SHAPE_EMPTY},
    };
}

static void add_attribute(struct ecs_attribute_list *list, const char *name, struct text value)
{
    if (!text_empty(value)) {
        list->items[list->count++] = (struct ecs_attribute){.name = text_of(name), .value = value};
    }
}

void agent_host_describe(const struct agent *agent, struct arena *arena,
                         struct ecs_register_container_instance_request *out_request)
{
    const struct agent_options *options = &agent->options;
    int32_t cpu_units = options->cpu_units != 0 ? (int32_t)options->cpu_units : host_cpu_units();
    int32_t memory_mib =
        options->memory_mib != 0 ? (int32_t)options->memory_mib : host_memory_mib();
    struct ecs_resource *resources = arena_array(arena, 4, sizeof(*resources));
    add_integer(&resources[0], "CPU", cpu_units);
    add_integer(&resources[1], "MEMORY", memory_mib);
    add_ports(&resources[2], "PORTS");
    add_ports(&resources[3], "PORTS_UDP");

    struct ecs_attribute_list attributes = {
        .items = arena_array(arena, 10 + AGENT_CAPABILITIES_MAX, sizeof(struct ecs_attribute))};
    if (options->cluster == NULL) {
        add_attribute(&attributes, "berth.capacity",
                      options->capacity == NULL ? TEXT("FARGATE,FARGATE_SPOT")
                                                : text_of(options->capacity));
    } else {
        add_attribute(&attributes, "berth.auto-scaling-group", text_of(options->scaling_group));
    }
    add_attribute(&attributes, "ecs.availability-zone", text_of(options->zone));
    add_attribute(&attributes, "ecs.cpu-architecture", host_architecture(arena));
    add_attribute(&attributes, "ecs.os-type", TEXT("linux"));
    add_attribute(&attributes, "ecs.os-family", TEXT("LINUX"));
    struct text names[AGENT_CAPABILITIES_MAX];
    size_t count = agent_capabilities(names, ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++) {
        attributes.items[attributes.count] = (struct ecs_attribute){.name = names[i]};
        attributes.count++;
    }

    // As with Amazon's agent: only where all kinds of faults can be injected.
    if (agent->can_fault) {
        attributes.items[attributes.count++] =
            (struct ecs_attribute){.name = TEXT("ecs.capability.fault-injection")};
    }

    struct ecs_version_info *version = ARENA_NEW(arena, struct ecs_version_info);
    version->agent_version = text_of(options->version);
    *out_request = (struct ecs_register_container_instance_request){
        .cluster = text_of(options->cluster),
        .total_resources = {.items = resources, .count = 4},
        .version_info = version,
        .container_instance_arn = text_of(agent->server.container_instance),
        .attributes = attributes,
    };
}
