#pragma once

#include "shape/shape.h"

/*
 * What the compiler of `.api` files says about a service: its protocol and its operations.
 */

enum api_protocol {
    API_JSON_1_1, ///< POST /, operation in X-Amz-Target
    API_QUERY,    ///< POST / with a form, operation in Action; XML back
    API_EC2,      ///< the same in EC2's variant, see shape/query.h
};

/** A modelled error. */
struct api_error {
    const char *name; ///< such as `ClientException`
    int http_status;
    const char *query_code;   ///< the code in query responses, often the name without `Exception`
    const char *message_name; ///< JSON: of the member that holds the text; NULL for `message`
};

/** One operation. */
struct api_operation {
    const char *name;
    const struct api_service *service;
    uint16_t index; ///< in service->operations
    const struct shape_type *input;
    const struct shape_type *output;
    const struct api_error *const *errors; ///< modelled ones
    uint16_t error_count;
    bool read_only;
};

/** One service. */
struct api_service {
    const char *name;    ///< such as `ecs`
    const char *version; ///< such as `2014-11-13`
    enum api_protocol protocol;
    const char *target_prefix; ///< JSON: in front of the dot of X-Amz-Target
    const char *xml_namespace; ///< query
    const char *signing_name;  ///< SigV4 service name
    const struct api_operation *operations;
    uint16_t operation_count;
};

/** @return the operation of that name, or NULL */
const struct api_operation *api_find(const struct api_service *service, struct text name);
