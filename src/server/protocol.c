#include "server/protocol.h"

#include "base/text.h"
#include "shape/json.h"
#include "shape/query.h"

#include <string.h>

// How much of a name that nobody knows is repeated in an error.
#define QUOTED_CHARS_MAX 128

struct text protocol_header(const struct exchange *exchange, struct text name)
{
    for (size_t i = 0; i < exchange->request.header_count; i++) {
        if (text_equal_nocase(exchange->headers[i].name, name)) {
            return exchange->headers[i].value;
        }
    }
    return (struct text){0};
}

// ---- JSON 1.1 ---------------------------------------------------------------------------------

bool protocol_target(struct text target, struct text *out_prefix, struct text *out_operation)
{
    size_t dot = text_find_last(target, '.');
    if (dot == SIZE_MAX) {
        return false;
    }
    *out_prefix = text_slice(target, 0, dot);
    *out_operation = text_slice(target, dot + 1, target.size);
    return true;
}

static bool json_claims(const struct exchange *exchange)
{
    return protocol_header(exchange, TEXT("x-amz-target")).data != NULL;
}

static enum front_error json_route(struct exchange *exchange, struct text *out_message)
{
    struct text target = text_trim(protocol_header(exchange, TEXT("x-amz-target")));
    struct text prefix = {0};
    struct text name = {0};
    if (target.data == NULL || !protocol_target(target, &prefix, &name)) {
        *out_message = TEXT("The request has no X-Amz-Target header of the form Service.Operation "
                            "and no Action parameter.");
        return FRONT_UNKNOWN_OPERATION;
    }
    const struct server_options *options = &exchange->server->options;
    for (size_t i = 0; i < options->service_count; i++) {
        const struct server_service *service = &options->services[i];
        if (service->api->protocol == API_JSON_1_1 &&
            text_is(prefix, service->api->target_prefix)) {
            exchange->service = service;
            exchange->operation = api_find(service->api, name);
        }
    }
    if (exchange->operation == NULL) {
        *out_message = arena_format(&exchange->arena, "There is no operation '%.*s'.",
                                    TEXT_FMT(text_slice(target, 0, QUOTED_CHARS_MAX)));
        return FRONT_UNKNOWN_OPERATION;
    }
    return FRONT_OK;
}

static int json_decode_request(struct exchange *exchange, void *out, struct shape_error *error)
{
    struct text body = exchange->request.body;
    // AWS takes an empty body for an empty object.
    if (text_trim(body).size == 0) {
        body = TEXT("{}");
    }
    return json_decode(exchange->operation->input, body, &exchange->arena, out, error);
}

static void json_encode_response(struct exchange *exchange, const void *response)
{
    json_encode(exchange->operation->output, response, &exchange->reply);
}

// ---- query ------------------------------------------------------------------------------------

// Parameters are in the body of a POST, or in the query of a GET, which is how a pre-signed
// GetCallerIdentity proves to somebody else who one is.
static struct text form(const struct exchange *exchange)
{
    if (text_is(exchange->request.method, "POST")) {
        return exchange->request.body;
    }
    return exchange->request.query.data == NULL ? TEXT("") : exchange->request.query;
}

static bool query_claims(const struct exchange *exchange)
{
    struct text type = protocol_header(exchange, TEXT("content-type"));
    type = text_trim(text_cut(&type, ';'));
    return !text_is(exchange->request.method, "POST") ||
           text_equal_nocase(type, TEXT("application/x-www-form-urlencoded"));
}

static enum front_error query_route(struct exchange *exchange, struct text *out_message)
{
    struct text parameters = form(exchange);
    struct text action = query_parameter(parameters, TEXT("Action"), &exchange->arena);
    struct text version = query_parameter(parameters, TEXT("Version"), &exchange->arena);
    if (text_empty(action)) {
        *out_message = TEXT("The request is missing the Action parameter.");
        return FRONT_UNKNOWN_OPERATION;
    }
    const struct server_options *options = &exchange->server->options;
    for (size_t i = 0; i < options->service_count && exchange->operation == NULL; i++) {
        const struct server_service *service = &options->services[i];
        bool speaks = service->api->protocol == API_QUERY || service->api->protocol == API_EC2;
        if (speaks && (text_empty(version) || text_is(version, service->api->version))) {
            exchange->operation = api_find(service->api, action);
            // A version alone tells who is meant, and how the refusal has to look.
            exchange->service = exchange->operation == NULL && text_empty(version) ? NULL : service;
        }
    }
    if (exchange->operation == NULL) {
        *out_message =
            arena_format(&exchange->arena, "Could not find operation %.*s for version %.*s",
                         TEXT_FMT(text_slice(action, 0, QUOTED_CHARS_MAX)),
                         TEXT_FMT(text_slice(version, 0, QUOTED_CHARS_MAX)));
        return FRONT_UNKNOWN_OPERATION;
    }
    return FRONT_OK;
}

static bool no_claim(const struct exchange *exchange)
{
    (void)exchange;
    return false;
}

static enum query_dialect dialect(const struct exchange *exchange)
{
    return exchange->service->api->protocol == API_EC2 ? QUERY_EC2 : QUERY_AWS;
}

static int query_decode_request(struct exchange *exchange, void *out, struct shape_error *error)
{
    return query_decode(dialect(exchange), exchange->operation->input, form(exchange),
                        &exchange->arena, out, error);
}

static void query_encode_response(struct exchange *exchange, const void *response)
{
    const struct query_envelope envelope = {
        .operation = text_of(exchange->operation->name),
        .xml_namespace = text_of(exchange->service->api->xml_namespace),
        .request_id = text_of(exchange->request_id),
    };
    query_encode(dialect(exchange), exchange->operation->output, response, &envelope,
                 &exchange->reply);
}

// ---- the table --------------------------------------------------------------------------------

static const struct protocol protocols[] = {
    {.id = API_JSON_1_1,
     .content_type = "application/x-amz-json-1.1",
     .claims = json_claims,
     .route = json_route,
     .decode = json_decode_request,
     .encode = json_encode_response},
    {.id = API_QUERY,
     .content_type = "text/xml",
     .claims = query_claims,
     .route = query_route,
     .decode = query_decode_request,
     .encode = query_encode_response},
    // Which of the two it is shows only by the service.
    {.id = API_EC2,
     .content_type = "text/xml;charset=UTF-8",
     .claims = no_claim,
     .route = query_route,
     .decode = query_decode_request,
     .encode = query_encode_response},
};

const struct protocol *protocol_of(const struct exchange *exchange)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (protocols[i].claims(exchange)) {
            return &protocols[i];
        }
    }
    return &protocols[0];
}

const struct protocol *protocol_get(enum api_protocol id)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        if (protocols[i].id == id) {
            return &protocols[i];
        }
    }
    ASSERT(!"every protocol is in the table");
    return NULL;
}
