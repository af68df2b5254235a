#include "bin/settings.h"

#include "base/text.h"
#include "identity/identity.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DURATION_SECONDS_MAX (UINT64_C(3650) * 86400)

static int set_on_exit(const char *name, const char *word, void *field)
{
    enum agent_stop_mode *mode = field;
    if (strcmp(word, "stop") == 0) {
        *mode = AGENT_STOP_TASKS;
    } else if (strcmp(word, "keep") == 0) {
        *mode = AGENT_STOP_KEEP;
    } else {
        fprintf(stderr, "berth: --%s is stop or keep, not '%s'\n", name, word);
        return ERR_INVALID;
    }
    return 0;
}

static int set_size(const char *name, const char *value, void *field)
{
    uint32_t *out_size = field;
    uint64_t size = 0;
    if (text_to_u64(text_of(value), &size) != 0 || size < 1 || size > INT32_MAX) {
        fprintf(stderr, "berth: --%s takes a number from 1, not '%s'\n", name, value);
        return ERR_INVALID;
    }
    *out_size = (uint32_t)size;
    return 0;
}

// A whole number and a unit: 90s, 30m, 1h, 7d.
static int set_duration(const char *name, const char *value, void *field)
{
    int64_t *out_ms = field;
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct text text = text_of(value);
    uint64_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(units) && text.size > 1; i++) {
        if (text.data[text.size - 1] == units[i].unit &&
            text_to_u64(text_slice(text, 0, text.size - 1), &count) == 0 && count >= 1 &&
            count <= DURATION_SECONDS_MAX / (uint64_t)units[i].seconds) {
            *out_ms = (int64_t)count * units[i].seconds * 1000;
            return 0;
        }
    }
    fprintf(
        stderr,
        "berth: --%s takes a number with a unit, such as 90s, 30m, 1h or 7d, and at most 3650d; "
        "not '%s'\n",
        name, value);
    return ERR_INVALID;
}

// Percent with up to one decimal, such as 5% or 0.5%.
static int set_percent(const char *name, const char *value, void *field)
{
    uint32_t *out_permille = field;
    struct text text = text_of(value);
    if (text_ends(text, TEXT("%"))) {
        text = text_slice(text, 0, text.size - 1);
    }
    struct text whole = text_cut(&text, '.');
    uint64_t percent = 0;
    uint64_t tenths = 0;
    bool fine = text_to_u64(whole, &percent) == 0 && percent <= 100 &&
                (text.data == NULL || (text.size == 1 && text_to_u64(text, &tenths) == 0)) &&
                percent * 10 + tenths <= 1000;
    if (!fine) {
        fprintf(stderr, "berth: --%s takes percent from 0%% to 100%%, such as 5%%, not '%s'\n",
                name, value);
        return ERR_INVALID;
    }
    *out_permille = (uint32_t)(percent * 10 + tenths);
    return 0;
}

// A name without a slash is looked for in PATH when it is run.
static int set_program(const char *name, const char *value, void *field)
{
    const char **out_program = field;
    if (strchr(value, '/') != NULL && access(value, X_OK) != 0) {
        fprintf(stderr, "berth: --%s: '%s' cannot be run: %s\n", name, value, strerror(errno));
        return ERR_INVALID;
    }
    *out_program = value;
    return 0;
}

// FIRST-LAST, as ECS_DYNAMIC_HOST_PORT_RANGE of ECS's agent.
static int set_ports(const char *name, const char *value, void *field)
{
    struct settings_ports *ports = field;
    struct text rest = text_of(value);
    uint64_t first = 0;
    uint64_t last = 0;
    if (text_to_u64(text_cut(&rest, '-'), &first) != 0 || text_to_u64(rest, &last) != 0 ||
        first < 1 || first > last || last > UINT16_MAX) {
        fprintf(stderr,
                "berth: --%s takes the first and the last port, such as 49153-65535, not "
                "'%s'\n",
                name, value);
        return ERR_INVALID;
    }
    ports->first = (uint16_t)first;
    ports->last = (uint16_t)last;
    return 0;
}

static int set_environment_files(const char *name, const char *value, void *field)
{
    const char **out_place = field;
    struct text text = text_of(value);
    if (text_starts(text, TEXT("/")) || text_starts(text, TEXT("http://")) ||
        text_starts(text, TEXT("https://"))) {
        *out_place = value;
        return 0;
    }
    fprintf(stderr,
            "berth: --%s takes an absolute path of a folder or an http or https URL, not '%s'\n",
            name, value);
    return ERR_INVALID;
}

static int set_word(const char *name, const char *value, void *field)
{
    (void)name;
    const char **out_word = field;
    *out_word = value;
    return 0;
}

static int set_name(const char *name, const char *value, void *field)
{
    char *out_name = field;
    if (text_copy(text_of(value), out_name, SETTINGS_NAME_BYTES) != 0) {
        fprintf(stderr, "berth: --%s takes at most %d characters\n", name, SETTINGS_NAME_BYTES - 1);
        return ERR_INVALID;
    }
    return 0;
}

static int set_flag(const char *name, const char *value, void *field)
{
    (void)name;
    (void)value;
    bool *out_flag = field;
    *out_flag = true;
    return 0;
}

/** An option: what takes its value, and where that goes. */
struct row {
    const char *name;
    int (*set)(const char *name, const char *value, void *field);
    size_t offset;
};

static const struct row rows[] = {
    {"data", set_word, offsetof(struct settings, data_dir)},
    {"listen", set_word, offsetof(struct settings, listen)},
    {"session-listen", set_word, offsetof(struct settings, session_listen)},
    {"advertise", set_word, offsetof(struct settings, advertise)},
    {"region", set_word, offsetof(struct settings, region)},
    {"zone", set_word, offsetof(struct settings, zone)},
    {"cluster", set_word, offsetof(struct settings, cluster)},
    {"capacity", set_word, offsetof(struct settings, capacity)},
    {"auto-scaling-group", set_word, offsetof(struct settings, scaling_group)},
    {"spot-fallback", set_flag, offsetof(struct settings, spot_fallback)},
    {"spot-interruption-rate", set_percent, offsetof(struct settings, spot_permille)},
    {"vpc-cidr", set_word, offsetof(struct settings, vpc_cidr)},
    {"bridge-cidr", set_word, offsetof(struct settings, bridge_cidr)},
    {"environment-files", set_environment_files, offsetof(struct settings, environment_files)},
    {"dynamic-host-ports", set_ports, offsetof(struct settings, ports)},
    {"join", set_word, offsetof(struct settings, token)},
    {"name", set_name, offsetof(struct settings, name)},
    {"on-exit", set_on_exit, offsetof(struct settings, on_exit)},
    {"cpu-units", set_size, offsetof(struct settings, cpu_units)},
    {"memory-mib", set_size, offsetof(struct settings, memory_mib)},
    {"container-pids", set_size, offsetof(struct settings, pids_max)},
    {"keep-output", set_duration, offsetof(struct settings, keep_output_ms)},
    {"output-mib", set_size, offsetof(struct settings, output_mib)},
    {"remove-unused-images", set_duration, offsetof(struct settings, remove_images_ms)},
    {"disk-reserve-mib", set_size, offsetof(struct settings, disk_reserve_mib)},
    {"cleanup-interval", set_duration, offsetof(struct settings, garbage_ms)},
    {"keep-stopped-tasks", set_duration, offsetof(struct settings, retention_ms)},
    {"healthy-after", set_duration, offsetof(struct settings, settle_ms)},
    {"events-mib", set_size, offsetof(struct settings, events_mib)},
    {"scale-command", set_program, offsetof(struct settings, scale_command)},
    {"scale-timeout", set_duration, offsetof(struct settings, scale_timeout_ms)},
    {"provisioning-timeout", set_duration, offsetof(struct settings, waiting_ms)},
    {"scaling-period", set_duration, offsetof(struct settings, scaling_period_ms)},
    {"exec-idle-timeout", set_duration, offsetof(struct settings, exec_idle_ms)},
    {"any-credentials", set_flag, offsetof(struct settings, any_credentials)},
    {"strict", set_flag, offsetof(struct settings, strict)},
};

// Options have no letters: getopt gives back where a row stands, behind all characters.
#define FIRST_ROW 256

static int read_options(int argc, char **argv, struct settings *settings)
{
    struct option known[ARRAY_LEN(rows) + 1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool flag = rows[i].set == set_flag;
        known[i] = (struct option){rows[i].name, flag ? no_argument : required_argument, NULL,
                                   FIRST_ROW + (int)i};
    }
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option < FIRST_ROW) {
            return ERR_INVALID; // getopt has said why
        }
        const struct row *row = &rows[option - FIRST_ROW];
        if (row->set(row->name, optarg, (char *)settings + row->offset) != 0) {
            return ERR_INVALID;
        }
    }
    return 0;
}

int settings_read(int argc, char **argv, struct settings *settings)
{
    int rc = read_options(argc, argv, settings);
    if (rc != 0) {
        return rc;
    }
    if (optind < argc) {
        fprintf(stderr, "berth: '%s' is not understood\n", argv[optind]);
        return ERR_INVALID;
    }
    if (settings->scaling_group != NULL && settings->cluster == NULL) {
        fprintf(stderr, "berth: --auto-scaling-group is for an instance of a cluster: give "
                        "--cluster as well\n");
        return ERR_INVALID;
    }
    if (settings->capacity != NULL && settings->cluster != NULL) {
        fprintf(stderr, "berth: --capacity is for a host of the pools, --cluster for an instance "
                        "of a cluster: give one of them\n");
        return ERR_INVALID;
    }
    if (!identity_region_known(text_of(settings->region))) {
        fprintf(stderr, "berth: '%s' is no region that AWS knows, such as %s\n", settings->region,
                SETTINGS_DEFAULT_REGION);
        return ERR_INVALID;
    }
    return 0;
}
