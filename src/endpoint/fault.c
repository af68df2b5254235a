#include "endpoint/fault.h"

#include "api/endpoint.h"
#include "base/err.h"
#include "shape/json.h"

#include <arpa/inet.h>
#include <string.h>

#define ADDRESS_CHARS 64 // more than any address has

static const struct {
    const char *word;
    const char *request; // what Amazon's agent calls the struct it reads
} kinds[FAULT_KINDS] = {
    [FAULT_BLACKHOLE] = {"network-blackhole-port", "NetworkBlackholePortRequest"},
    [FAULT_LATENCY] = {"network-latency", "NetworkLatencyRequest"},
    [FAULT_LOSS] = {"network-packet-loss", "NetworkPacketLossRequest"},
};

static const struct {
    const char *word;
    const char *called;
} operations[FAULT_OPERATIONS] = {
    [FAULT_START] = {"start", "start"},
    [FAULT_STOP] = {"stop", "stop"},
    [FAULT_STATUS] = {"status", "check status"},
};

bool fault_find_kind(struct text word, enum fault_kind *out_kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (text_is(word, kinds[i].word)) {
            *out_kind = (enum fault_kind)i;
            return true;
        }
    }
    return false;
}

bool fault_find_operation(struct text word, enum fault_operation *out_operation)
{
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (text_is(word, operations[i].word)) {
            *out_operation = (enum fault_operation)i;
            return true;
        }
    }
    return false;
}

struct text fault_name(enum fault_kind kind, enum fault_operation operation, struct arena *arena)
{
    return arena_format(arena, "%s %s", operations[operation].called, kinds[kind].word);
}

// ---- members ----------------------------------------------------------------------------------

/** A request that is being read. The first refusal is the one that is told. */
struct reader {
    enum fault_kind kind;
    struct arena *arena;
    struct text refusal;
};

static bool refused(const struct reader *reader)
{
    return reader->refusal.data != NULL;
}

static void refuse(struct reader *reader, struct text refusal)
{
    reader->refusal = refused(reader) ? reader->refusal : refusal;
}

static void refuse_missing(struct reader *reader, const char *member)
{
    refuse(reader, arena_format(reader->arena, "required parameter %s is missing", member));
}

static void refuse_value(struct reader *reader, struct text value, const char *member)
{
    refuse(reader, arena_format(reader->arena, "invalid value %.*s for parameter %s",
                                TEXT_FMT(value), member));
}

// What Go calls a value of JSON; a number with its digits where they are why it does not fit.
static struct text kind_of(struct reader *reader, struct text document, bool digits)
{
    switch (document.data[0]) {
    case '"':
        return TEXT("string");
    case '{':
        return TEXT("object");
    case '[':
        return TEXT("array");
    case 't':
    case 'f':
        return TEXT("bool");
    default:
        return digits ? arena_format(reader->arena, "number %.*s", TEXT_FMT(document))
                      : TEXT("number");
    }
}

static void refuse_kind(struct reader *reader, struct text document, const char *member,
                        const char *type)
{
    bool number = strcmp(type, "string") != 0 && strcmp(type, "[]*string") != 0;
    refuse(reader, arena_format(reader->arena,
                                "json: cannot unmarshal %.*s into Go struct field %s.%s of type %s",
                                TEXT_FMT(kind_of(reader, document, number)),
                                kinds[reader->kind].request, member, type));
}

static void read_number(struct reader *reader, struct text document, const char *member,
                        const char *type, uint64_t max, uint64_t *out_value)
{
    uint64_t value = 0;
    if (document.data == NULL) {
        return;
    }
    if (text_to_u64(document, &value) != 0 || value > max) {
        refuse_kind(reader, document, member, type);
        return;
    }
    *out_value = value;
}

static struct text read_text(struct reader *reader, struct text document, const char *member)
{
    struct endpoint_fault_text read = {0};
    struct shape_error why;
    if (document.data == NULL) {
        return TEXT("");
    }
    struct text envelope = arena_format(reader->arena, "{\"value\":%.*s}", TEXT_FMT(document));
    if (json_decode(&endpoint_fault_text_shape, envelope, reader->arena, &read, &why) != 0) {
        refuse_kind(reader, document, member, "string");
    }
    return read.value;
}

// ---- addresses --------------------------------------------------------------------------------

// An address with or without a prefix, as Go reads them: one of IPv6 that holds one of IPv4 is
// that.
static int read_range(struct text text, struct fault_range *out_range)
{
    static const uint8_t holds_ipv4[12] = {[10] = 0xff, [11] = 0xff};
    char address[ADDRESS_CHARS];
    uint64_t prefix = 0;
    bool has_prefix = text_find(text, '/') != SIZE_MAX;
    struct text rest = text;
    struct text first = has_prefix ? text_cut(&rest, '/') : text;
    struct fault_range range = {0};
    if (text_copy(first, address, sizeof(address)) != 0 || strlen(address) != first.size) {
        return ERR_INVALID;
    }
    if (inet_pton(AF_INET, address, range.address) != 1) {
        if (inet_pton(AF_INET6, address, range.address) != 1) {
            return ERR_INVALID;
        }
        range.ipv6 = true;
    }
    uint64_t bits = range.ipv6 ? 128 : 32;
    if (has_prefix && (text_to_u64(rest, &prefix) != 0 || prefix > bits)) {
        return ERR_INVALID;
    }
    range.prefix = (uint8_t)(has_prefix ? prefix : bits);
    if (range.ipv6 && memcmp(range.address, holds_ipv4, sizeof(holds_ipv4)) == 0 &&
        range.prefix >= 96) {
        memmove(range.address, range.address + sizeof(holds_ipv4), 4);
        range.ipv6 = false;
        range.prefix = (uint8_t)(range.prefix - 96);
    }
    *out_range = range;
    return 0;
}

/** Addresses as they were written. */
static struct text_list read_list(struct reader *reader, struct text document, const char *member)
{
    struct endpoint_fault_texts read = {0};
    struct shape_error why;
    if (document.data == NULL) {
        return (struct text_list){0};
    }
    struct text envelope = arena_format(reader->arena, "{\"values\":%.*s}", TEXT_FMT(document));
    if (document.data[0] != '[') {
        refuse_kind(reader, document, member, "[]*string");
    } else if (json_decode(&endpoint_fault_texts_shape, envelope, reader->arena, &read, &why) !=
               0) {
        refuse_value(reader, TEXT(""), member); // an element is null
    }
    struct text_list list = {
        .items = arena_array(reader->arena, read.values.count, sizeof(*list.items))};
    for (size_t i = 0; i < read.values.count; i++) {
        list.items[list.count++] = read_text(reader, read.values.items[i], member);
    }
    return list;
}

static void read_ranges(struct reader *reader, const struct text_list *list, const char *member,
                        struct fault_ranges *out_ranges)
{
    out_ranges->items = arena_array(reader->arena, list->count, sizeof(*out_ranges->items));
    for (size_t i = 0; i < list->count; i++) {
        if (read_range(list->items[i], &out_ranges->items[i]) != 0) {
            refuse_value(reader, list->items[i], member);
            return;
        }
    }
    out_ranges->count = list->count;
}

// ---- requests ---------------------------------------------------------------------------------

static void read_blackhole(struct reader *reader, const struct endpoint_fault_request *in,
                           struct fault_request *out)
{
    uint64_t port = 0;
    // What is of a wrong kind is refused before what is missing or of a wrong value.
    read_number(reader, in->port, "Port", "uint16", UINT16_MAX, &port);
    struct text protocol = read_text(reader, in->protocol, "Protocol");
    struct text traffic = read_text(reader, in->traffic_type, "TrafficType");
    struct text_list spared = read_list(reader, in->sources_to_filter, "SourcesToFilter");
    if (in->port.data == NULL) {
        refuse_missing(reader, "Port");
    }
    if (text_empty(protocol)) {
        refuse_missing(reader, "Protocol");
    }
    if (text_empty(traffic)) {
        refuse_missing(reader, "TrafficType");
    }
    if (!text_is(protocol, "tcp") && !text_is(protocol, "udp")) {
        refuse_value(reader, protocol, "Protocol");
    }
    if (!text_is(traffic, "ingress") && !text_is(traffic, "egress")) {
        refuse_value(reader, traffic, "TrafficType");
    }
    read_ranges(reader, &spared, "SourcesToFilter", &out->spared);
    out->egress = text_is(traffic, "egress");
    out->udp = text_is(protocol, "udp");
    out->port = (uint16_t)port;
}

// What latency and loss have in common, behind what each has of its own.
static void read_sources(struct reader *reader, const struct endpoint_fault_request *in,
                         const struct text_list *sources, const struct text_list *spared,
                         int64_t flows, struct fault_request *out)
{
    if (sources->count == 0) {
        refuse_missing(reader, "Sources");
    }
    read_ranges(reader, sources, "Sources", &out->sources);
    read_ranges(reader, spared, "SourcesToFilter", &out->spared);
    if (in->flows_percent.data != NULL && (flows <= 0 || flows > 100)) {
        refuse_value(reader, in->flows_percent, "flowsPercent");
    }
    out->flows_percent = in->flows_percent.data == NULL ? 100 : (uint32_t)flows;
}

static int64_t read_flows(struct reader *reader, const struct endpoint_fault_request *in)
{
    int64_t flows = 0;
    if (in->flows_percent.data != NULL && text_to_i64(in->flows_percent, &flows) != 0) {
        refuse_kind(reader, in->flows_percent, "FlowsPercent", "int");
    }
    return flows;
}

// Longer than this the kernel cannot be told to wait.
static void check_milliseconds(struct reader *reader, uint64_t value, struct text document,
                               const char *member)
{
    if (value > INT32_MAX) {
        refuse_value(reader, document, member);
    }
}

static void read_latency(struct reader *reader, const struct endpoint_fault_request *in,
                         struct fault_request *out)
{
    uint64_t delay = 0;
    uint64_t jitter = 0;
    read_number(reader, in->delay_milliseconds, "DelayMilliseconds", "uint64", UINT64_MAX, &delay);
    read_number(reader, in->jitter_milliseconds, "JitterMilliseconds", "uint64", UINT64_MAX,
                &jitter);
    struct text_list sources = read_list(reader, in->sources, "Sources");
    struct text_list spared = read_list(reader, in->sources_to_filter, "SourcesToFilter");
    int64_t flows = read_flows(reader, in);
    if (in->delay_milliseconds.data == NULL) {
        refuse_missing(reader, "DelayMilliseconds");
    }
    if (in->jitter_milliseconds.data == NULL) {
        refuse_missing(reader, "JitterMilliseconds");
    }
    if (delay == 0 && jitter == 0) {
        refuse(reader,
               TEXT("required either DelayMilliseconds or JitterMilliseconds to be non-zero"));
    }
    check_milliseconds(reader, delay, in->delay_milliseconds, "DelayMilliseconds");
    check_milliseconds(reader, jitter, in->jitter_milliseconds, "JitterMilliseconds");
    read_sources(reader, in, &sources, &spared, flows, out);
    out->delay_ms = (int64_t)MIN(delay, (uint64_t)INT32_MAX);
    out->jitter_ms = (int64_t)MIN(jitter, (uint64_t)INT32_MAX);
}

static void read_loss(struct reader *reader, const struct endpoint_fault_request *in,
                      struct fault_request *out)
{
    uint64_t loss = 0;
    read_number(reader, in->loss_percent, "LossPercent", "uint64", UINT64_MAX, &loss);
    struct text_list sources = read_list(reader, in->sources, "Sources");
    struct text_list spared = read_list(reader, in->sources_to_filter, "SourcesToFilter");
    int64_t flows = read_flows(reader, in);
    if (in->loss_percent.data == NULL) {
        refuse_missing(reader, "LossPercent");
    }
    if (loss < 1 || loss > 100) {
        refuse_value(reader, in->loss_percent, "LossPercent");
    }
    read_sources(reader, in, &sources, &spared, flows, out);
    out->loss_percent = (uint32_t)MIN(loss, (uint64_t)100);
}

// @return the whole as a struct of documents; nothing when it is refused
static struct endpoint_fault_request read_body(struct reader *reader, struct text body)
{
    struct endpoint_fault_request read = {0};
    struct shape_error why = {0};
    struct text trimmed = text_trim(body);
    if (text_empty(trimmed)) {
        refuse(reader, TEXT("required request body is missing"));
    } else if (json_decode(&endpoint_fault_request_shape, trimmed, reader->arena, &read, &why) !=
                   0 &&
               !text_is(trimmed, "null")) {
        bool other = trimmed.data[0] == '[';
        refuse(reader,
               other ? arena_format(reader->arena,
                                    "json: cannot unmarshal array into Go value of type types.%s",
                                    kinds[reader->kind].request)
                     : arena_format(reader->arena, "the request body is not JSON: %s", why.text));
    }
    return read;
}

int fault_read(enum fault_kind kind, enum fault_operation operation, struct text body,
               struct arena *arena, struct fault_request *out_request, struct text *out_refusal)
{
    struct reader reader = {.kind = kind, .arena = arena};
    struct fault_request request = {0};
    if (kind != FAULT_BLACKHOLE && operation != FAULT_START) {
        *out_request = request;
        return 0;
    }
    const struct endpoint_fault_request read = read_body(&reader, body);
    if (!refused(&reader)) {
        switch (kind) {
        case FAULT_BLACKHOLE:
            read_blackhole(&reader, &read, &request);
            break;
        case FAULT_LATENCY:
            read_latency(&reader, &read, &request);
            break;
        case FAULT_LOSS:
            read_loss(&reader, &read, &request);
            break;
        }
    }
    if (refused(&reader)) {
        *out_refusal = reader.refusal;
        return ERR_INVALID;
    }
    *out_request = request;
    return 0;
}

// ---- the rate ---------------------------------------------------------------------------------

bool fault_rate_take(struct fault_rate *rate, enum fault_kind kind, enum fault_operation operation,
                     int64_t now_ms)
{
    int64_t *next_ms = &rate->next_ms[kind][operation];
    if (now_ms < *next_ms) {
        return false;
    }
    *next_ms = now_ms + FAULT_PERIOD_MS;
    return true;
}
