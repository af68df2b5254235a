#include "client/fetch.h"

#include <curl/curl.h>

struct reply {
    struct buf *out;
    size_t limit_bytes;
    size_t start; ///< what was in out before
};

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct reply *reply = context;
    size_t total = size * count;
    if (reply->out->size - reply->start + total > reply->limit_bytes) {
        return 0; // ends the transfer
    }
    buf_add(reply->out, bytes, total);
    return total;
}

static void set_options(CURL *easy, const char *url, int timeout_ms, struct reply *reply,
                        char error_text[CURL_ERROR_SIZE])
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "berth");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

int client_fetch(const char *url, size_t limit_bytes, int timeout_ms, struct buf *out,
                 struct err *err)
{
    char error_text[CURL_ERROR_SIZE] = "";
    struct reply reply = {.out = out, .limit_bytes = limit_bytes, .start = out->size};
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        base_out_of_memory(sizeof(void *));
    }
    set_options(easy, url, timeout_ms, &reply, error_text);
    CURLcode rc = curl_easy_perform(easy);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    if (rc == CURLE_WRITE_ERROR) {
        return err_set(err, ERR_NO_ROOM, "'%s' is larger than %zu bytes", url, limit_bytes);
    }
    if (rc != CURLE_OK) {
        return err_set(err, ERR_CLOSED, "'%s' cannot be fetched: %s", url,
                       error_text[0] == '\0' ? curl_easy_strerror(rc) : error_text);
    }
    if (status < 200 || status > 299) {
        return err_set(err, ERR_NOT_FOUND, "'%s' is answered with status %ld", url, status);
    }
    return 0;
}
