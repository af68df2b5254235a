#pragma once

#include "base/buf.h"
#include "shape/shape.h"

/*
 * The AWS query protocol: requests are form-encoded (`Action=X&Version=Y&Tags.member.1.Key=...`),
 * responses are XML. Source: the Smithy specifications of awsQuery and ec2Query.
 *
 * EC2's variant: names of parameters begin with a capital whatever their members do, lists are
 * always flattened in requests (`GroupId.1`) and of `<item>`s in responses, which have no Result
 * around them; errors look differently.
 */

/** Which of the two. */
enum query_dialect {
    QUERY_AWS,
    QUERY_EC2,
};

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
MUST_CHECK int query_decode(enum query_dialect dialect, const struct shape_type *type,
                            struct text form, struct arena *arena, void *out,
                            struct shape_error *error);

/** What is around a response. */
struct query_envelope {
    struct text operation;
    struct text xml_namespace;
    struct text request_id;
};

/**
 * Append a whole response document: `<OpResponse xmlns=..><OpResult>..</OpResult>
 * <ResponseMetadata><RequestId>..</RequestId></ResponseMetadata></OpResponse>`, or
 * `<OpResponse xmlns=..><requestId>..</requestId>..</OpResponse>`. What XML cannot carry becomes
 * U+FFFD.
 */
void query_encode(enum query_dialect dialect, const struct shape_type *type, const void *value,
                  const struct query_envelope *envelope, struct buf *out);

/** Append an error document; type is `Sender` below HTTP 500, else `Receiver`. EC2's has no type
 *  and no namespace, and is written by query_encode_ec2_error. */
void query_encode_error(struct text code, struct text message, int http_status,
                        struct text xml_namespace, struct text request_id, struct buf *out);

/** Append an error document as EC2 writes it. */
void query_encode_ec2_error(struct text code, struct text message, struct text request_id,
                            struct buf *out);
