#include "server/role.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "shape/cbor.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <time.h>

#define MAC_BYTES 32
#define SECRET_BYTES 20 // forty hex digits, as long as AWS's
#define KEY_ID_CHARS 20
#define TOKEN_CHARS_MAX 2048 // ours have some 300
#define TOKEN_VERSION 1

// What a MAC is for is part of what it is made of, so that none can be used for the other.
static void mac(struct text signing_key, const char *purpose, struct text content,
                unsigned char out_mac[MAC_BYTES])
{
    unsigned char key[MAC_BYTES];
    unsigned size = 0;
    const unsigned char *made = HMAC(EVP_sha256(), signing_key.data, (int)signing_key.size,
                                     (const unsigned char *)purpose, strlen(purpose), key, &size);
    ASSERT(made != NULL);
    made = HMAC(EVP_sha256(), key, (int)size, (const unsigned char *)content.data, content.size,
                out_mac, &size);
    ASSERT(made != NULL);
    ASSERT(size == MAC_BYTES);
    OPENSSL_cleanse(key, sizeof(key));
}

static struct text secret_of(struct text signing_key, struct text content, struct arena *arena)
{
    unsigned char bytes[MAC_BYTES];
    char digits[2 * SECRET_BYTES + 1];
    mac(signing_key, "secret access key", content, bytes);
    text_hex(bytes, SECRET_BYTES, digits);
    return arena_text(arena, text_of(digits));
}

// As those of nodes: twenty capitals and digits that nobody takes for AWS's.
static struct text random_key_id(struct arena *arena)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    char id[KEY_ID_CHARS + 1] = "BERTHR";
    unsigned char bytes[KEY_ID_CHARS];
    clock_entropy(bytes, sizeof(bytes));
    for (size_t i = strlen(id); i < KEY_ID_CHARS; i++) {
        id[i] = digits[bytes[i] % 32];
    }
    return arena_text(arena, (struct text){id, KEY_ID_CHARS});
}

static struct text base64(struct text bytes, struct arena *arena)
{
    size_t room = (bytes.size + 2) / 3 * 4 + 1;
    char *out = arena_alloc(arena, room);
    int size =
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)bytes.data, (int)bytes.size);
    ASSERT(size > 0 && (size_t)size < room);
    return (struct text){out, (size_t)size};
}

// The fifth part of an ARN, or its last path component.
static struct text arn_part(struct text arn, size_t index)
{
    struct text part = {0};
    for (size_t i = 0; i <= index && arn.data != NULL; i++) {
        part = text_cut(&arn, ':');
    }
    return part;
}

static struct text last_name(struct text arn)
{
    size_t slash = text_find_last(arn, '/');
    return slash == SIZE_MAX ? arn : text_slice(arn, slash + 1, arn.size);
}

static struct text rfc3339(int64_t at_ms, struct arena *arena)
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm parts;
    char digits[32];
    gmtime_r(&seconds, &parts);
    size_t size = strftime(digits, sizeof(digits), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return arena_text(arena, (struct text){digits, size});
}

struct session_role_credentials *
role_mint(struct text signing_key, const struct session_iam_role_credentials_message *message,
          int64_t now_ms, struct arena *arena)
{
    ASSERT(message->role_credentials != NULL);
    struct text role_arn = message->role_credentials->role_arn;
    const struct identity_record_role_session session = {
        .account = arn_part(message->task_arn, 4),
        .role = last_name(role_arn),
        .session = last_name(message->task_arn),
        .access_key_id = random_key_id(arena),
        .expires_at = (now_ms + ROLE_LIFE_MS) / 1000 * 1000,
    };
    AUTO(buf_deinit) struct buf content = {0};
    cbor_encode(&identity_record_role_session_shape, &session, TOKEN_VERSION, NULL, &content);
    struct text secret = secret_of(signing_key, buf_view(&content), arena);
    unsigned char bytes[MAC_BYTES];
    mac(signing_key, "session token", buf_view(&content), bytes);
    buf_add(&content, bytes, sizeof(bytes));

    struct session_role_credentials *out = ARENA_NEW(arena, struct session_role_credentials);
    *out = (struct session_role_credentials){
        .credentials_id = arena_text(arena, message->role_credentials->credentials_id),
        .role_arn = arena_text(arena, role_arn),
        .access_key_id = session.access_key_id,
        .secret_access_key = secret,
        .session_token = base64(buf_view(&content), arena),
        .expiration = rfc3339(session.expires_at, arena),
    };
    return out;
}

// @return the bytes of a token, in the arena; absent when it is none
static struct text token_bytes(struct text token, struct arena *arena)
{
    if (token.size == 0 || token.size > TOKEN_CHARS_MAX || token.size % 4 != 0) {
        return (struct text){0};
    }
    char *out = arena_alloc(arena, token.size);
    int size =
        EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)token.data, (int)token.size);
    // The library counts the padding as bytes.
    int padding = text_ends(token, TEXT("==")) ? 2 : (text_ends(token, TEXT("=")) ? 1 : 0);
    return size <= padding ? (struct text){0} : (struct text){out, (size_t)(size - padding)};
}

int role_verify(struct text signing_key, struct text token, struct arena *arena,
                struct identity_record_role_session *out_session, struct text *out_secret)
{
    struct text bytes = token_bytes(token, arena);
    if (bytes.size <= MAC_BYTES) {
        return ERR_DENIED;
    }
    struct text content = text_slice(bytes, 0, bytes.size - MAC_BYTES);
    unsigned char want[MAC_BYTES];
    mac(signing_key, "session token", content, want);
    if (CRYPTO_memcmp(want, content.data + content.size, MAC_BYTES) != 0) {
        return ERR_DENIED;
    }
    // From here on the content is our own.
    struct shape_error why = {0};
    if (cbor_decode(&identity_record_role_session_shape, content, arena, out_session, NULL, NULL,
                    &why) != 0) {
        return ERR_DENIED; // of a version that this program does not know
    }
    *out_secret = secret_of(signing_key, content, arena);
    return 0;
}

// ---- names of credentials ---------------------------------------------------------------------

#define NAME_BYTES 16 // a task's id, and a block of AES

// One block with a key of its own for each type of role: a permutation, so that it can be undone.
static void permute(struct text signing_key, struct text role_type, bool encrypt,
                    const unsigned char in[NAME_BYTES], unsigned char out[NAME_BYTES])
{
    unsigned char key[MAC_BYTES];
    mac(signing_key, "name of credentials", role_type, key);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    unsigned char block[2 * NAME_BYTES];
    int size = 0;
    ASSERT(context != NULL);
    int made = EVP_CipherInit_ex(context, EVP_aes_128_ecb(), NULL, key, NULL, encrypt ? 1 : 0);
    ASSERT(made == 1);
    made = EVP_CIPHER_CTX_set_padding(context, 0);
    ASSERT(made == 1);
    made = EVP_CipherUpdate(context, block, &size, in, NAME_BYTES);
    ASSERT(made == 1);
    ASSERT(size == NAME_BYTES);
    EVP_CIPHER_CTX_free(context);
    memcpy(out, block, NAME_BYTES);
    OPENSSL_cleanse(key, sizeof(key));
}

void role_credentials_id(struct text signing_key, struct text task_id, struct text role_type,
                         char out_id[ROLE_ID_CHARS + 1])
{
    static const size_t groups[] = {8, 4, 4, 4, 12};
    unsigned char bytes[NAME_BYTES];
    char digits[2 * NAME_BYTES + 1];
    int rc = text_unhex(task_id, bytes, sizeof(bytes));
    ASSERT(rc == 0);
    permute(signing_key, role_type, true, bytes, bytes);
    text_hex(bytes, sizeof(bytes), digits);
    const char *from = digits;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        memcpy(out_id, from, groups[i]);
        out_id += groups[i];
        from += groups[i];
        *out_id = i + 1 < ARRAY_LEN(groups) ? '-' : '\0';
        out_id++;
    }
}

int role_credentials_task(struct text signing_key, struct text id, struct text role_type,
                          char out_task_id[ROLE_TASK_CHARS + 1])
{
    unsigned char bytes[NAME_BYTES];
    char digits[2 * NAME_BYTES];
    size_t size = 0;
    for (size_t i = 0; i < id.size; i++) {
        if (id.data[i] == '-') {
            continue;
        }
        if (size == sizeof(digits)) {
            return ERR_INVALID;
        }
        digits[size] = id.data[i];
        size++;
    }
    int rc = text_unhex((struct text){digits, size}, bytes, sizeof(bytes));
    if (rc != 0) {
        return ERR_INVALID;
    }
    permute(signing_key, role_type, false, bytes, bytes);
    text_hex(bytes, sizeof(bytes), out_task_id);
    return 0;
}
