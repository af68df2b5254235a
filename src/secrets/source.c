#include "secrets/source.h"

#include "api/secrets_record.h"
#include "base/text.h"
#include "secrets/parameter_internal.h"
#include "secrets/secrets_internal.h"
#include "shape/json.h"

#include <string.h>

// ---- valueFrom ----------------------------------------------------------------------------------

int secret_source_parse(struct text value_from, struct secret_source *out_source)
{
    struct secret_source source = {.id = value_from};
    struct text rest = value_from;
    bool arn = text_equal(text_cut(&rest, ':'), TEXT("arn")) && rest.data != NULL;
    struct text partition = arn ? text_cut(&rest, ':') : (struct text){0};
    struct text service = partition.data == NULL ? (struct text){0} : text_cut(&rest, ':');
    if (!text_is(service, "secretsmanager")) {
        source.parameter = true;
        source.region = text_is(service, "ssm") ? text_cut(&rest, ':') : (struct text){0};
        *out_source = source;
        return 0;
    }
    source.region = text_cut(&rest, ':');
    struct text account = text_cut(&rest, ':');
    struct text kind = text_cut(&rest, ':');
    struct text name = text_cut(&rest, ':');
    if (account.data == NULL || kind.data == NULL || text_empty(name)) {
        return ERR_INVALID;
    }
    if (rest.data != NULL) {
        source.id =
            (struct text){value_from.data, (size_t)(name.data + name.size - value_from.data)};
        source.json_key = text_cut(&rest, ':');
        source.version_stage = text_cut(&rest, ':');
        source.version_id = rest;
        if (rest.data == NULL || text_find(rest, ':') != SIZE_MAX) {
            return ERR_INVALID;
        }
    }
    *out_source = source;
    return 0;
}

// ---- objects ------------------------------------------------------------------------------------

// The text that a string literal means. The literal is valid JSON.
static struct text literal_text(struct text literal, struct arena *arena)
{
    AUTO(buf_deinit) struct buf wrapped = {0};
    buf_string(&wrapped, "{\"key\":");
    buf_text(&wrapped, literal);
    buf_byte(&wrapped, '}');
    struct secrets_record_tag holder = {0};
    struct shape_error why = {0};
    int rc = json_decode(&secrets_record_tag_shape, buf_view(&wrapped), arena, &holder, &why);
    return rc == 0 ? holder.key : (struct text){0};
}

// Where a string literal ends: behind its closing quotation mark.
static size_t string_end(struct text json, size_t at)
{
    ASSERT(json.data[at] == '"');
    at++;
    while (at < json.size && json.data[at] != '"') {
        at += json.data[at] == '\\' ? 2 : 1;
    }
    return MIN(at + 1, json.size);
}

// Where a value ends that begins here: at the comma or bracket that is no part of it.
static size_t value_end(struct text json, size_t at)
{
    size_t depth = 0;
    while (at < json.size) {
        char byte = json.data[at];
        if (byte == '"') {
            at = string_end(json, at);
            continue;
        }
        if (depth == 0 && (byte == ',' || byte == '}' || byte == ']')) {
            break;
        }
        depth += byte == '{' || byte == '[' ? 1 : 0;
        depth -= byte == '}' || byte == ']' ? 1 : 0;
        at++;
    }
    return at;
}

static bool is_valid_object(struct text json, struct arena *arena)
{
    // One value from its first bracket to its last, so that nothing can end the wrapping early.
    if (json.size < 2 || json.data[0] != '{' || json.data[json.size - 1] != '}' ||
        value_end(json, 0) != json.size) {
        return false;
    }
    AUTO(buf_deinit) struct buf wrapped = {0};
    buf_string(&wrapped, "{\"content\":");
    buf_text(&wrapped, json);
    buf_byte(&wrapped, '}');
    struct secrets_record_content content = {0};
    struct shape_error why = {0};
    return json_decode(&secrets_record_content_shape, buf_view(&wrapped), arena, &content, &why) ==
           0;
}

int secret_json_value(struct text json, struct text key, struct arena *arena,
                      struct text *out_value)
{
    json = text_trim(json);
    if (!is_valid_object(json, arena)) {
        return ERR_INVALID;
    }
    // Valid, so each step finds what it looks for.
    size_t at = 1;
    while (at < json.size && json.data[at] != '"' && json.data[at] != '}') {
        at++;
    }
    while (at < json.size && json.data[at] == '"') {
        size_t end = string_end(json, at);
        struct text name = literal_text(text_slice(json, at, end), arena);
        size_t colon = end + text_find(text_slice(json, end, json.size), ':');
        size_t stop = value_end(json, colon + 1);
        if (text_equal(name, key)) {
            struct text value = text_trim(text_slice(json, colon + 1, stop));
            *out_value =
                value.data[0] == '"' ? literal_text(value, arena) : arena_text(arena, value);
            return 0;
        }
        at = stop + 1;
        while (at < json.size && json.data[at] != '"') {
            at++;
        }
    }
    return ERR_NOT_FOUND;
}

// ---- values -------------------------------------------------------------------------------------

static int refused(struct core_call *call, struct secret_source_fault *out_fault)
{
    *out_fault = (struct secret_source_fault){
        .answered = true,
        .text = arena_format(call->arena, "%s: %s", call->fault->name, call->fault_text)};
    call->fault = NULL;
    return ERR_NOT_FOUND;
}

static int at_fault(struct core_call *call, struct text clause,
                    struct secret_source_fault *out_fault)
{
    (void)call;
    *out_fault = (struct secret_source_fault){.text = clause};
    return ERR_NOT_FOUND;
}

static int read_parameter(struct core_call *call, const struct core_caller *owner, struct text id,
                          struct text *out_value, struct secret_source_fault *out_fault)
{
    struct parameter_reference reference = parameter_find(call->core, owner, id);
    if (reference.version == 0) {
        return at_fault(call, arena_text(call->arena, id), out_fault);
    }
    return parameter_value(call, reference.version, true, out_value) == 0
               ? 0
               : refused(call, out_fault);
}

static int read_secret(struct core_call *call, const struct core_caller *owner,
                       const struct secret_source *source, struct text *out_value,
                       struct secret_source_fault *out_fault)
{
    const struct secretsmanager_get_secret_value_request request = {
        .secret_id = source->id,
        .version_id = text_empty(source->version_id) ? (struct text){0} : source->version_id,
        .version_stage =
            text_empty(source->version_stage) ? (struct text){0} : source->version_stage,
    };
    struct secretsmanager_get_secret_value_response response = {0};
    const struct core_caller *asking = call->caller;
    call->caller = owner;
    int rc = secret_get_value(call, NULL, &request, &response);
    call->caller = asking;
    if (rc != 0) {
        return refused(call, out_fault);
    }
    if (response.secret_string.data == NULL) {
        return at_fault(call,
                        TEXT("the secret has a binary value, which cannot be an environment "
                             "variable"),
                        out_fault);
    }
    if (text_empty(source->json_key)) {
        *out_value = response.secret_string;
        return 0;
    }
    rc = secret_json_value(response.secret_string, source->json_key, call->arena, out_value);
    if (rc == ERR_NOT_FOUND) {
        return at_fault(call,
                        arena_format(call->arena,
                                     "retrieved secret from Secrets Manager did not contain json "
                                     "key %.*s",
                                     TEXT_FMT(source->json_key)),
                        out_fault);
    }
    return rc == 0 ? 0
                   : at_fault(call,
                              arena_format(call->arena,
                                           "retrieved secret from Secrets Manager is no JSON "
                                           "object, so it has no json key %.*s",
                                           TEXT_FMT(source->json_key)),
                              out_fault);
}

int secret_source_read(struct core_call *call, const struct secret_source *source,
                       struct text account, struct text region, struct text *out_value,
                       struct secret_source_fault *out_fault)
{
    const struct core_caller owner = {
        .account = account,
        .region = text_empty(source->region) ? region : source->region,
        .arn = TEXT(""),
    };
    struct text value = {0};
    int rc = source->parameter ? read_parameter(call, &owner, source->id, &value, out_fault)
                               : read_secret(call, &owner, source, &value, out_fault);
    if (rc == 0 && text_find(value, '\0') != SIZE_MAX) {
        rc = at_fault(call,
                      TEXT("the value has a zero byte, which no environment variable can have"),
                      out_fault);
    }
    if (rc == 0) {
        *out_value = value;
    }
    return rc;
}
