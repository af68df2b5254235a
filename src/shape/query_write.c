#include "base/text.h"
#include "shape/query.h"
#include "shape/shape_internal.h"

#include <stdio.h>

static const char *entity(unsigned char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\r':
        return "&#xD;"; // readers would turn a bare one into a newline
    default:
        return NULL;
    }
}

// Size of the character at the front if XML 1.0 (section 2.2) allows it, else 0.
static size_t character_size(const char *data, size_t size)
{
    size_t sequence = shape_utf8_size(data, size);
    unsigned char first = (unsigned char)data[0];
    if (sequence == 1) {
        return first >= 0x20 || first == '\t' || first == '\n' ? 1 : 0;
    }
    bool noncharacter = sequence == 3 && (memcmp(data, "\xEF\xBF\xBE", 3) == 0 ||
                                          memcmp(data, "\xEF\xBF\xBF", 3) == 0);
    return noncharacter ? 0 : sequence;
}

// Text of an element. What XML cannot carry becomes U+FFFD.
static void put_escaped(struct buf *out, struct text text)
{
    size_t start = 0; // of what is not yet out
    size_t i = 0;
    while (i < text.size) {
        const char *escape = entity((unsigned char)text.data[i]);
        size_t size = escape != NULL ? 0 : character_size(text.data + i, text.size - i);
        if (size > 0) {
            i += size;
            continue;
        }
        escape = escape != NULL ? escape : "\xEF\xBF\xBD";
        put(out, text.data + start, i - start);
        put(out, escape, strlen(escape));
        start = ++i;
    }
    put(out, text.data + start, text.size - start);
}

static void put_open(struct buf *out, struct text name)
{
    put_byte(out, '<');
    put(out, name.data, name.size);
    put_byte(out, '>');
}

static void put_close(struct buf *out, struct text name)
{
    PUT(out, "</");
    put(out, name.data, name.size);
    put_byte(out, '>');
}

// `2006-01-02T15:04:05.678Z`, or without the fraction when it is zero.
static void put_time(struct buf *out, int64_t time_ms)
{
    int64_t day_ms = 86400000;
    int64_t days = time_ms / day_ms - (time_ms % day_ms < 0);
    int64_t ms = time_ms - days * day_ms;

    // Eras of 400 years that begin in March, so that the leap day is the last of its year.
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);

    char text[64];
    int size =
        snprintf(text, sizeof(text), "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)year, (int)month,
                 (int)day, (int)(ms / 3600000), (int)(ms / 60000 % 60), (int)(ms / 1000 % 60));
    put(out, text, (size_t)size);
    if (ms % 1000 != 0) {
        size = snprintf(text, sizeof(text), ".%03d", (int)(ms % 1000));
        put(out, text, (size_t)size);
    }
    put_byte(out, 'Z');
}

/** Where a document goes, and how its lists are written. */
struct encoder {
    struct buf *out;
    struct text item; ///< what the elements of lists are called
};

static void put_value(const struct encoder *encoder, const struct shape_type *type,
                      const void *value);

static void put_struct(const struct encoder *encoder, const struct shape_type *type,
                       const void *value)
{
    for (size_t i = 0; i < type->member_count; i++) {
        const struct shape_member *member = &type->members[i];
        if (shape_present(member, value)) {
            struct text name = text_of(member->name);
            put_open(encoder->out, name);
            put_value(encoder, member->type, shape_value(member, value));
            put_close(encoder->out, name);
        }
    }
}

static void put_list(const struct encoder *encoder, const struct shape_type *type,
                     const struct shape_list *list)
{
    struct buf *out = encoder->out;
    size_t stride = shape_stride(type);
    const char *item = list->items;
    for (size_t i = 0; i < list->count; i++, item += stride) {
        if (type->kind == SHAPE_LIST) {
            put_open(out, encoder->item);
            put_value(encoder, type->element, item);
            put_close(out, encoder->item);
            continue;
        }
        PUT(out, "<entry><key>");
        put_escaped(out, *(const struct text *)(const void *)item);
        PUT(out, "</key><value>");
        put_value(encoder, type->element, item + type->value_offset);
        PUT(out, "</value></entry>");
    }
}

static void put_value(const struct encoder *encoder, const struct shape_type *type,
                      const void *value)
{
    struct buf *out = encoder->out;
    const char *name = NULL;
    switch (type->kind) {
    case SHAPE_BOOL:
        put(out, *(const bool *)value ? "true" : "false", *(const bool *)value ? 4 : 5);
        break;
    case SHAPE_INT:
        put_i64(out, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        put_i64(out, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        put_double(out, *(const double *)value);
        break;
    case SHAPE_TIME:
        put_time(out, *(const int64_t *)value);
        break;
    case SHAPE_TEXT:
    case SHAPE_DOCUMENT:
        put_escaped(out, *(const struct text *)value);
        break;
    case SHAPE_BLOB:
        put_base64(out, *(const struct text *)value);
        break;
    case SHAPE_ENUM:
        name = shape_enum_name(type, *(const int32_t *)value);
        put_escaped(out, name == NULL ? TEXT("") : text_of(name));
        break;
    case SHAPE_STRUCT:
        put_struct(encoder, type, value);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        put_list(encoder, type, value);
        break;
    }
}

static void put_element(struct buf *out, struct text name, struct text content)
{
    put_open(out, name);
    put_escaped(out, content);
    put_close(out, name);
}

void query_encode(enum query_dialect dialect, const struct shape_type *type, const void *value,
                  const struct query_envelope *envelope, struct buf *out)
{
    ASSERT(type->kind == SHAPE_STRUCT);
    struct text operation = envelope->operation;
    bool ec2 = dialect == QUERY_EC2;
    struct encoder encoder = {.out = out, .item = ec2 ? TEXT("item") : TEXT("member")};
    PUT(out, "<");
    put(out, operation.data, operation.size);
    PUT(out, "Response xmlns=\"");
    put_escaped(out, envelope->xml_namespace);
    PUT(out, "\">");
    if (ec2) {
        put_element(out, TEXT("requestId"), envelope->request_id);
        put_struct(&encoder, type, value);
    } else {
        PUT(out, "<");
        put(out, operation.data, operation.size);
        PUT(out, "Result>");
        put_struct(&encoder, type, value);
        PUT(out, "</");
        put(out, operation.data, operation.size);
        PUT(out, "Result><ResponseMetadata>");
        put_element(out, TEXT("RequestId"), envelope->request_id);
        PUT(out, "</ResponseMetadata>");
    }
    PUT(out, "</");
    put(out, operation.data, operation.size);
    PUT(out, "Response>");
    put_end(out);
}

void query_encode_error(struct text code, struct text message, int http_status,
                        struct text xml_namespace, struct text request_id, struct buf *out)
{
    PUT(out, "<ErrorResponse xmlns=\"");
    put_escaped(out, xml_namespace);
    PUT(out, "\"><Error>");
    put_element(out, TEXT("Type"), http_status < 500 ? TEXT("Sender") : TEXT("Receiver"));
    put_element(out, TEXT("Code"), code);
    put_element(out, TEXT("Message"), message);
    PUT(out, "</Error>");
    put_element(out, TEXT("RequestId"), request_id);
    PUT(out, "</ErrorResponse>");
    put_end(out);
}

void query_encode_ec2_error(struct text code, struct text message, struct text request_id,
                            struct buf *out)
{
    PUT(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>");
    put_element(out, TEXT("Code"), code);
    put_element(out, TEXT("Message"), message);
    PUT(out, "</Error></Errors>");
    put_element(out, TEXT("RequestID"), request_id);
    PUT(out, "</Response>");
    put_end(out);
}
