#include "ecs/definition_internal.h"

#include "base/text.h"

#define CREDENTIAL_SPECS_MAX 1
#define GPUS_MAX 64 ///< more than any host has

/** Capabilities that a definition may name: those of Linux without their prefix, and ALL. */
static const char *const capabilities[] = {
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
};

static int check_capabilities(const struct definition_draft *draft,
                              const struct ecs_container_definition *container,
                              const struct text_list *names)
{
    for (size_t i = 0; i < names->count; i++) {
        bool known = false;
        for (size_t j = 0; j < ARRAY_LEN(capabilities) && !known; j++) {
            known = text_is(names->items[i], capabilities[j]);
        }
        if (!known) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid capability '%.*s' for container '%.*s'.",
                              TEXT_FMT(names->items[i]), TEXT_FMT(container->name));
        }
    }
    return 0;
}

static int check_tmpfs(const struct definition_draft *draft,
                       const struct ecs_container_definition *container,
                       const struct ecs_tmpfs_list *tmpfs)
{
    for (size_t i = 0; i < tmpfs->count; i++) {
        if (tmpfs->items[i].size < 1 || !text_starts(tmpfs->items[i].container_path, TEXT("/"))) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'tmpfs' setting for container '%.*s'. It needs an absolute "
                              "containerPath and a size in MiB greater than 0.",
                              TEXT_FMT(container->name));
        }
    }
    return 0;
}

static int check_linux(const struct definition_draft *draft,
                       const struct ecs_container_definition *container)
{
    const struct ecs_linux_parameters *linux_parameters = container->linux_parameters;
    if (linux_parameters == NULL) {
        return 0;
    }
    if (draft->windows) {
        return core_fault(draft->call, &ecs_error_client_exception,
                          "linuxParameters are not supported for Windows containers.");
    }
    if (linux_parameters->has_swappiness &&
        (linux_parameters->swappiness < 0 || linux_parameters->swappiness > 100)) {
        return definition_invalid_setting(draft, container, "swappiness");
    }
    if (linux_parameters->has_max_swap && linux_parameters->max_swap < 0) {
        return definition_invalid_setting(draft, container, "maxSwap");
    }
    if (linux_parameters->has_shared_memory_size && linux_parameters->shared_memory_size < 1) {
        return definition_invalid_setting(draft, container, "sharedMemorySize");
    }
    for (size_t i = 0; i < linux_parameters->devices.count; i++) {
        if (!text_starts(linux_parameters->devices.items[i].host_path, TEXT("/"))) {
            return definition_invalid_setting(draft, container, "devices");
        }
    }
    int rc = check_tmpfs(draft, container, &linux_parameters->tmpfs);
    const struct ecs_kernel_capabilities *change = linux_parameters->capabilities;
    if (rc == 0 && change != NULL) {
        rc = check_capabilities(draft, container, &change->add);
    }
    if (rc == 0 && change != NULL) {
        rc = check_capabilities(draft, container, &change->drop);
    }
    return rc;
}

static int check_ulimits(const struct definition_draft *draft,
                         const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->ulimits.count; i++) {
        const struct ecs_ulimit *ulimit = &container->ulimits.items[i];
        // -1 is `unlimited`, above every number.
        bool above = ulimit->hard_limit != -1 &&
                     (ulimit->soft_limit == -1 || ulimit->soft_limit > ulimit->hard_limit);
        bool repeated = false;
        for (size_t j = 0; j < i; j++) {
            repeated = repeated || container->ulimits.items[j].name == ulimit->name;
        }
        if (above || repeated || ulimit->soft_limit < -1 || ulimit->hard_limit < -1) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'ulimits' setting for container '%.*s'. Each limit can be "
                              "set once, and 'softLimit' cannot be greater than 'hardLimit'.",
                              TEXT_FMT(container->name));
        }
    }
    return 0;
}

/** Whether a kernel parameter belongs to a name space that a container has for itself. */
static bool system_control_valid(const struct definition_draft *draft, struct text name)
{
    static const char *const kernel[] = {
        "kernel.msgmax",          "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
        "kernel.shm_rmid_forced", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    };
    if (text_starts(name, TEXT("net."))) {
        return draft->definition->network_mode != ECS_NETWORK_MODE_HOST;
    }
    if (text_starts(name, TEXT("fs.mqueue."))) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(kernel); i++) {
        if (text_is(name, kernel[i])) {
            return true;
        }
    }
    return false;
}

static int check_system_controls(const struct definition_draft *draft,
                                 const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->system_controls.count; i++) {
        const struct ecs_system_control *control = &container->system_controls.items[i];
        if (!system_control_valid(draft, control->namespace) || text_empty(control->value)) {
            return core_fault(draft->call, &ecs_error_client_exception,
                              "Invalid 'systemControls' setting for container '%.*s': '%.*s'.",
                              TEXT_FMT(container->name), TEXT_FMT(control->namespace));
        }
    }
    return 0;
}

/** A requirement of the type InferenceAccelerator names a device of the task. */
static bool accelerator_exists(const struct ecs_task_definition *definition, struct text device)
{
    for (size_t i = 0; i < definition->inference_accelerators.count; i++) {
        if (text_equal(definition->inference_accelerators.items[i].device_name, device)) {
            return true;
        }
    }
    return false;
}

static int check_resources(const struct definition_draft *draft,
                           const struct ecs_container_definition *container)
{
    for (size_t i = 0; i < container->resource_requirements.count; i++) {
        const struct ecs_resource_requirement *resource =
            &container->resource_requirements.items[i];
        int64_t gpus = 0;
        bool valid = resource->type == ECS_RESOURCE_TYPE_GPU
                         ? text_to_i64(resource->value, &gpus) == 0 && gpus > 0 && gpus <= GPUS_MAX
                         : accelerator_exists(draft->definition, resource->value);
        if (!valid) {
            return definition_invalid_setting(draft, container, "resourceRequirements");
        }
    }
    if (container->credential_specs.count > CREDENTIAL_SPECS_MAX) {
        return definition_invalid_setting(draft, container, "credentialSpecs");
    }
    return 0;
}

int definition_check_kernel(const struct definition_draft *draft,
                            const struct ecs_container_definition *container)
{
    int rc = check_linux(draft, container);
    if (rc == 0) {
        rc = check_ulimits(draft, container);
    }
    if (rc == 0) {
        rc = check_system_controls(draft, container);
    }
    if (rc == 0) {
        rc = check_resources(draft, container);
    }
    return rc;
}
