#pragma once

#include "api/ecs.h"
#include "cli/look.h"

/*
 * The change of a service that `berth deploy` makes and `berth plan` shows: read off the command
 * line, and worked out against what the service is. Nothing here changes anything.
 */

#define CHANGE_IMAGES_MAX 10 ///< as many containers as a definition has

/** `--image CONTAINER=IMAGE`. */
struct change_image {
    struct text container;
    struct text image;
};

/** What the command line asks for. Texts borrow from it. */
struct change_options {
    const char *command; ///< `deploy` or `plan`, for messages
    const char *data_dir;
    const char *file;
    struct text cluster;
    struct text service;
    struct text task_definition;
    struct change_image images[CHANGE_IMAGES_MAX];
    size_t image_count;
    bool has_count;
    int32_t count;
    bool force;
    bool create;
    bool json;
    int64_t timeout_ms;
};

/** What has to be done. Borrows from the context's arena. */
struct change {
    const struct ecs_service *service;        ///< as it is; NULL when it is to be created
    const struct ecs_task_definition *before; ///< its definition; NULL likewise
    const struct ecs_task_definition *after;  ///< NULL when it is to be registered
    struct ecs_register_task_definition_request *registers; ///< or NULL
};

/** Read the command line; says on standard error what is wrong. @return 0 or ERR_INVALID */
MUST_CHECK int change_read(int argc, char **argv, const char *command, struct change_options *out);

/** Read a duration such as `90s`, `10m`, `2h`, or plain seconds. @return 0 or ERR_INVALID */
MUST_CHECK int change_duration(struct text text, int64_t *out_ms);

/** Work out what is to be done. */
MUST_CHECK int change_work_out(struct cli_context *context, const struct change_options *options,
                               struct change *out_change, struct err *err);

/** What a RegisterTaskDefinition of a registered definition would say. In the arena. */
struct ecs_register_task_definition_request *
change_as_request(const struct ecs_task_definition *definition, struct arena *arena);

/**
 * Give containers other images.
 *
 * @param out_changed  whether any differs now
 * @return 0, or ERR_NOT_FOUND when there is no such container
 */
MUST_CHECK int change_images(struct ecs_register_task_definition_request *definition,
                             const struct change_options *options, bool *out_changed,
                             struct err *err);

/** Where tasks of a definition may run when nobody said: Fargate for those that are for nothing
 *  else. */
enum ecs_launch_type change_launch_type(const struct ecs_compatibility_list *compatibilities);

/** All subnets of the caller's default network, for tasks with an interface of their own. */
MUST_CHECK int change_default_network(struct cli_context *context,
                                      struct ecs_network_configuration **out_network,
                                      struct err *err);
