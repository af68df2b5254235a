#pragma once

#include "api/ecs.h"
#include "api/supervisor.h"
#include "base/alloc.h"
#include "base/err.h"
#include "image/image.h"
#include "runtime/config.h"
#include "shape/shape_extension.h"

/*
 * What an ECS container definition and its image mean together: pure rules, after ECS and Docker.
 * All results are in the arena or borrow from the arguments.
 */

/**
 * Refuse what this driver cannot honour, rather than run a task that is not what was asked for.
 *
 * @return 0, or ERR_UNSUPPORTED with the parameter and what to do
 */
MUST_CHECK int spec_supported(const struct ecs_task_definition *task,
                              const struct ecs_container_definition *definition, struct err *err);

/** @return whether a container's system calls are filtered: unless it is privileged, or asks for
 * `seccomp=unconfined` */
bool spec_confined(const struct ecs_container_definition *definition);

/** @return whether dockerSecurityOptions keep a container from gaining privileges by programs */
bool spec_no_new_privileges(const struct ecs_container_definition *definition);

/**
 * The argument vector: entry point, then command. An entry point of the definition drops the
 * image's command as well, as in Docker.
 *
 * @return 0, or ERR_INVALID when both leave nothing to run
 */
MUST_CHECK int spec_arguments(const struct ecs_container_definition *definition,
                              const struct image *image, struct arena *arena,
                              struct text_list *out_arguments, struct err *err);

/**
 * The environment. Later ones win: PATH and HOSTNAME, the links, the image, the task, the
 * definition, the container's endpoints (`own`); HOME comes from the user's entry when nobody set
 * it.
 */
struct text_list spec_environment(const struct ecs_container_definition *definition,
                                  const struct image *image, struct text_list link_environment,
                                  struct text_list task_environment, struct text_list own,
                                  struct text hostname, struct text home, struct arena *arena);

/** The same for a command of ECS Exec, which has a terminal: TERM, when nobody set it. */
struct text_list spec_exec_environment(struct text_list environment, struct arena *arena);

/** A container that another links to, and by which name. */
struct spec_link {
    const struct ecs_container_definition *container;
    const struct image *image; ///< of that container
    struct text address;       ///< of that container
    struct text alias;
};

/** Take a link, `name` or `name:alias`, apart. */
void spec_link_parse(struct text link, struct text *out_name, struct text *out_alias);

/**
 * What Docker puts into the environment of a container that links to another: ALIAS_NAME,
 * ALIAS_PORT, ALIAS_PORT_<port>_<protocol> with its parts, and ALIAS_ENV_<name> for each variable
 * of the other one.
 *
 * @param own_name  of the container that links
 * @param out       gets them appended: texts in the arena
 */
void spec_link_environment(const struct spec_link *link, struct text own_name, struct arena *arena,
                           struct buf *out);

/** A container starts after those it links to: add that to its dependencies. */
void spec_links_depend(const struct ecs_container_definition *definition, struct arena *arena,
                       struct supervisor_dependency_list *dependencies);

/**
 * Take a range of ports, `8000-8010`, apart.
 *
 * @return 0, or ERR_INVALID
 */
MUST_CHECK int spec_port_range(struct text range, uint16_t *out_first, uint16_t *out_last);

#define SPEC_VARIABLES_MAX 4096 ///< of a container; programs are given far less than that

/**
 * Add the variables of an environment file to those that are there, which win: so a definition's
 * own come before its files, and an earlier file before a later one.
 *
 * @param list     at most SPEC_VARIABLES_MAX; replaced by one in the arena
 * @param content  borrowed by the list
 * @return 0, or ERR_NO_ROOM for more than that
 */
MUST_CHECK int spec_add_file(struct ecs_key_value_pair_list *list, struct text content,
                             struct arena *arena, struct err *err);

/**
 * Add the variable that a secret is, in the place of one of that name: a secret wins over an
 * override and over environment files, as in Amazon's agent.
 *
 * @param list  replaced by one in the arena, which borrows name and value
 */
void spec_add_secret(struct ecs_key_value_pair_list *list, struct text name, struct text value,
                     struct arena *arena);

/**
 * The number of a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; absent is SIGTERM.
 *
 * @return 0, or ERR_INVALID
 */
MUST_CHECK int spec_signal(struct text name, int32_t *out_signal);

/**
 * The argument vector of a health check: CMD-SHELL goes to /bin/sh, CMD and a bare command as they
 * are. Empty for NONE.
 */
struct text_list spec_health_command(struct text_list command, struct arena *arena);

/**
 * What a container asks for beyond ECS, by its labels.
 *
 * @return 0, or ERR_INVALID with the label
 */
MUST_CHECK int spec_extension(const struct ecs_container_definition *definition,
                              struct arena *arena, struct shape_extension *out_extension,
                              struct err *err);

/**
 * What the supervisor is to know of a container, with ECS's defaults: all but its paths and its id,
 * which are the driver's.
 *
 * @return 0, or ERR_INVALID for a stop signal of the image that does not exist
 */
MUST_CHECK int spec_plan(const struct ecs_container_definition *definition,
                         const struct image *image, struct arena *arena,
                         struct supervisor_plan_container *out_plan, struct err *err);

/**
 * Docker's default capabilities with the definition's additions and removals, as CAP_NAME.
 *
 * @param own  those that this process can give, each as the bit of its number: what `privileged`
 * and an added ALL mean. What is added by name and missing lets the start fail.
 */
struct text_list spec_capabilities(const struct ecs_container_definition *definition, uint64_t own,
                                   struct arena *arena);

/** @return capabilities, each as the bit of its number */
uint64_t spec_capability_bits(struct text_list capabilities);

/** @return this process's hard limit of a resource of getrlimit, UINT64_MAX for none */
typedef uint64_t (*spec_hard_limit_fn)(int resource);

/**
 * Resource limits: those of the definition, and ECS's default of 65535 open files. Each is cut to
 * our own hard limit, as one that cannot be set would keep the container from starting.
 *
 * @param out_limits  in the arena
 */
void spec_limits(const struct ecs_container_definition *definition, spec_hard_limit_fn hard_limit,
                 struct arena *arena, struct config_limit **out_limits, size_t *out_count);

/** @return which limits of the container are cut, in words, separated by `; `; absent for none */
struct text spec_limits_note(const struct ecs_container_definition *definition,
                             spec_hard_limit_fn hard_limit, struct arena *arena);

/**
 * Kernel parameters: systemControls over Docker's default for a network namespace of its own, in
 * which no port needs privileges.
 */
struct text_map spec_sysctls(const struct ecs_container_definition *definition, bool own_network,
                             struct arena *arena);

/** Which namespace of its kind a container is in. */
enum spec_sharing {
    SPEC_OWN,  ///< its own
    SPEC_TASK, ///< one for all containers of the task
    SPEC_HOST,
};

/** @return whose processes a container sees: pidMode */
enum spec_sharing spec_pids(const struct ecs_task_definition *task);

/** @return whose shared memory and queues a container has: ipcMode */
enum spec_sharing spec_ipc(const struct ecs_task_definition *task);

/** @return MiB of the containers' /dev/shm: what the greediest of those that share it asks for */
uint64_t spec_shm_mib(const struct ecs_task_definition *task,
                      const struct ecs_container_definition *definition);

/** What is known of swap on this host. */
struct spec_swap_host {
    bool accounted; ///< the kernel can limit a group's swap
    bool has_swap;  ///< there is any
    bool per_group; ///< a group can have a swappiness of its own: cgroup v1
};

/** How a container may use swap. */
struct spec_swap {
    bool limited;
    uint64_t mib; ///< beyond its memory
    bool has_swappiness;
    uint32_t swappiness;
};

/**
 * maxSwap and swappiness. swappiness means nothing without maxSwap, as in ECS.
 *
 * @return 0, or ERR_UNSUPPORTED with what the host lacks or the definition forgot
 */
MUST_CHECK int spec_swap(const struct ecs_container_definition *definition,
                         const struct spec_swap_host *host, struct spec_swap *out_swap,
                         struct err *err);

/** @return MiB of swap that all containers of a task may use together */
uint64_t spec_task_swap_mib(const struct ecs_task_definition *task);

/**
 * The annotations of a container: its dockerLabels, but those that OCI runtimes take as orders.
 */
struct text_map spec_annotations(const struct ecs_container_definition *definition,
                                 struct arena *arena);

/** What a Docker volume of the driver `local` is. */
enum spec_docker_kind {
    SPEC_DOCKER_FOLDER, ///< a folder of the node's data
    SPEC_DOCKER_BIND,   ///< a folder of the host
    SPEC_DOCKER_TMPFS,  ///< memory
};

struct spec_docker_volume {
    enum spec_docker_kind kind;
    bool shared;         ///< outlives the task, and is the same for all tasks that name it
    bool autoprovision;  ///< a shared one is made when it is not there
    struct text device;  ///< of SPEC_DOCKER_BIND: absolute
    struct text options; ///< of SPEC_DOCKER_TMPFS: of the file system, separated by commas
};

/**
 * Read a dockerVolumeConfiguration.
 *
 * @return 0, or ERR_UNSUPPORTED with what of it a node does not do
 */
MUST_CHECK int spec_docker_volume(const struct ecs_volume *volume, struct arena *arena,
                                  struct spec_docker_volume *out_volume, struct err *err);

/**
 * A definition in which the volumes that images declare are mount points of their containers, as
 * far as nothing else is mounted there. Their names begin with SPEC_IMAGE_VOLUME, which no volume
 * of a definition has.
 *
 * @param images  one for each container
 * @return in the arena; borrows from the arguments
 */
const struct ecs_task_definition *spec_with_image_volumes(const struct ecs_task_definition *task,
                                                          const struct image *const *images,
                                                          struct arena *arena);

#define SPEC_IMAGE_VOLUME "image/"

/**
 * The mount points of a container: its own, then those of the containers that volumesFrom names,
 * and of those that these name. The first at a path counts. In the arena, or the definition's own.
 *
 * @return 0, or ERR_INVALID for a container that the task does not have
 */
MUST_CHECK int spec_mount_points(const struct ecs_task_definition *task,
                                 const struct ecs_container_definition *definition,
                                 struct arena *arena, struct ecs_mount_point_list *out_points,
                                 struct err *err);

/**
 * An absolute path without `.`, empty and `..` parts; `..` does not leave the root.
 *
 * @return absent when path is not absolute
 */
struct text spec_clean_path(struct text path, struct arena *arena);
