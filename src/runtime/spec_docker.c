#include "base/text.h"
#include "runtime/spec.h"

#include <string.h>

// Docker volumes of the driver `local`, whose driverOpts are those of mount(8).

static struct text option(const struct text_map *options, const char *name)
{
    for (size_t i = 0; i < options->count; i++) {
        if (text_is(options->items[i].key, name)) {
            return options->items[i].value;
        }
    }
    return (struct text){0};
}

static int refuse(const struct ecs_volume *volume, struct text what, const char *why,
                  struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "volume '%.*s' asks for '%.*s' of dockerVolumeConfiguration, which this version "
                   "of Berth does not have: %s",
                   TEXT_FMT(volume->name), TEXT_FMT(what), why);
}

static int check_options(const struct ecs_volume *volume, const struct text_map *options,
                         struct err *err)
{
    static const char *const known[] = {"type", "device", "o"};
    for (size_t i = 0; i < options->count; i++) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_LEN(known); k++) {
            found = found || text_is(options->items[i].key, known[k]);
        }
        if (!found) {
            return refuse(volume, options->items[i].key, "driverOpts are type, device and o", err);
        }
    }
    return 0;
}

static bool is_bind(struct text options)
{
    struct text rest = options;
    bool bind = false;
    while (rest.data != NULL) {
        struct text word = text_cut(&rest, ',');
        bind = bind || text_is(word, "bind") || text_is(word, "rbind");
    }
    return bind;
}

static int read_bind(const struct ecs_volume *volume, struct text device, struct arena *arena,
                     struct spec_docker_volume *out, struct err *err)
{
    out->kind = SPEC_DOCKER_BIND;
    out->device = spec_clean_path(device, arena);
    return out->device.data != NULL ? 0 : refuse(volume, device, "device must be absolute", err);
}

// Only what sizes and owns it: other words of mount(8) are flags, and a container gets none but the
// safe ones.
static int read_tmpfs(const struct ecs_volume *volume, struct text options,
                      struct spec_docker_volume *out, struct err *err)
{
    static const char *const known[] = {"size=", "mode=", "uid=", "gid=", "nr_inodes="};
    out->kind = SPEC_DOCKER_TMPFS;
    out->options = options;
    if (out->shared) {
        return refuse(volume, TEXT("type=tmpfs"),
                      "memory is not shared by tasks; scope must be "
                      "task",
                      err);
    }
    struct text rest = options;
    while (rest.data != NULL) {
        struct text word = text_cut(&rest, ',');
        bool found = text_empty(word);
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            found = found || text_starts(word, text_of(known[i]));
        }
        if (!found) {
            return refuse(volume, word, "a tmpfs takes size, mode, uid, gid and nr_inodes", err);
        }
    }
    return 0;
}

int spec_docker_volume(const struct ecs_volume *volume, struct arena *arena,
                       struct spec_docker_volume *out_volume, struct err *err)
{
    const struct ecs_docker_volume_configuration *docker = volume->docker_volume_configuration;
    struct spec_docker_volume read = {
        .kind = SPEC_DOCKER_FOLDER,
        .shared = docker->scope == ECS_SCOPE_SHARED,
        .autoprovision = docker->autoprovision,
    };
    if (!text_empty(docker->driver) && !text_is(docker->driver, "local")) {
        return refuse(volume, docker->driver, "the one driver is local", err);
    }
    int rc = check_options(volume, &docker->driver_opts, err);
    if (rc != 0) {
        return rc;
    }
    struct text type = option(&docker->driver_opts, "type");
    struct text options = option(&docker->driver_opts, "o");
    if (is_bind(options)) {
        rc = read_bind(volume, option(&docker->driver_opts, "device"), arena, &read, err);
    } else if (text_is(type, "tmpfs")) {
        rc = read_tmpfs(volume, options, &read, err);
    } else if (docker->driver_opts.count > 0) {
        rc = refuse(volume, type, "type is tmpfs, or none with o=bind", err);
    }
    if (rc == 0) {
        *out_volume = read;
    }
    return rc;
}
