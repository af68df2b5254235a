#pragma once

#include "base/alloc.h"
#include "base/err.h"

/*
 * Join tokens as text: what a person copies from the server to a new host.
 *
 *     berth1.<token id>.<secret>.<sha256 of the CA's certificate, hex>.<endpoint, base64url>
 *
 * The hash lets the new host trust the server before it knows its CA; the endpoint is where to
 * join. The text is a secret.
 */

#define CLIENT_TOKEN_CHARS_MAX 1024
#define CLIENT_TOKEN_HASH_CHARS 64

/** The parts of a token. */
struct client_token {
    struct text token_id;
    struct text secret;
    struct text ca_sha256; ///< hex digits
    struct text endpoint;  ///< https://host:port
};

/** Make the text, in the arena. All parts must be there; id and secret hold no dot. */
struct text client_token_compose(const struct client_token *token, struct arena *arena);

/**
 * Read a text that somebody pasted; blanks around it are ignored.
 *
 * @param out_token  terminated texts in the arena
 * @return 0, or ERR_INVALID with what is wrong with it; the sentence never holds the secret
 */
MUST_CHECK int client_token_parse(struct text text, struct arena *arena,
                                  struct client_token *out_token, struct err *err);
