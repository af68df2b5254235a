#include "ecs/constraint_internal.h"

#include "base/text.h"

/*
 * What values of the query language are: versions, dates, numbers, texts, each with its own order.
 */

// ---- dates --------------------------------------------------------------------------------

static bool digits(struct text text, size_t from, size_t to, int64_t *out_value)
{
    for (size_t i = from; i < to; i++) {
        if (i >= text.size || text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return text_to_i64(text_slice(text, from, to), out_value) == 0;
}

// Days since 1970 of a day of the Gregorian calendar; years begin in March, so that the day that
// leap years have more is their last.
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = year / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

// Nothing and `Z` are UTC, else `+01:00`. @return whether it is a zone
static bool read_zone(struct text text, int64_t *out_minutes)
{
    int64_t hours = 0;
    int64_t minutes = 0;
    *out_minutes = 0;
    if (text.size == 0 || text_is(text, "Z")) {
        return true;
    }
    if (text.size != 6 || (text.data[0] != '+' && text.data[0] != '-') || text.data[3] != ':' ||
        !digits(text, 1, 3, &hours) || !digits(text, 4, 6, &minutes) || hours > 23 ||
        minutes > 59) {
        return false;
    }
    *out_minutes = (text.data[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

// `2026-01-31`, or `2026-01-31T12:30:00` with or without a zone. @return whether it is a date
static bool read_date(struct text text, int64_t *out_ms)
{
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t zone = 0;
    if (!digits(text, 0, 4, &year) || !digits(text, 5, 7, &month) || !digits(text, 8, 10, &day) ||
        text.data[4] != '-' || text.data[7] != '-') {
        return false;
    }
    if (text.size > 10 &&
        (!digits(text, 11, 13, &hour) || !digits(text, 14, 16, &minute) ||
         !digits(text, 17, 19, &second) || text.data[10] != 'T' || text.data[13] != ':' ||
         text.data[16] != ':' || !read_zone(text_slice(text, 19, text.size), &zone))) {
        return false;
    }
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 59) {
        return false;
    }
    int64_t minutes = (days_of(year, month, day) * 24 + hour) * 60 + minute - zone;
    *out_ms = (minutes * 60 + second) * 1000;
    return true;
}

// ---- versions -----------------------------------------------------------------------------

// Take the next part of a version such as 1.70.0; there is none behind the end, or behind what is
// no number, such as the `-dev` of 1.70.0-dev.
static int64_t next_part(struct text *rest)
{
    size_t size = 0;
    while (size < rest->size && size < 18 && rest->data[size] >= '0' && rest->data[size] <= '9') {
        size++;
    }
    int64_t part = 0;
    IGNORE(text_to_i64(text_slice(*rest, 0, size), &part), "a part without digits is 0");
    bool more = size > 0 && size < rest->size && rest->data[size] == '.';
    *rest = more ? text_slice(*rest, size + 1, rest->size) : TEXT("");
    return part;
}

// Parts that one version has and the other has not are 0.
static int compare_versions(struct text a, struct text b)
{
    while (!text_empty(a) || !text_empty(b)) {
        int64_t left = next_part(&a);
        int64_t right = next_part(&b);
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    return 0;
}

static bool is_version(struct text text)
{
    return !text_empty(text) && text.data[0] >= '0' && text.data[0] <= '9';
}

// ---- all ----------------------------------------------------------------------------------

const char *constraint_value_read(enum constraint_subject subject, struct text *value,
                                  struct arena *arena)
{
    int64_t number = 0;
    switch (subject) {
    case CONSTRAINT_REGISTERED_AT:
        if (!read_date(*value, &number)) {
            if (text_to_i64(*value, &number) != 0 || number < 0 || number > INT64_C(1) << 40) {
                return "expected a date such as 2026-01-31T12:00:00Z before here,";
            }
            number *= 1000;
        }
        *value = arena_format(arena, "%lld", (long long)number);
        break;
    case CONSTRAINT_RUNNING_TASKS:
        if (text_to_i64(*value, &number) != 0) {
            return "expected a number before here,";
        }
        break;
    case CONSTRAINT_AGENT_VERSION:
        if (!is_version(*value)) {
            return "expected a version such as 1.70.0 before here,";
        }
        break;
    case CONSTRAINT_AGENT_CONNECTED:
    case CONSTRAINT_ATTRIBUTE:
    case CONSTRAINT_EC2_INSTANCE_ID:
    case CONSTRAINT_TASK_GROUP:
        break;
    }
    return NULL;
}

int constraint_value_compare(enum constraint_subject subject, struct text a, struct text b)
{
    int64_t left = 0;
    int64_t right = 0;
    if (subject == CONSTRAINT_AGENT_VERSION) {
        return compare_versions(a, b);
    }
    // Numbers compare as numbers, anything else by bytes.
    if (text_to_i64(a, &left) == 0 && text_to_i64(b, &right) == 0) {
        return left < right ? -1 : left > right;
    }
    return text_compare(a, b);
}

bool constraint_value_equal(enum constraint_subject subject, struct text a, struct text b)
{
    bool text = subject == CONSTRAINT_ATTRIBUTE || subject == CONSTRAINT_TASK_GROUP ||
                subject == CONSTRAINT_EC2_INSTANCE_ID || subject == CONSTRAINT_AGENT_CONNECTED;
    return text ? text_equal(a, b) : constraint_value_compare(subject, a, b) == 0;
}
