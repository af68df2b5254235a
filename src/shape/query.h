#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * The AWS query protocol: requests are form-encoded (`Action=X&Version=Y&Tags.member.1.Key=...`),
 * responses are XML. Source: the Smithy specification of awsQuery.
 */

/** @return the decoded value of a plain parameter such as Action, absent when it is not there or
 *          its encoding is broken */
struct text query_parameter(struct text form, struct text name, struct arena *arena);

/**
 * Decode a form into a struct. Unknown parameters are ignored, order does not matter, and items of
 * lists may be numbered with gaps. Lists and maps are read flattened (`Tags.1.Key`) too; an empty
 * value makes them empty. Times are ISO 8601 in UTC. Strings are terminated and borrow from the
 * arena; out is written only on success.
 *
 * @return 0, or ERR_INVALID with the parameter in error->path, which is empty when the form's
 *         encoding is broken or it has more parameters than any request
 */
MUST_CHECK int query_decode(const struct shape_type *type, struct text form, struct arena *arena,
                            void *out, struct shape_error *error);

/**
 * Append a whole response document: `<OpResponse xmlns=..><OpResult>..</OpResult>
 * <ResponseMetadata><RequestId>..</RequestId></ResponseMetadata></OpResponse>`. What XML cannot
 * carry becomes U+FFFD.
 */
void query_encode(const struct shape_type *type, const void *value, struct text operation,
                  struct text xml_namespace, struct text request_id, struct buf *out);

/** Append an error document; type is `Sender` below HTTP 500, else `Receiver`. */
void query_encode_error(struct text code, struct text message, int http_status,
                        struct text xml_namespace, struct text request_id, struct buf *out);
