#include "api/berth.h"
#include "api/event.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "shape/json.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 500
#define FOLLOW_WAIT_MS 10000 // how long the server holds a follower's call
#define RETRY_MS 500         // while the server is away
#define ARROW " \xe2\x86\x92 "

struct options {
    const char *data_dir;
    bool follow;
    bool json;
    bool colour;
    struct berth_list_events_request request;
};

enum colour {
    COLOUR_NONE,
    COLOUR_RED = 31,
    COLOUR_GREEN = 32,
    COLOUR_YELLOW = 33,
};

// ---- the command line ---------------------------------------------------------------------

static const struct {
    const char *word;
    const char *type;
} type_words[] = {
    {"task", "ECS Task State Change"},
    {"deployment", "ECS Deployment State Change"},
    {"service", "ECS Service Action"},
    {"instance", "ECS Container Instance State Change"},
};

static struct text type_of(const char *given)
{
    for (size_t i = 0; i < ARRAY_LEN(type_words); i++) {
        if (strcmp(given, type_words[i].word) == 0) {
            return text_of(type_words[i].type);
        }
    }
    return text_of(given);
}

static const char *word_of(struct text type)
{
    for (size_t i = 0; i < ARRAY_LEN(type_words); i++) {
        if (text_is(type, type_words[i].type)) {
            return type_words[i].word;
        }
    }
    return "event";
}

// `90s`, `10m`, `3h`, `2d` before now.
static int read_since(const char *given, int64_t *out_ms)
{
    static const char units[] = "smhd";
    static const int64_t unit_ms[] = {1000, 60000, 3600000, 86400000};
    struct text text = text_of(given);
    const char *unit =
        text.size < 2 ? NULL : memchr(units, text.data[text.size - 1], sizeof(units) - 1);
    uint64_t count = 0;
    if (unit == NULL || text_to_u64(text_slice(text, 0, text.size - 1), &count) != 0 ||
        count > 100000) {
        fprintf(stderr, "berth events: '%s' is no span of time, such as 90s, 10m, 3h or 2d\n",
                given);
        return ERR_INVALID;
    }
    *out_ms = clock_wall_ms() - (int64_t)count * unit_ms[unit - units];
    return 0;
}

static int read_options(int argc, char **argv, struct options *out)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"follow", no_argument, NULL, 'f'},
                                          {"since", required_argument, NULL, 's'},
                                          {"cluster", required_argument, NULL, 'c'},
                                          {"service", required_argument, NULL, 'S'},
                                          {"task", required_argument, NULL, 't'},
                                          {"type", required_argument, NULL, 'T'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    int rc = 0;
    for (int option; rc == 0 && (option = getopt_long(argc, argv, "f", known, NULL)) != -1;) {
        switch (option) {
        case 'd':
            out->data_dir = optarg;
            break;
        case 'f':
            out->follow = true;
            break;
        case 's':
            rc = read_since(optarg, &out->request.since);
            break;
        case 'c':
            out->request.cluster = text_of(optarg);
            break;
        case 'S':
            out->request.service = text_of(optarg);
            break;
        case 't':
            out->request.task = text_of(optarg);
            break;
        case 'T':
            out->request.detail_type = type_of(optarg);
            break;
        case 'j':
            out->json = true;
            break;
        default:
            rc = ERR_INVALID;
            break;
        }
    }
    if (rc == 0 && optind < argc) {
        fprintf(stderr,
                "berth events: '%s' is too much; name a task with --task, a service with "
                "--service\n",
                argv[optind]);
        rc = ERR_INVALID;
    }
    return rc;
}

// ---- one line -----------------------------------------------------------------------------

static void put_time(int64_t at_ms, struct buf *out)
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm local;
    localtime_r(&seconds, &local);
    char stamp[32];
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &local);
    buf_format(out, "%s.%03d", stamp, (int)(at_ms % 1000));
}

static enum colour colour_of(const struct event_envelope_detail *detail)
{
    if (detail->event_type == EVENT_EVENT_TYPE_ERROR) {
        return COLOUR_RED;
    }
    if (detail->event_type == EVENT_EVENT_TYPE_WARN) {
        return COLOUR_YELLOW;
    }
    bool failed = text_is(detail->stop_code, "TaskFailedToStart") ||
                  text_is(detail->stop_code, "EssentialContainerExited");
    if (failed && text_is(detail->last_status, "STOPPED")) {
        return COLOUR_RED;
    }
    bool good = text_is(detail->last_status, "RUNNING") ||
                text_is(detail->event_name, "SERVICE_STEADY_STATE") ||
                text_is(detail->event_name, "SERVICE_DEPLOYMENT_COMPLETED");
    return good && !text_is(detail->desired_status, "STOPPED") ? COLOUR_GREEN : COLOUR_NONE;
}

static void put_state(const struct event_envelope_detail *detail, enum colour colour,
                      struct buf *out)
{
    if (colour != COLOUR_NONE) {
        buf_format(out, "\033[%dm", (int)colour);
    }
    if (!text_empty(detail->event_name)) {
        buf_text(out, detail->event_name);
    } else if (!text_empty(detail->last_status)) {
        buf_text(out, detail->last_status);
        if (!text_equal(detail->last_status, detail->desired_status)) {
            buf_format(out, ARROW "%.*s", TEXT_FMT(detail->desired_status));
        }
    } else {
        buf_text(out, detail->status);
        buf_string(out, detail->agent_connected ? ", connected" : ", not connected");
    }
    if (colour != COLOUR_NONE) {
        buf_string(out, "\033[0m");
    }
}

// Why a task stops: in its own words, and those of the container that has some.
static void put_task_reason(const struct event_envelope_detail *detail, struct buf *out)
{
    if (text_empty(detail->stopped_reason)) {
        return;
    }
    buf_format(out, "  %.*s", TEXT_FMT(detail->stopped_reason));
    for (size_t i = 0; i < detail->containers.count; i++) {
        const struct event_envelope_container *container = &detail->containers.items[i];
        if (!text_empty(container->reason)) {
            buf_format(out, " (%.*s: %.*s)", TEXT_FMT(container->name),
                       TEXT_FMT(container->reason));
            return;
        }
        if (container->has_exit_code && container->exit_code != 0) {
            buf_format(out, " (%.*s: exit code %d)", TEXT_FMT(container->name),
                       (int)container->exit_code);
            return;
        }
    }
}

// What others wrote must not steer a terminal.
static void clean(struct buf *line, size_t from)
{
    for (size_t i = from; i < line->size; i++) {
        unsigned char byte = (unsigned char)line->data[i];
        if (byte < 0x20 || byte == 0x7f) {
            line->data[i] = ' ';
        }
    }
}

static int put_line(const struct berth_logged_event *logged, bool coloured, struct arena *arena,
                    struct buf *out)
{
    struct event_envelope envelope = {0};
    struct event_envelope_detail detail = {0};
    struct shape_error error = {0};
    if (json_decode(&event_envelope_shape, logged->event, arena, &envelope, &error) != 0 ||
        json_decode(&event_envelope_detail_shape, envelope.detail, arena, &detail, &error) != 0) {
        return ERR_CORRUPT;
    }
    struct text resource =
        envelope.resources.count > 0 ? envelope.resources.items[0] : (struct text){0};
    put_time(logged->at, out);
    buf_format(out, "  %-10s  ", word_of(logged->detail_type));
    // The ARN's path without its type: CLUSTER/NAME.
    size_t slash = text_find(resource, '/');
    buf_text(out, slash == SIZE_MAX ? resource : text_slice(resource, slash + 1, resource.size));
    if (!text_empty(detail.group)) {
        buf_format(out, " (%.*s)", TEXT_FMT(detail.group));
    }
    buf_string(out, "  ");
    clean(out, 0);
    put_state(&detail, coloured ? colour_of(&detail) : COLOUR_NONE, out);
    size_t from = out->size;
    if (!text_empty(detail.deployment_id)) {
        buf_format(out, "  %.*s", TEXT_FMT(detail.deployment_id));
    }
    if (!text_empty(detail.reason)) {
        buf_format(out, "  %.*s", TEXT_FMT(detail.reason));
    }
    put_task_reason(&detail, out);
    clean(out, from);
    return 0;
}

static int print_event(const struct options *options, const struct berth_logged_event *logged,
                       struct arena *arena, struct err *err)
{
    AUTO(buf_deinit) struct buf line = {0};
    if (options->json) {
        buf_format(&line, "{\"sequence\":%lld,\"event\":", (long long)logged->sequence);
        buf_text(&line, logged->event);
        buf_byte(&line, '}');
    } else if (put_line(logged, options->colour, arena, &line) != 0) {
        return err_set(err, ERR_CORRUPT, "the server sent an event that cannot be read");
    }
    buf_byte(&line, '\n');
    if (fwrite(line.data, 1, line.size, stdout) != line.size) {
        return err_set(err, ERR_CLOSED, "standard output is closed");
    }
    return 0;
}

// ---- asking -------------------------------------------------------------------------------

static int print_page(const struct options *options, struct cli_context *context,
                      const struct berth_list_events_response *page, struct err *err)
{
    if (page->missed) {
        fprintf(stderr, "berth events: some events were gone before they could be read\n");
    }
    for (size_t i = 0; i < page->events.count; i++) {
        int rc = print_event(options, &page->events.items[i], &context->arena, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (fflush(stdout) != 0) {
        return err_set(err, ERR_CLOSED, "standard output is closed");
    }
    return 0;
}

static void rest(void)
{
    const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
    nanosleep(&pause, NULL);
}

// A follower outlives the server: it may come back, perhaps on another port.
static void reopen(const struct options *options, struct cli_context *context)
{
    struct err err;
    do {
        cli_context_close(context);
        *context = (struct cli_context){0};
        rest();
    } while (cli_context_open(context, options->data_dir, &err) != 0);
}

static int run(const struct options *options, struct cli_context *context, struct err *err)
{
    struct berth_list_events_request request = options->request;
    request.has_max_results = true;
    request.max_results = PAGE;
    bool first = true;
    bool away = false;
    for (;;) {
        struct berth_list_events_response page = {0};
        int rc = cli_call(context, &berth_operations[BERTH_OP_LIST_EVENTS], &request, &page, err);
        if (rc != 0 && (first || !options->follow)) {
            return rc;
        }
        if (rc != 0) {
            if (!away) {
                fprintf(stderr, "berth events: %s; trying again\n", err->text);
            }
            away = true;
            reopen(options, context);
            continue;
        }
        first = false;
        away = false;
        rc = print_page(options, context, &page, err);
        bool more = !text_empty(page.next_token);
        if (rc != 0 || (!more && !options->follow)) {
            return rc;
        }
        request.has_after = true;
        request.after = page.last_sequence;
        request.has_wait_ms = !more;
        request.wait_ms = more ? 0 : FOLLOW_WAIT_MS;
        // A follower may run for weeks.
        arena_reset(&context->arena);
    }
}

int cli_events(int argc, char **argv)
{
    struct options options = {0};
    if (read_options(argc, argv, &options) != 0) {
        return CLI_USAGE;
    }
    if (options.follow && options.request.since == 0) {
        options.request.since = clock_wall_ms();
    }
    options.colour = isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == NULL;
    struct err err;
    AUTO(cli_context_close) struct cli_context context = {0};
    int rc = cli_context_open(&context, options.data_dir, &err);
    if (rc == 0) {
        rc = run(&options, &context, &err);
    }
    return rc == 0 ? 0 : cli_fail(&err);
}
