#include "sigv4/sigv4_internal.h"

#include <stdlib.h>
#include <string.h>

// A request written into memory whose size was computed before, so that nothing is checked or
// moved on the way.
struct writer {
    char *at;
};

static void put(struct writer *writer, struct text text)
{
    if (text.size > 0) {
        memcpy(writer->at, text.data, text.size);
        writer->at += text.size;
    }
}

static void put_byte(struct writer *writer, char byte)
{
    *writer->at++ = byte;
}

static bool unreserved(unsigned char byte)
{
    return text_plain((char)byte) || byte == '-' || byte == '_' || byte == '.' || byte == '~';
}

static void put_encoded(struct writer *writer, struct text text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (unreserved(byte)) {
            put_byte(writer, (char)byte);
        } else {
            put_byte(writer, '%');
            put_byte(writer, digits[byte >> 4]);
            put_byte(writer, digits[byte & 15]);
        }
    }
}

struct text sigv4_percent_encode(struct text text, struct arena *arena)
{
    char *start = arena_alloc(arena, text.size * 3 + 1);
    struct writer writer = {start};
    put_encoded(&writer, text);
    return (struct text){start, (size_t)(writer.at - start)};
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

struct text sigv4_percent_decode(struct text text, struct arena *arena)
{
    if (text_find(text, '%') == SIZE_MAX) {
        return text;
    }
    char *start = arena_alloc(arena, text.size + 1);
    struct writer writer = {start};
    for (size_t i = 0; i < text.size; i++) {
        int high = text.data[i] == '%' && i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
        if (low >= 0) {
            put_byte(&writer, (char)(high * 16 + low));
            i += 2;
        } else {
            put_byte(&writer, text.data[i]);
        }
    }
    return (struct text){start, (size_t)(writer.at - start)};
}

// The path without dot segments and doubled slashes, then encoded: bytes that are escapes on the
// wire are escaped a second time, as every service but S3 has it.
static void put_path(struct writer *writer, struct text path, struct arena *arena)
{
    size_t segment_max = 1;
    for (size_t i = 0; i < path.size; i++) {
        segment_max += path.data[i] == '/' ? 1 : 0;
    }
    struct text *segments = arena_array(arena, segment_max, sizeof(*segments));
    size_t count = 0;
    bool slash_last = path.size > 0 && path.data[path.size - 1] == '/';
    for (struct text rest = path; rest.data != NULL;) {
        struct text segment = text_cut(&rest, '/');
        if (segment.size == 0 || text_is(segment, ".")) {
            continue;
        }
        if (!text_is(segment, "..")) {
            segments[count++] = segment;
        } else if (count > 0) {
            count--;
        }
    }

    put_byte(writer, '/');
    for (size_t i = 0; i < count; i++) {
        put_encoded(writer, segments[i]);
        if (i + 1 < count || slash_last) {
            put_byte(writer, '/');
        }
    }
}

struct parameter {
    struct text name;
    struct text value;
};

static int parameter_compare(const void *left, const void *right)
{
    const struct parameter *a = left;
    const struct parameter *b = right;
    int order = text_compare(a->name, b->name);
    return order != 0 ? order : text_compare(a->value, b->value);
}

static struct text encode_anew(struct text text, struct arena *arena)
{
    return sigv4_percent_encode(sigv4_percent_decode(text, arena), arena);
}

static void put_query(struct writer *writer, const struct sigv4_canonical *canonical,
                      struct arena *arena)
{
    struct text query = canonical->request->query;
    if (text_empty(query)) {
        return;
    }
    size_t count_max = 1;
    for (size_t i = 0; i < query.size; i++) {
        count_max += query.data[i] == '&' ? 1 : 0;
    }
    struct parameter *parameters = arena_array(arena, count_max, sizeof(*parameters));
    size_t count = 0;
    for (struct text rest = query; rest.data != NULL;) {
        struct text pair = text_cut(&rest, '&');
        if (pair.size == 0 && !canonical->query_as_sent) {
            continue;
        }
        size_t equals = text_find(pair, '=');
        struct text name = text_slice(pair, 0, equals);
        struct text value = equals == SIZE_MAX ? TEXT("") : text_slice(pair, equals + 1, pair.size);
        if (canonical->presigned && text_is(name, "X-Amz-Signature")) {
            continue;
        }
        struct parameter *parameter = &parameters[count++];
        *parameter = (struct parameter){name, value};
        if (!canonical->query_as_sent) {
            parameter->name = encode_anew(name, arena);
            parameter->value = encode_anew(value, arena);
        }
    }
    if (count > 1) {
        qsort(parameters, count, sizeof(*parameters), parameter_compare);
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            put_byte(writer, '&');
        }
        put(writer, parameters[i].name);
        put_byte(writer, '=');
        put(writer, parameters[i].value);
    }
}

// A header's value with runs of blanks as one space and none at the ends.
static void put_folded(struct writer *writer, struct text value)
{
    value = text_trim(value);
    bool blank = false;
    for (size_t i = 0; i < value.size; i++) {
        char byte = value.data[i];
        if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') {
            blank = true;
            continue;
        }
        if (blank) {
            put_byte(writer, ' ');
            blank = false;
        }
        put_byte(writer, byte);
    }
}

static void put_lower(struct writer *writer, struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        put_byte(writer, byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte);
    }
}

// Headers of one name make one line, with their values in the order they came in.
static void put_header(struct writer *writer, const struct sigv4_request *request, struct text name)
{
    put_lower(writer, name);
    put_byte(writer, ':');
    bool first = true;
    for (size_t i = 0; i < request->header_count; i++) {
        if (text_equal_nocase(request->headers[i].name, name)) {
            if (!first) {
                put_byte(writer, ',');
            }
            first = false;
            put_folded(writer, request->headers[i].value);
        }
    }
    put_byte(writer, '\n');
}

struct text sigv4_find_header(const struct sigv4_request *request, struct text name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (text_equal_nocase(request->headers[i].name, name)) {
            return request->headers[i].value;
        }
    }
    return (struct text){0};
}

bool sigv4_header_doubled(const struct sigv4_request *request, struct text name)
{
    size_t count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        count += text_equal_nocase(request->headers[i].name, name) ? 1 : 0;
    }
    return count > 1;
}

// Holds only because names in the list are distinct, so that each value is written at most once:
// callers check that or make the list themselves.
static size_t size_bound(const struct sigv4_canonical *canonical)
{
    const struct sigv4_request *request = canonical->request;
    size_t size = request->method.size + request->path.size * 3 + request->query.size * 4 +
                  canonical->signed_headers.size * 3 + canonical->payload_hash.size + 64;
    for (size_t i = 0; i < request->header_count; i++) {
        size += request->headers[i].name.size + request->headers[i].value.size + 2;
    }
    return size;
}

struct text sigv4_canonical_request(const struct sigv4_canonical *canonical, struct arena *arena)
{
    const struct sigv4_request *request = canonical->request;
    size_t size_max = size_bound(canonical);
    char *start = arena_alloc(arena, size_max);
    struct writer writer = {start};

    put(&writer, request->method);
    put_byte(&writer, '\n');
    put_path(&writer, request->path, arena);
    put_byte(&writer, '\n');
    put_query(&writer, canonical, arena);
    put_byte(&writer, '\n');
    for (struct text rest = canonical->signed_headers; rest.data != NULL;) {
        put_header(&writer, request, text_cut(&rest, ';'));
    }
    put_byte(&writer, '\n');
    put_lower(&writer, canonical->signed_headers);
    put_byte(&writer, '\n');
    put(&writer, canonical->payload_hash);

    size_t size = (size_t)(writer.at - start);
    ASSERT(size <= size_max);
    return (struct text){start, size};
}

int sigv4_compare_nocase(struct text a, struct text b)
{
    for (size_t i = 0; i < a.size && i < b.size; i++) {
        unsigned char left = (unsigned char)text_lower(a.data[i]);
        unsigned char right = (unsigned char)text_lower(b.data[i]);
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

struct text sigv4_string_to_sign(EVP_MD_CTX *context, struct text signed_at,
                                 const struct sigv4_scope *scope, struct text canonical_request,
                                 struct arena *arena)
{
    struct text hash = sigv4_hash_hex(context, canonical_request, arena);
    const struct text parts[] = {TEXT(SIGV4_ALGORITHM "\n"),
                                 signed_at,
                                 TEXT("\n"),
                                 scope->date,
                                 TEXT("/"),
                                 scope->region,
                                 TEXT("/"),
                                 scope->service,
                                 TEXT("/" SIGV4_TERMINATOR "\n"),
                                 hash};
    size_t size = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size += parts[i].size;
    }
    char *bytes = arena_alloc(arena, size + 1);
    size = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        memcpy(bytes + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    return (struct text){bytes, size};
}
