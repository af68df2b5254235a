#include "bin/commands.h"

#include "api/berth.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "bin/serve.h"
#include "cli/cli.h"
#include "server/debug.h"
#include "store/store.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static void print_record(void *context, const struct core_kind *kind, int64_t key,
                         const void *record)
{
    AUTO(buf_deinit) struct buf line = {0};
    debug_line(kind, key, record, &line);
    fwrite(line.data, 1, line.size, stdout);
}

static int load_row(void *context, int64_t key, uint16_t kind, struct text bytes, struct err *err)
{
    return core_load(context, key, kind, bytes, err);
}

// No server runs: read its store.
static int dump_store(const char *path, struct err *err)
{
    struct store *store = NULL;
    int rc = store_sqlite_open(path, &store, err);
    if (rc != 0) {
        return rc;
    }
    struct core *core = core_new(serve_modules, serve_module_count);
    uint64_t version = 0;
    rc = store_load(store, load_row, core, &version, err);
    if (rc == 0) {
        core_dump(core, print_record, NULL);
    }
    core_free(core);
    store_close(store);
    return rc;
}

// A server runs and holds its store: ask it, page by page.
static int dump_running(struct cli_context *context, struct err *err)
{
    struct berth_dump_records_request request = {0};
    for (;;) {
        struct berth_dump_records_response page = {0};
        int rc = cli_call(context, &berth_operations[BERTH_OP_DUMP_RECORDS], &request, &page, err);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < page.records.count; i++) {
            const struct berth_dumped_record *record = &page.records.items[i];
            printf("{\"key\":%lld,\"kind\":\"%.*s\",\"record\":%.*s}\n", (long long)record->key,
                   TEXT_FMT(record->kind), TEXT_FMT(record->record));
        }
        if (!page.has_next) {
            return 0;
        }
        request.has_after = true;
        request.after = page.next;
        arena_reset(&context->arena);
    }
}

int bin_debug(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'}, {0}};
    const char *data_dir = NULL;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option != 'd') {
            return CLI_USAGE;
        }
        data_dir = optarg;
    }
    if (optind >= argc || strcmp(argv[optind], "dump") != 0) {
        return CLI_USAGE;
    }
    struct err err;
    AUTO(alloc_string) char *path = alloc_format("%s/server/store.db", cli_data_dir(data_dir));
    AUTO(buf_deinit) struct buf probe = {0};
    int rc = file_read(AT_FDCWD, path, 0, &probe, &err) == ERR_NOT_FOUND ? ERR_NOT_FOUND
                                                                         : dump_store(path, &err);
    if (rc == ERR_BUSY || rc == ERR_NOT_FOUND) {
        AUTO(cli_context_close) struct cli_context context = {0};
        rc = cli_context_open(&context, data_dir, &err);
        rc = rc == 0 ? dump_running(&context, &err) : rc;
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
