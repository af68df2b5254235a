#include "runtime/stats.h"

#include "base/text.h"

/*
 * The kernel's text files with figures, line by line. A kernel that tells more or less than is
 * known here is fine: unknown lines are passed over.
 */

#define NS_PER_SECOND 1000000000u
#define LINK_COLUMNS 16     // of /proc/net/dev
#define HOST_COLUMNS 7      // of /proc/stat that make up a CPU's time: as Docker adds them
#define HEADER_LINES 2      // of /proc/net/dev
#define OPERATIONS_PER_IO 4 // read and write, bytes and times

// The next word of a line; columns may be padded.
static struct text word(struct text *rest)
{
    struct text found = {0};
    while (rest->data != NULL && text_empty(found)) {
        found = text_cut(rest, ' ');
    }
    return found;
}

static uint64_t number(struct text text)
{
    uint64_t value = 0;
    return text_to_u64(text, &value) == 0 ? value : 0;
}

uint64_t stats_find(struct text lines, const char *name)
{
    while (lines.data != NULL) {
        struct text line = text_cut(&lines, '\n');
        if (text_is(word(&line), name)) {
            return number(word(&line));
        }
    }
    return 0;
}

void stats_read_memory(struct text lines, struct arena *arena, struct container_sample *sample)
{
    while (lines.data != NULL && sample->memory_count < STATS_MEMORY_MAX) {
        struct text line = text_cut(&lines, '\n');
        struct text name = word(&line);
        struct text value = word(&line);
        if (text_empty(name) || text_empty(value)) {
            continue;
        }
        sample->memory[sample->memory_count++] =
            (struct stats_number){arena_text(arena, name), number(value)};
    }
}

// `8:0`. @return whether it is one
static bool device_number(struct text text, struct stats_device *out)
{
    uint64_t major = 0;
    uint64_t minor = 0;
    struct text first = text_cut(&text, ':');
    if (text.data == NULL || text_to_u64(first, &major) != 0 || text_to_u64(text, &minor) != 0) {
        return false;
    }
    out->major = (uint32_t)major;
    out->minor = (uint32_t)minor;
    return true;
}

size_t stats_read_blkio(struct text lines, struct stats_device out_devices[STATS_DEVICES_MAX])
{
    size_t count = 0;
    while (lines.data != NULL && count < STATS_DEVICES_MAX) {
        struct text line = text_cut(&lines, '\n');
        struct stats_device device = {0};
        if (!device_number(word(&line), &device)) {
            continue; // the total of all
        }
        struct text operation = word(&line);
        bool reads = text_is(operation, "Read");
        if (!reads && !text_is(operation, "Write")) {
            continue; // sums of these two, and how they were waited for
        }
        device.operation = reads ? TEXT("read") : TEXT("write");
        device.value = number(word(&line));
        out_devices[count++] = device;
    }
    return count;
}

static void add_io(struct container_sample *sample, struct stats_device device, struct text key,
                   uint64_t value)
{
    static const struct {
        const char *key;
        struct text operation;
        bool bytes;
    } kinds[OPERATIONS_PER_IO] = {{"rbytes", {"read", 4}, true},
                                  {"wbytes", {"write", 5}, true},
                                  {"rios", {"read", 4}, false},
                                  {"wios", {"write", 5}, false}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t *count = kinds[i].bytes ? &sample->bytes_count : &sample->operations_count;
        struct stats_device *devices = kinds[i].bytes ? sample->bytes : sample->operations;
        if (text_is(key, kinds[i].key) && *count < STATS_DEVICES_MAX) {
            device.operation = kinds[i].operation;
            device.value = value;
            devices[(*count)++] = device;
        }
    }
}

void stats_read_io(struct text lines, struct container_sample *sample)
{
    while (lines.data != NULL) {
        struct text line = text_cut(&lines, '\n');
        struct stats_device device = {0};
        if (!device_number(word(&line), &device)) {
            continue;
        }
        while (line.data != NULL) {
            struct text value = word(&line);
            struct text key = text_cut(&value, '=');
            add_io(sample, device, key, number(value));
        }
    }
}

void stats_read_links(struct text lines, struct arena *arena, struct container_sample *sample)
{
    for (size_t line_count = 0; lines.data != NULL; line_count++) {
        struct text line = text_cut(&lines, '\n');
        struct text name = text_trim(text_cut(&line, ':'));
        if (line_count < HEADER_LINES || line.data == NULL || text_is(name, "lo") ||
            sample->link_count == STATS_LINKS_MAX) {
            continue;
        }
        uint64_t columns[LINK_COLUMNS];
        for (size_t i = 0; i < LINK_COLUMNS; i++) {
            columns[i] = number(word(&line));
        }
        sample->counters.rx_bytes += columns[0];
        sample->counters.tx_bytes += columns[8];
        sample->links[sample->link_count++] = (struct stats_link){
            .name = arena_text(arena, name),
            .rx_bytes = columns[0],
            .rx_packets = columns[1],
            .rx_errors = columns[2],
            .rx_dropped = columns[3],
            .tx_bytes = columns[8],
            .tx_packets = columns[9],
            .tx_errors = columns[10],
            .tx_dropped = columns[11],
        };
    }
}

void stats_read_host(struct text lines, uint64_t ticks_per_second, struct container_sample *sample)
{
    while (lines.data != NULL) {
        struct text line = text_cut(&lines, '\n');
        struct text name = word(&line);
        if (!text_starts(name, TEXT("cpu"))) {
            return; // they come first
        }
        if (!text_is(name, "cpu")) {
            sample->counters.host_cpus++;
            continue;
        }
        uint64_t ticks = 0;
        for (size_t i = 0; i < HOST_COLUMNS; i++) {
            ticks += number(word(&line));
        }
        sample->counters.host_cpu_ns = ticks * (NS_PER_SECOND / MAX(ticks_per_second, (uint64_t)1));
    }
}
