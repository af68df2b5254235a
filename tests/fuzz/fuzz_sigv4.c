#include "base/text.h"
#include "fuzz.h"
#include "sigv4/sigv4.h"

#include <string.h>

#define HEADERS_MAX 16
#define NOW_MS INT64_C(1440938160000) // 2015-08-30T12:36:00Z, when the corpus was signed

static const struct text secret = {"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 40};

struct input {
    struct sigv4_request request;
    struct sigv4_header headers[HEADERS_MAX];
};

/* A request line, header lines, an empty line, a body: with nothing checked. */
static void read_input(struct text rest, struct input *input)
{
    struct text line = text_cut(&rest, '\n');
    input->request.method = text_cut(&line, ' ');
    struct text path = text_cut(&line, ' ');
    input->request.query = path;
    input->request.path = path.data == NULL ? TEXT("") : text_cut(&input->request.query, '?');
    input->request.headers = input->headers;
    while (rest.data != NULL && input->request.header_count < HEADERS_MAX) {
        struct text value = text_cut(&rest, '\n');
        if (value.size == 0) {
            break;
        }
        struct text name = text_cut(&value, ':');
        input->headers[input->request.header_count++] =
            (struct sigv4_header){name, value.data == NULL ? TEXT("") : value};
    }
    input->request.body = rest.data == NULL ? TEXT("") : rest;
}

static bool plain_name(struct text name)
{
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        if (!(byte >= 'a' && byte <= 'z') && byte != '-') {
            return false;
        }
    }
    return name.size > 0 && !text_starts(name, TEXT("x-amz-")) && !text_is(name, "authorization") &&
           !text_is(name, "host");
}

/* Whatever is signed by us must verify, and must not once its body changed. */
static void try_round_trip(const struct input *input, struct arena *arena)
{
    struct sigv4_header headers[HEADERS_MAX + 4] = {{TEXT("Host"), TEXT("h")}};
    struct sigv4_request request = input->request;
    request.headers = headers;
    request.header_count = 1;
    for (size_t i = 0; i < input->request.header_count; i++) {
        if (plain_name(input->headers[i].name)) {
            headers[request.header_count++] = input->headers[i];
        }
    }
    const struct sigv4_identity identity = {
        .key_id = TEXT("K"), .secret = secret, .region = TEXT("r"), .service = TEXT("s")};
    struct sigv4_signature signature;
    sigv4_sign(&request, &identity, NOW_MS, arena, &signature);
    headers[request.header_count++] = (struct sigv4_header){TEXT("X-Amz-Date"), signature.amz_date};
    headers[request.header_count++] =
        (struct sigv4_header){TEXT("X-Amz-Content-Sha256"), signature.content_sha256};
    headers[request.header_count++] =
        (struct sigv4_header){TEXT("Authorization"), signature.authorization};

    struct sigv4_claim claim = {0};
    struct text reason = {0};
    ASSERT(sigv4_parse(&request, arena, &claim, &reason) == SIGV4_OK);
    ASSERT(sigv4_verify(&request, &claim, secret, NOW_MS, NULL, arena, &reason) == SIGV4_OK);
    request.body = arena_format(arena, "%.*s ", TEXT_FMT(request.body));
    if (!text_equal(request.body, input->request.body)) {
        ASSERT(sigv4_verify(&request, &claim, secret, NOW_MS, NULL, arena, &reason) ==
               SIGV4_MISMATCH);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_deinit) struct arena arena = {0};
    struct input input = {0};
    read_input((struct text){(const char *)data, size}, &input);
    struct sigv4_claim claim = {0};
    struct text reason = {0};
    enum sigv4_result result = sigv4_parse(&input.request, &arena, &claim, &reason);
    if (result == SIGV4_OK) {
        ASSERT(!text_empty(claim.key_id));
        ASSERT(!text_empty(claim.signature));
        ASSERT(!text_empty(claim.signed_headers));
        result = sigv4_verify(&input.request, &claim, secret, NOW_MS, NULL, &arena, &reason);
    }
    ASSERT(result == SIGV4_OK || reason.size > 0);
    try_round_trip(&input, &arena);
    return 0;
}
