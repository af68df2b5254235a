#include "server/seal_key.h"

#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>

#define KEY_BYTES 32
#define FILE_BYTES_MAX 256

struct seal_key {
    unsigned char bytes[KEY_BYTES];
    struct seal_cipher cipher;
};

static void context_auto(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

// ---- the cipher ---------------------------------------------------------------------------------

// None of these calls fails but for want of memory, or because this code is wrong.
static void must(int ok)
{
    ASSERT(ok == 1);
}

static void encrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                    struct text bound, struct text plain, char *out)
{
    const struct seal_key *key = context;
    AUTO(context) EVP_CIPHER_CTX *state = EVP_CIPHER_CTX_new();
    unsigned char *bytes = (unsigned char *)out;
    int size = 0;
    ASSERT(state != NULL);
    ASSERT(plain.size <= INT32_MAX / 2);
    must(EVP_EncryptInit_ex(state, EVP_aes_256_gcm(), NULL, key->bytes, nonce));
    must(EVP_EncryptUpdate(state, NULL, &size, (const unsigned char *)bound.data, (int)bound.size));
    must(
        EVP_EncryptUpdate(state, bytes, &size, (const unsigned char *)plain.data, (int)plain.size));
    ASSERT((size_t)size == plain.size);
    must(EVP_EncryptFinal_ex(state, bytes + size, &size));
    must(EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_BYTES, bytes + plain.size));
}

static int decrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                   struct text bound, struct text cipher, char *out)
{
    const struct seal_key *key = context;
    AUTO(context) EVP_CIPHER_CTX *state = EVP_CIPHER_CTX_new();
    unsigned char *bytes = (unsigned char *)out;
    ASSERT(state != NULL);
    ASSERT(cipher.size >= SEAL_TAG_BYTES);
    size_t plain_size = cipher.size - SEAL_TAG_BYTES;
    unsigned char tag[SEAL_TAG_BYTES];
    memcpy(tag, cipher.data + plain_size, sizeof(tag));
    int size = 0;
    must(EVP_DecryptInit_ex(state, EVP_aes_256_gcm(), NULL, key->bytes, nonce));
    must(EVP_DecryptUpdate(state, NULL, &size, (const unsigned char *)bound.data, (int)bound.size));
    must(EVP_DecryptUpdate(state, bytes, &size, (const unsigned char *)cipher.data,
                           (int)plain_size));
    must(EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_BYTES, tag));
    int rest = 0;
    return EVP_DecryptFinal_ex(state, bytes + size, &rest) == 1 ? 0 : ERR_CORRUPT;
}

// ---- the file -----------------------------------------------------------------------------------

static int make(const char *path, unsigned char out_key[KEY_BYTES], struct err *err)
{
    if (RAND_priv_bytes(out_key, KEY_BYTES) != 1) {
        return err_set(err, ERR_SYS, "OpenSSL gives no random bytes for the key of secrets");
    }
    char line[2 * KEY_BYTES + 2];
    text_hex(out_key, KEY_BYTES, line);
    line[sizeof(line) - 2] = '\n';
    int rc = file_replace(AT_FDCWD, path, 0600, (struct text){line, sizeof(line) - 1}, err);
    OPENSSL_cleanse(line, sizeof(line));
    return rc;
}

static int check_mode(const char *path, struct err *err)
{
    struct stat stat_of_file = {0};
    if (stat(path, &stat_of_file) != 0) {
        return 0; // reading it says why
    }
    if ((stat_of_file.st_mode & 077) != 0) {
        return err_set(err, ERR_DENIED,
                       "'%s', the key of all secrets, can be read by others than its owner: "
                       "chmod 600 it, and consider the secrets known",
                       path);
    }
    return 0;
}

static int read_key(const char *path, unsigned char out_key[KEY_BYTES], struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    int rc = check_mode(path, err);
    if (rc == 0) {
        rc = file_read(AT_FDCWD, path, FILE_BYTES_MAX, &content, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (text_unhex(text_trim(buf_view(&content)), out_key, KEY_BYTES) != 0) {
        rc = err_set(err, ERR_CORRUPT,
                     "'%s' holds no key of %d hex digits: put back the file that was there, or the "
                     "values of all secrets are lost",
                     path, 2 * KEY_BYTES);
    }
    OPENSSL_cleanse(content.data, content.size);
    return rc;
}

static void name_key(struct seal_key *key)
{
    static const char purpose[] = "berth seal key";
    unsigned char content[sizeof(purpose) + KEY_BYTES];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    memcpy(content, purpose, sizeof(purpose));
    memcpy(content + sizeof(purpose), key->bytes, KEY_BYTES);
    must(EVP_Digest(content, sizeof(content), digest, &size, EVP_sha256(), NULL));
    memcpy(key->cipher.key_id, digest, SEAL_KEY_ID_BYTES);
    OPENSSL_cleanse(content, sizeof(content));
}

int seal_key_open(const char *path, struct seal_key **out_key, bool *out_made, struct err *err)
{
    AUTO(seal_key_free) struct seal_key *key = ALLOC(struct seal_key);
    bool made = false;
    int rc = read_key(path, key->bytes, err);
    if (rc == ERR_NOT_FOUND) {
        made = true;
        rc = make(path, key->bytes, err);
    }
    if (rc != 0) {
        return rc;
    }
    key->cipher.encrypt = encrypt;
    key->cipher.decrypt = decrypt;
    key->cipher.context = key;
    name_key(key);
    *out_key = key;
    *out_made = made;
    key = NULL; // the caller owns it now
    return 0;
}

void seal_key_free(struct seal_key *key)
{
    if (key != NULL) {
        OPENSSL_cleanse(key->bytes, sizeof(key->bytes));
        alloc_free(key);
    }
}

const struct seal_cipher *seal_key_cipher(const struct seal_key *key)
{
    return &key->cipher;
}
