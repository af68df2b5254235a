#include "sigv4/sigv4_internal.h"

#include <time.h>

/*
 * The two forms of a time in a signed request: the compact one and HTTP's.
 */

#include "sigv4/sigv4.h"

#include "sigv4/sigv4_internal.h"

#include <openssl/crypto.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct text sigv4_time_text(int64_t time_ms, struct arena *arena)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    ASSERT(gmtime_r(&seconds, &parts) != NULL);
    char *string = arena_alloc(arena, SIGV4_TIME_CHARS + 16);
    size_t size = strftime(string, SIGV4_TIME_CHARS + 16, "%Y%m%dT%H%M%SZ", &parts);
    return (struct text){string, size};
}

static int digits_parse(struct text text, size_t from, size_t count, int *out_value)
{
    uint64_t value = 0;
    int rc = text_to_u64(text_slice(text, from, from + count), &value);
    *out_value = (int)value;
    return rc;
}

int sigv4_time_parse(struct text text, int64_t *out_ms)
{
    if (text.size != SIGV4_TIME_CHARS || text.data[8] != 'T' || text.data[15] != 'Z') {
        return ERR_INVALID;
    }
    struct tm parts = {0};
    if (digits_parse(text, 0, 4, &parts.tm_year) != 0 ||
        digits_parse(text, 4, 2, &parts.tm_mon) != 0 ||
        digits_parse(text, 6, 2, &parts.tm_mday) != 0 ||
        digits_parse(text, 9, 2, &parts.tm_hour) != 0 ||
        digits_parse(text, 11, 2, &parts.tm_min) != 0 ||
        digits_parse(text, 13, 2, &parts.tm_sec) != 0) {
        return ERR_INVALID;
    }
    if (parts.tm_year < 1970 || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 ||
        parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) {
        return ERR_INVALID;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    *out_ms = (int64_t)timegm(&parts) * 1000;
    return 0;
}

int sigv4_http_date_parse(struct text text, int64_t *out_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm parts = {0};
    struct text zone = text_slice(text, 25, text.size);
    bool utc = text_is(zone, " GMT") || text_is(zone, " -0000") || text_is(zone, " +0000");
    if (!utc || digits_parse(text, 5, 2, &parts.tm_mday) != 0 ||
        digits_parse(text, 12, 4, &parts.tm_year) != 0 ||
        digits_parse(text, 17, 2, &parts.tm_hour) != 0 ||
        digits_parse(text, 20, 2, &parts.tm_min) != 0 ||
        digits_parse(text, 23, 2, &parts.tm_sec) != 0) {
        return ERR_INVALID;
    }
    while (parts.tm_mon < 12 && memcmp(months + parts.tm_mon * 3, text.data + 8, 3) != 0) {
        parts.tm_mon++;
    }
    if (parts.tm_mon == 12 || parts.tm_year < 1970) {
        return ERR_INVALID;
    }
    parts.tm_year -= 1900;
    *out_ms = (int64_t)timegm(&parts) * 1000;
    return 0;
}
