#include "server/metrics.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// Every operation has a handful of modelled errors, the front some twenty.
#define CODES_MAX 40

// Upper bounds in microseconds; requests wait for a disk to commit, so the middle is around 1 ms.
static const uint32_t bounds_us[] = {100,   250,   500,    1000,   2500,   5000,
                                     10000, 25000, 100000, 250000, 1000000};

struct code_count {
    const char *code;
    uint64_t count;
};

struct operation_counts {
    uint64_t total;
    uint64_t duration_ns;
    uint64_t buckets[ARRAY_LEN(bounds_us)];
    struct code_count codes[CODES_MAX];
    size_t code_count;
};

struct service_counts {
    const struct api_service *service;
    struct operation_counts **operations; // by index, made when first asked for
};

struct metrics {
    struct service_counts *services;
    size_t service_count;
    struct operation_counts unknown;
    uint64_t total;
};

struct metrics *metrics_new(const struct api_service *const *services, size_t service_count)
{
    struct metrics *metrics = ALLOC(struct metrics);
    metrics->services = alloc_array(service_count, sizeof(*metrics->services));
    metrics->service_count = service_count;
    for (size_t i = 0; i < service_count; i++) {
        metrics->services[i].service = services[i];
        metrics->services[i].operations =
            alloc_array(services[i]->operation_count, sizeof(struct operation_counts *));
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < metrics->service_count; i++) {
        struct service_counts *service = &metrics->services[i];
        for (size_t j = 0; j < service->service->operation_count; j++) {
            alloc_free(service->operations[j]);
        }
        alloc_free(service->operations);
    }
    alloc_free(metrics->services);
    alloc_free(metrics);
}

static struct operation_counts *counts_of(struct metrics *metrics,
                                          const struct api_operation *operation)
{
    for (size_t i = 0; operation != NULL && i < metrics->service_count; i++) {
        if (metrics->services[i].service == operation->service) {
            struct operation_counts **slot = &metrics->services[i].operations[operation->index];
            if (*slot == NULL) {
                *slot = ALLOC(struct operation_counts);
            }
            return *slot;
        }
    }
    return &metrics->unknown;
}

void metrics_count(struct metrics *metrics, const struct api_operation *operation, const char *code,
                   uint64_t duration_ns)
{
    struct operation_counts *counts = counts_of(metrics, operation);
    metrics->total++;
    counts->total++;
    counts->duration_ns += duration_ns;
    uint64_t duration_us = duration_ns / 1000;
    for (size_t i = 0; i < ARRAY_LEN(bounds_us); i++) {
        if (duration_us <= bounds_us[i]) {
            counts->buckets[i]++;
            break;
        }
    }
    size_t at = 0;
    while (at < counts->code_count && strcmp(counts->codes[at].code, code) != 0) {
        at++;
    }
    if (at == counts->code_count) {
        if (at == CODES_MAX) {
            return;
        }
        counts->codes[counts->code_count++].code = code;
    }
    counts->codes[at].count++;
}

uint64_t metrics_total(const struct metrics *metrics)
{
    return metrics->total;
}

static void write_codes(const struct operation_counts *counts, const char *service,
                        const char *operation, struct buf *out)
{
    for (size_t i = 0; i < counts->code_count; i++) {
        buf_format(out, "berth_requests_total{service=\"%s\",operation=\"%s\",code=\"%s\"} %llu\n",
                   service, operation, counts->codes[i].code,
                   (unsigned long long)counts->codes[i].count);
    }
}

static void write_histogram(const struct operation_counts *counts, const char *service,
                            const char *operation, struct buf *out)
{
    uint64_t below = 0;
    for (size_t i = 0; i < ARRAY_LEN(bounds_us); i++) {
        below += counts->buckets[i];
        buf_format(out,
                   "berth_request_duration_seconds_bucket{service=\"%s\",operation=\"%s\","
                   "le=\"%g\"} %llu\n",
                   service, operation, bounds_us[i] / 1e6, (unsigned long long)below);
    }
    buf_format(out,
               "berth_request_duration_seconds_bucket{service=\"%s\",operation=\"%s\","
               "le=\"+Inf\"} %llu\n",
               service, operation, (unsigned long long)counts->total);
    buf_format(out, "berth_request_duration_seconds_sum{service=\"%s\",operation=\"%s\"} %.9f\n",
               service, operation, (double)counts->duration_ns / 1e9);
    buf_format(out, "berth_request_duration_seconds_count{service=\"%s\",operation=\"%s\"} %llu\n",
               service, operation, (unsigned long long)counts->total);
}

static void write_each(const struct metrics *metrics, struct buf *out,
                       void (*write)(const struct operation_counts *counts, const char *service,
                                     const char *operation, struct buf *out))
{
    for (size_t i = 0; i < metrics->service_count; i++) {
        const struct service_counts *service = &metrics->services[i];
        for (size_t j = 0; j < service->service->operation_count; j++) {
            if (service->operations[j] != NULL) {
                write(service->operations[j], service->service->name,
                      service->service->operations[j].name, out);
            }
        }
    }
    if (metrics->unknown.total > 0) {
        write(&metrics->unknown, "none", "none", out);
    }
}

void metrics_write(const struct metrics *metrics, struct buf *out)
{
    buf_string(out, "# HELP berth_requests_total API requests by operation and result.\n"
                    "# TYPE berth_requests_total counter\n");
    write_each(metrics, out, write_codes);
    buf_string(out, "# HELP berth_request_duration_seconds From the whole request being there to "
                    "its reply being ready.\n"
                    "# TYPE berth_request_duration_seconds histogram\n");
    write_each(metrics, out, write_histogram);
}

void metrics_write_number(struct buf *out, const char *name, const char *kind, const char *help,
                          double value)
{
    buf_format(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, kind, name, value);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double resident_bytes(void)
{
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored;
    if (file_read(AT_FDCWD, "/proc/self/statm", 4096, &content, &ignored) != 0) {
        return 0;
    }
    struct text rest = buf_view(&content);
    text_cut(&rest, ' ');
    uint64_t pages = 0;
    IGNORE(text_to_u64(text_cut(&rest, ' '), &pages), "the kernel writes numbers");
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    double count = -3; // itself, and the two entries for directories
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

void metrics_write_process(struct buf *out, int64_t start_ms)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    metrics_write_number(out, "process_cpu_seconds_total", "counter",
                         "User and system CPU time spent.",
                         seconds(usage.ru_utime) + seconds(usage.ru_stime));
    metrics_write_number(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
                         resident_bytes());
    metrics_write_number(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
    metrics_write_number(out, "process_start_time_seconds", "gauge",
                         "When the server started, since 1970.", (double)start_ms / 1000);
}
