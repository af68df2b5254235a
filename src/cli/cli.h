#pragma once

#include "api/config.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "client/client.h"

/*
 * The commands a person types. Each is a function of its arguments; it prints its result on
 * standard output, what went wrong on standard error, and returns the exit status.
 *
 * Exit status: 0 done, 1 it failed, 2 the command line was wrong.
 */

#define CLI_FAILED 1
#define CLI_USAGE 2
/** Of commands that give 2 a meaning of its own: status 2, and nothing said of the command line. */
#define CLI_OTHER (-2)

/** One command. argv[0] is its own name. */
struct cli_command {
    const char *name;    ///< one word or two, such as `image load`
    const char *usage;   ///< what follows the name
    const char *summary; ///< one line
    int (*run)(int argc, char **argv);
};

/** The commands of this folder, in the order help shows them. */
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

/** Print `berth: sentence` on standard error. @return CLI_FAILED */
int cli_fail(const struct err *err);

/** @return the directory given by --data, else $BERTH_DATA, else /var/lib/berth */
const char *cli_data_dir(const char *given);

/** Where the server is and how to sign for it. */
struct cli_context {
    struct arena config_arena; ///< what config borrows from
    struct arena arena;        ///< what responses borrow from; may be reset between calls
    struct config_client config;
    struct client *client;
};

/**
 * Read DATA/client.json, or take AWS_ENDPOINT_URL and the AWS keys of the environment when no
 * directory is named and there is none.
 *
 * @param data_dir  as given by --data, or NULL
 */
MUST_CHECK int cli_context_open(struct cli_context *context, const char *data_dir, struct err *err);

/** Release it; half-opened ones, too. */
void cli_context_close(struct cli_context *context);

AUTO_VALUE(struct cli_context, cli_context_close)

/** Call an operation and wait, at most 30 s. Errors as client_call_wait. */
MUST_CHECK int cli_call(struct cli_context *context, const struct api_operation *operation,
                        const void *request, void *out_response, struct err *err);

/** A table for a terminal: columns are as wide as their widest cell. */
struct cli_table {
    struct arena arena;
    struct text *cells;
    size_t column_count;
    size_t cell_count;
    size_t capacity;
};

/** Begin a table with its headings. */
void cli_table_init(struct cli_table *table, size_t column_count, const char *const *headings);

/** Append the next cell; the text is copied. Absent texts show as `-`. */
void cli_table_cell(struct cli_table *table, struct text text);

/** Append a number. */
void cli_table_number(struct cli_table *table, int64_t number);

/** Append all complete rows to a text. */
void cli_table_write(const struct cli_table *table, struct buf *out);

/** Print all complete rows. */
void cli_table_print(const struct cli_table *table);

/** Release it. */
void cli_table_deinit(struct cli_table *table);

AUTO_VALUE(struct cli_table, cli_table_deinit)

/** Age such as `12s`, `5m`, `3h`, `2d` of a moment. The result is in the arena. */
struct text cli_age(int64_t since_ms, int64_t now_ms, struct arena *arena);

/** Last part of an ARN or name: behind the last slash. */
struct text cli_short(struct text arn);
