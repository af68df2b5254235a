#include "secrets/secrets_internal.h"

#include "base/text.h"
#include "core/page_token.h"
#include "identity/identity.h"

#include <stdlib.h>
#include <string.h>

/*
 * ListSecrets: filters, order, pages.
 *
 * A token holds the place of the secret shown last, so a walk goes on behind it whether it is still
 * there or not.
 */

#define PLACE_NUMBERS 16 ///< bytes of a token's entry in front of the name

static void put_number(char *out, uint64_t number)
{
    for (size_t i = 0; i < 8; i++) {
        out[i] = (char)(unsigned char)(number >> (56 - 8 * i));
    }
}

static int64_t get_number(const char *bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < 8; i++) {
        number = (number << 8) | (unsigned char)bytes[i];
    }
    return (int64_t)number;
}

int secret_page_after(struct core_call *call, struct text token, struct secret_place *out_after)
{
    struct text entry = {0};
    if (token.data == NULL) {
        *out_after = (struct secret_place){0};
        return 0;
    }
    if (page_token_open(call, token, &entry) != 0 || entry.size < PLACE_NUMBERS) {
        return core_fault(call, &secretsmanager_error_invalid_next_token_exception,
                          "The NextToken value is invalid.");
    }
    *out_after = (struct secret_place){
        .key = get_number(entry.data),
        .number = get_number(entry.data + 8),
        .name = text_slice(entry, PLACE_NUMBERS, entry.size),
    };
    return 0;
}

struct text secret_page_token(struct core_call *call, const struct secret_place *last)
{
    char *entry = arena_alloc(call->arena, PLACE_NUMBERS + last->name.size);
    put_number(entry, (uint64_t)last->key);
    put_number(entry + 8, (uint64_t)last->number);
    if (last->name.size > 0) {
        memcpy(entry + PLACE_NUMBERS, last->name.data, last->name.size);
    }
    return page_token_make(call, (struct text){entry, PLACE_NUMBERS + last->name.size});
}

// ---- filters ------------------------------------------------------------------------------------

static bool starts_any(bool nocase, struct text text, struct text prefix)
{
    return nocase ? words_start(text, prefix) : text_starts(text, prefix);
}

static bool tags_match(const struct secrets_record_secret *secret, bool keys, struct text prefix)
{
    for (size_t i = 0; i < secret->tags.count; i++) {
        const struct secrets_record_tag *tag = &secret->tags.items[i];
        if (text_starts(keys ? tag->key : tag->value, prefix)) {
            return true;
        }
    }
    return false;
}

// `all`: every word of the value begins some word of the secret.
static bool all_match(const struct secrets_record_secret *secret, struct text value)
{
    while (value.data != NULL) {
        struct text word = text_trim(text_cut(&value, ' '));
        bool found = text_empty(word) || words_any_start(secret->name, word) ||
                     words_any_start(secret->description, word);
        for (size_t i = 0; i < secret->tags.count && !found; i++) {
            found = words_any_start(secret->tags.items[i].key, word) ||
                    words_any_start(secret->tags.items[i].value, word);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool value_matches(const struct secrets_record_secret *secret,
                          enum secretsmanager_filter_name_string_type key, struct text value)
{
    switch (key) {
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_DESCRIPTION:
        return starts_any(true, secret->description, value);
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_NAME:
        return starts_any(false, secret->name, value);
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_TAG_KEY:
        return tags_match(secret, true, value);
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_TAG_VALUE:
        return tags_match(secret, false, value);
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_ALL:
        return all_match(secret, value);
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_PRIMARY_REGION: // only replicas have one
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_OWNING_SERVICE: // only secrets of AWS services
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_ABSENT:
    case SECRETSMANAGER_FILTER_NAME_STRING_TYPE_UNRECOGNIZED:
        break;
    }
    return false;
}

static bool matches(const struct secrets_record_secret *secret,
                    const struct secretsmanager_list_secrets_request *in)
{
    if (secret->deletion_at != 0 &&
        !(in->has_include_planned_deletion && in->include_planned_deletion)) {
        return false;
    }
    for (size_t i = 0; i < in->filters.count; i++) {
        const struct secretsmanager_filter *filter = &in->filters.items[i];
        bool any = false;
        for (size_t j = 0; j < filter->values.count && !any; j++) {
            struct text value = filter->values.items[j];
            bool not = text_starts(value, TEXT("!"));
            any = value_matches(secret, filter->key,
                                not ? text_slice(value, 1, value.size) : value) != not ;
        }
        if (!any) {
            return false;
        }
    }
    return true;
}

static int check_filters(struct core_call *call,
                         const struct secretsmanager_list_secrets_request *in)
{
    for (size_t i = 0; i < in->filters.count; i++) {
        const struct secretsmanager_filter *filter = &in->filters.items[i];
        if (filter->key == SECRETSMANAGER_FILTER_NAME_STRING_TYPE_ABSENT) {
            return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                              "Invalid filter key");
        }
        if (filter->values.count == 0) {
            return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                              "Invalid filter values for key: %s",
                              shape_enum_name(&secretsmanager_filter_name_string_type_shape,
                                              (int32_t)filter->key));
        }
    }
    return 0;
}

// ---- order --------------------------------------------------------------------------------------

struct listed {
    struct secret_place place;
    bool descending;
};

static int compare(const void *a, const void *b)
{
    const struct listed *left = a;
    const struct listed *right = b;
    int order = 0;
    if (left->place.number != right->place.number) {
        order = left->place.number < right->place.number ? -1 : 1;
    } else {
        order = text_compare(left->place.name, right->place.name);
    }
    if (order == 0 && left->place.key != right->place.key) {
        order = left->place.key < right->place.key ? -1 : 1;
    }
    return left->descending ? -order : order;
}

static struct secret_place place_of(enum secretsmanager_sort_by_type by, int64_t key,
                                    const struct secrets_record_secret *secret)
{
    struct secret_place place = {.key = key};
    switch (by) {
    case SECRETSMANAGER_SORT_BY_TYPE_NAME:
        place.name = secret->name;
        break;
    case SECRETSMANAGER_SORT_BY_TYPE_LAST_ACCESSED_DATE:
        place.number = secret->accessed_at;
        break;
    case SECRETSMANAGER_SORT_BY_TYPE_LAST_CHANGED_DATE:
        place.number = secret->changed_at;
        break;
    case SECRETSMANAGER_SORT_BY_TYPE_CREATED_DATE:
    case SECRETSMANAGER_SORT_BY_TYPE_ABSENT:
    case SECRETSMANAGER_SORT_BY_TYPE_UNRECOGNIZED:
        break; // keys ascend as secrets are created
    }
    return place;
}

static bool is_descending(const struct secretsmanager_list_secrets_request *in)
{
    return in->sort_order == SECRETSMANAGER_SORT_ORDER_TYPE_DESC;
}

static size_t collect(struct core_call *call, const struct secretsmanager_list_secrets_request *in,
                      struct listed **out_list)
{
    const struct secrets_state *state = secrets_state(call->core);
    int64_t realm = identity_realm(call->core, call->caller->account, call->caller->region);
    size_t most = secrets_count(&state->stock.counts, realm);
    struct listed *list = arena_array(call->arena, most + 1, sizeof(*list));
    size_t count = 0;
    struct index_key prefix = {0};
    index_key_u64(&prefix, (uint64_t)realm);
    struct index_cursor cursor;
    index_walk(state->by_realm, &prefix, false, &cursor);
    for (int64_t key = index_step(&cursor); key != 0; key = index_step(&cursor)) {
        const struct secrets_record_secret *secret =
            core_get(call->core, &secrets_secret_kind, key);
        if (matches(secret, in)) {
            ASSERT(count < most);
            list[count++] = (struct listed){.place = place_of(in->sort_by, key, secret),
                                            .descending = is_descending(in)};
        }
    }
    qsort(list, count, sizeof(*list), compare);
    *out_list = list;
    return count;
}

// Where a page begins: behind the place of the secret shown last.
static size_t begin_of(const struct secretsmanager_list_secrets_request *in,
                       const struct listed *list, size_t count, const struct secret_place *after)
{
    const struct listed at = {.place = *after, .descending = is_descending(in)};
    size_t begin = 0;
    while (after->key != 0 && begin < count && compare(&list[begin], &at) <= 0) {
        begin++;
    }
    return begin;
}

int secret_list(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_list_secrets_request *in = request;
    struct secretsmanager_list_secrets_response *out = response;
    struct secret_place after;
    int rc = secret_page_after(call, in->next_token, &after);
    if (rc == 0) {
        rc = check_filters(call, in);
    }
    if (rc != 0) {
        return rc;
    }
    struct listed *list = NULL;
    size_t count = collect(call, in, &list);
    size_t begin = begin_of(in, list, count, &after);
    size_t size = in->has_max_results ? (size_t)in->max_results : SECRETS_PAGE;
    size = MIN(size, count - begin);
    out->secret_list.items =
        size == 0 ? SHAPE_EMPTY : arena_array(call->arena, size, sizeof(*out->secret_list.items));
    for (size_t i = 0; i < size; i++) {
        secret_show(call, list[begin + i].place.key, &out->secret_list.items[i]);
    }
    out->secret_list.count = size;
    if (begin + size < count) {
        out->next_token = secret_page_token(call, &list[begin + size - 1].place);
    }
    return 0;
}
