#include "base/text.h"
#include "server/server_internal.h"
#include "shape/json.h"
#include "shape/query.h"

// Every error that the front answers with, as each protocol names it. AWS's JSON services say 400
// for all that the client did wrong; its query services tell authentication apart by 403.
// NotImplementedException is ours: AWS has no operation that it knows and has not built.
static const struct {
    const char *code;
    const char *query_code;
    int json_status;
    int query_status;
} table[FRONT_COUNT] = {
    [FRONT_OK] = {"OK", "OK", 200, 200},
    [FRONT_UNKNOWN_OPERATION] = {"UnknownOperationException", "InvalidAction", 400, 400},
    [FRONT_MISSING_AUTHENTICATION] = {"MissingAuthenticationTokenException",
                                      "MissingAuthenticationToken", 400, 403},
    [FRONT_INCOMPLETE_SIGNATURE] = {"IncompleteSignatureException", "IncompleteSignature", 400,
                                    400},
    [FRONT_INVALID_SIGNATURE] = {"InvalidSignatureException", "SignatureDoesNotMatch", 400, 403},
    [FRONT_UNRECOGNIZED_CLIENT] = {"UnrecognizedClientException", "InvalidClientTokenId", 400, 403},
    [FRONT_EXPIRED_TOKEN] = {"ExpiredTokenException", "ExpiredToken", 400, 403},
    [FRONT_ACCESS_DENIED] = {"AccessDeniedException", "AccessDenied", 400, 403},
    [FRONT_SERIALIZATION] = {"SerializationException", "MalformedQueryString", 400, 400},
    [FRONT_VALIDATION] = {"ValidationException", "ValidationError", 400, 400},
    [FRONT_THROTTLING] = {"ThrottlingException", "Throttling", 400, 400},
    [FRONT_NOT_IMPLEMENTED] = {"NotImplementedException", "NotImplemented", 501, 501},
    [FRONT_NOT_FOUND] = {"NotFoundException", "NotFound", 404, 404},
    [FRONT_METHOD_NOT_ALLOWED] = {"MethodNotAllowedException", "MethodNotAllowed", 405, 405},
    [FRONT_BODY_TOO_LARGE] = {"RequestEntityTooLargeException", "RequestEntityTooLarge", 413, 413},
    [FRONT_HEADERS_TOO_LARGE] = {"RequestHeaderFieldsTooLargeException",
                                 "RequestHeaderFieldsTooLarge", 431, 431},
    [FRONT_BAD_REQUEST] = {"BadRequestException", "BadRequest", 400, 400},
    [FRONT_UNAVAILABLE] = {"ServiceUnavailableException", "ServiceUnavailable", 503, 503},
    [FRONT_INTERNAL] = {"InternalFailure", "InternalFailure", 500, 500},
};

// EC2 has codes of its own for these, and texts that people look for; what was wrong comes behind.
// Status as in its list of common errors.
static const struct {
    const char *code; // NULL: as the other query services have it
    int status;
    const char *text;
} ec2_table[FRONT_COUNT] = {
    [FRONT_INVALID_SIGNATURE] = {"AuthFailure", 401,
                                 "AWS was not able to validate the provided access credentials. "},
    [FRONT_UNRECOGNIZED_CLIENT] =
        {"AuthFailure", 401, "AWS was not able to validate the provided access credentials. "},
    [FRONT_EXPIRED_TOKEN] = {"RequestExpired", 400, "Request has expired. "},
    [FRONT_ACCESS_DENIED] = {"UnauthorizedOperation", 403,
                             "You are not authorized to perform this operation. "},
    [FRONT_VALIDATION] = {"InvalidParameterValue", 400, ""},
    [FRONT_THROTTLING] = {"RequestLimitExceeded", 503, "Request limit exceeded. "},
    [FRONT_UNAVAILABLE] = {"Unavailable", 503, ""},
    [FRONT_INTERNAL] = {"InternalError", 500, ""},
};

struct refusal refusal_front(enum front_error error, struct text message)
{
    ASSERT(error < FRONT_COUNT);
    bool own = ec2_table[error].code != NULL;
    return (struct refusal){.code = table[error].code,
                            .query_code = table[error].query_code,
                            .ec2_code = own ? ec2_table[error].code : table[error].query_code,
                            .ec2_text = own ? ec2_table[error].text : "",
                            .json_status = table[error].json_status,
                            .query_status = table[error].query_status,
                            .ec2_status = own ? ec2_table[error].status : table[error].query_status,
                            .message = message};
}

struct refusal refusal_modelled(const struct api_error *error, struct text message)
{
    const char *query_code = error->query_code == NULL ? error->name : error->query_code;
    return (struct refusal){.code = error->name,
                            .query_code = query_code,
                            .ec2_code = query_code,
                            .ec2_text = "",
                            .message_name = error->message_name,
                            .json_status = error->http_status,
                            .query_status = error->http_status,
                            .ec2_status = error->http_status,
                            .message = message};
}

const char *refusal_code(const struct refusal *refusal, enum api_protocol protocol)
{
    return protocol == API_EC2     ? refusal->ec2_code
           : protocol == API_QUERY ? refusal->query_code
                                   : refusal->code;
}

int refusal_status(const struct refusal *refusal, enum api_protocol protocol)
{
    return protocol == API_EC2     ? refusal->ec2_status
           : protocol == API_QUERY ? refusal->query_status
                                   : refusal->json_status;
}

// Messages quote what the client sent, which may be cut or be no text at all.
static struct text utf8_only(struct text message, struct arena *arena)
{
    if (text_is_utf8(message)) {
        return message;
    }
    struct text copy = arena_text(arena, message);
    char *bytes = arena_alloc(arena, copy.size + 1);
    for (size_t i = 0; i < copy.size; i++) {
        bytes[i] = (unsigned char)copy.data[i] < 0x80 ? copy.data[i] : '?';
    }
    return (struct text){bytes, copy.size};
}

void refusal_write(const struct refusal *refusal, const struct api_service *service,
                   enum api_protocol protocol, struct text request_id, struct buf *out)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct text message = utf8_only(refusal->message, &arena);
    if (protocol == API_EC2) {
        const struct text parts[] = {text_of(refusal->ec2_text), message};
        query_encode_ec2_error(text_of(refusal->ec2_code),
                               arena_join(&arena, parts, ARRAY_LEN(parts)), request_id, out);
        return;
    }
    if (protocol == API_QUERY) {
        // Before the service is known there is no namespace; clients look at the code only.
        struct text xml_namespace = service == NULL || service->xml_namespace == NULL
                                        ? TEXT("http://webservices.amazon.com/AWSFault/2005-15-09")
                                        : text_of(service->xml_namespace);
        query_encode_error(text_of(refusal->query_code), message, refusal->query_status,
                           xml_namespace, request_id, out);
        return;
    }
    buf_string(out, "{\"__type\":");
    json_quote(text_of(refusal->code), out);
    buf_format(out, ",\"%s\":", refusal->message_name == NULL ? "message" : refusal->message_name);
    json_quote(message, out);
    if (refusal->resource_ids.items != NULL) {
        buf_string(out, ",\"resourceIds\":[");
        for (size_t i = 0; i < refusal->resource_ids.count; i++) {
            if (i > 0) {
                buf_byte(out, ',');
            }
            json_quote(refusal->resource_ids.items[i], out);
        }
        buf_byte(out, ']');
    }
    buf_byte(out, '}');
}
