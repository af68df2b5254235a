#include "cli/commands.h"

#include "base/file.h"
#include "base/text.h"
#include "image/image.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct image_options {
    const char *data_dir;
    const char *name;
};

static void show_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    const char *path = context;
    if (total_bytes > 0) {
        fprintf(stderr, "\rloading %s: %llu of %llu MiB", path,
                (unsigned long long)(done_bytes >> 20), (unsigned long long)(total_bytes >> 20));
    } else {
        fprintf(stderr, "\rloading %s: %llu MiB", path, (unsigned long long)(done_bytes >> 20));
    }
}

static int load(struct image_store *store, const struct image_options *options, const char *path,
                struct err *err)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_list names = {0};
    bool terminal = isatty(STDERR_FILENO) == 1;
    // The callback only reads the path.
    int rc = image_load(store, path, options->name, terminal ? show_progress : NULL,
                        (void *)(uintptr_t)path, &arena, &names, err);
    if (terminal) {
        fprintf(stderr, "\n");
    }
    if (rc != 0) {
        return err_wrap(err, "loading '%s'", path);
    }
    for (size_t i = 0; i < names.count; i++) {
        printf("loaded %.*s\n", TEXT_FMT(names.items[i]));
    }
    return 0;
}

static int list(struct image_store *store, struct err *err)
{
    static const char *const headings[] = {"IMAGE", "DIGEST", "MIB"};
    AUTO(arena_deinit) struct arena arena = {0};
    struct image *images = NULL;
    size_t count = 0;
    int rc = image_list(store, &arena, &images, &count, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(cli_table_deinit) struct cli_table table;
    cli_table_init(&table, ARRAY_LEN(headings), headings);
    for (size_t i = 0; i < count; i++) {
        cli_table_cell(&table, images[i].name);
        cli_table_cell(&table, text_slice(images[i].digest, 0, sizeof("sha256:") + 11));
        cli_table_number(&table, (int64_t)(images[i].size_bytes >> 20));
    }
    cli_table_print(&table);
    return 0;
}

static int run(const struct image_options *options, const char *action, char **arguments,
               int argument_count)
{
    struct err err;
    AUTO(alloc_string)
    char *directory = alloc_format("%s/node/images", cli_data_dir(options->data_dir));
    struct image_store *store = NULL;
    int rc = file_make_dirs(directory, 0700, &err);
    if (rc == 0) {
        rc = image_open(directory, &store, &err);
    }
    if (rc == 0 && strcmp(action, "ls") == 0) {
        rc = list(store, &err);
    }
    for (int i = 0; rc == 0 && i < argument_count; i++) {
        if (strcmp(action, "load") == 0) {
            rc = load(store, options, arguments[i], &err);
        } else if (strcmp(action, "rm") == 0) {
            rc = image_remove(store, text_of(arguments[i]), &err);
        }
    }
    image_close(store);
    return rc == 0 ? 0 : cli_fail(&err);
}

int cli_image(int argc, char **argv)
{
    static const struct option known[] = {
        {"data", required_argument, NULL, 'd'}, {"name", required_argument, NULL, 'n'}, {0}};
    struct image_options options = {0};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'd') {
            options.data_dir = optarg;
        } else if (option == 'n') {
            options.name = optarg;
        } else {
            return CLI_USAGE;
        }
    }
    const char *action = optind < argc ? argv[optind] : "";
    int argument_count = argc - optind - 1;
    bool list_all = strcmp(action, "ls") == 0 && argument_count == 0;
    bool named = (strcmp(action, "load") == 0 || strcmp(action, "rm") == 0) && argument_count > 0;
    if (!list_all && !named) {
        fprintf(stderr, "usage: berth image load [--data DIR] [--name NAME] FILE...\n"
                        "       berth image ls [--data DIR]\n"
                        "       berth image rm [--data DIR] NAME...\n");
        return CLI_USAGE;
    }
    return run(&options, action, argv + optind + 1, argument_count);
}
