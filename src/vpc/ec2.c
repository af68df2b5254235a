#include "vpc/ec2_internal.h"

#include "base/text.h"
#include "identity/identity.h"

#define PAGE_MIN 5 ///< EC2
#define PAGE_MAX 1000
#define TOKEN_DIGITS 16
#define FILTER_VALUES_MAX 200 ///< EC2: of all filters together

int ec2_open(struct core_call *call, struct ec2_scope *out_scope)
{
    int64_t realm = identity_realm_ensure(call, &ec2_error_resource_limit_exceeded);
    if (realm == 0) {
        return ERR_FAULT;
    }
    int64_t vpc = vpc_default_ensure(call, realm);
    *out_scope = (struct ec2_scope){
        .realm = realm,
        .vpc = vpc,
        .account = call->caller->account,
        .region = call->caller->region,
        .record = core_get(call->core, &vpc_kind, vpc),
    };
    return 0;
}

int ec2_dry_run(struct core_call *call, bool dry_run)
{
    return !dry_run ? 0
                    : core_fault(call, &ec2_error_dry_run_operation,
                                 "Request would have succeeded, but DryRun flag is set.");
}

struct text ec2_arn(struct core_call *call, const struct ec2_scope *scope, const char *what,
                    struct text id)
{
    return arena_format(call->arena, "arn:aws:ec2:%.*s:%.*s:%s/%.*s", TEXT_FMT(scope->region),
                        TEXT_FMT(scope->account), what, TEXT_FMT(id));
}

int ec2_missing(struct core_call *call, const char *parameter)
{
    return core_fault(call, &ec2_error_missing_parameter,
                      "The request must contain the parameter %s", parameter);
}

// ---- filters ------------------------------------------------------------------------------

void ec2_value(struct ec2_values *values, struct text value)
{
    if (value.data == NULL) {
        return;
    }
    if (values->count == values->capacity) {
        size_t capacity = values->capacity == 0 ? 8 : 2 * values->capacity;
        struct text *items = arena_array(values->arena, capacity, sizeof(*items));
        for (size_t i = 0; i < values->count; i++) {
            items[i] = values->items[i];
        }
        values->items = items;
        values->capacity = capacity;
    }
    values->items[values->count] = value;
    values->count++;
}

void ec2_value_number(struct ec2_values *values, int64_t number)
{
    ec2_value(values, arena_format(values->arena, "%lld", (long long)number));
}

// Where a pattern has a star, the text behind what it took is tried again with one more taken. Only
// the last star is ever tried again, so the time is at most the product of the sizes.
bool ec2_like(struct text text, struct text pattern)
{
    size_t at = 0;
    size_t in_pattern = 0;
    size_t star = SIZE_MAX;
    size_t star_text = 0;
    while (at < text.size) {
        char want = in_pattern < pattern.size ? pattern.data[in_pattern] : '\0';
        bool escaped = want == '\\' && in_pattern + 1 < pattern.size;
        if (want == '*') {
            star = in_pattern++;
            star_text = at;
        } else if (in_pattern < pattern.size && !escaped &&
                   (want == '?' || want == text.data[at])) {
            in_pattern++;
            at++;
        } else if (escaped && pattern.data[in_pattern + 1] == text.data[at]) {
            in_pattern += 2;
            at++;
        } else if (star != SIZE_MAX) {
            in_pattern = star + 1;
            at = ++star_text;
        } else {
            return false;
        }
    }
    while (in_pattern < pattern.size && pattern.data[in_pattern] == '*') {
        in_pattern++;
    }
    return in_pattern == pattern.size;
}

static bool name_known(const struct ec2_filters *filters, struct text name)
{
    for (const char *const *known = filters->names; *known != NULL; known++) {
        if (text_is(name, *known)) {
            return true;
        }
    }
    return filters->tags != NULL && (text_starts(name, TEXT("tag:")) || text_is(name, "tag-key"));
}

int ec2_filters_check(struct core_call *call, const struct ec2_filters *filters)
{
    size_t values = 0;
    for (size_t i = 0; i < filters->count; i++) {
        struct text name = filters->items[i].name;
        if (!name_known(filters, name)) {
            return core_fault(call, &ec2_error_invalid_parameter_value,
                              "The filter '%.*s' is invalid",
                              TEXT_FMT(text_slice(name, 0, EC2_TEXT_MAX)));
        }
        values += MAX(filters->items[i].value.count, (size_t)1);
        if (values > FILTER_VALUES_MAX) {
            return core_fault(call, &ec2_error_invalid_parameter_value,
                              "The maximum number of filter values specified on a single call is "
                              "%d",
                              FILTER_VALUES_MAX);
        }
    }
    return 0;
}

static void tag_values(const struct ec2_filters *filters, const void *resource, struct text name,
                       struct ec2_values *values)
{
    bool keys = text_is(name, "tag-key");
    struct text key = text_slice(name, 4, name.size);
    size_t count = 0;
    const struct vpc_record_tag *tags = filters->tags(resource, &count);
    for (size_t i = 0; i < count; i++) {
        if (keys) {
            ec2_value(values, tags[i].key);
        } else if (text_equal(tags[i].key, key)) {
            ec2_value(values, tags[i].value.data == NULL ? TEXT("") : tags[i].value);
        }
    }
}

bool ec2_filters_pass(struct core_call *call, const struct ec2_filters *filters,
                      const void *resource)
{
    for (size_t i = 0; i < filters->count; i++) {
        const struct ec2_filter *filter = &filters->items[i];
        struct ec2_values values = {.arena = call->arena};
        if (filters->tags != NULL &&
            (text_starts(filter->name, TEXT("tag:")) || text_is(filter->name, "tag-key"))) {
            tag_values(filters, resource, filter->name, &values);
        } else {
            filters->values(call, resource, filter->name, &values);
        }
        bool found = false;
        for (size_t k = 0; k < values.count && !found; k++) {
            for (size_t n = 0; n < filter->value.count && !found; n++) {
                found = ec2_like(values.items[k], filter->value.items[n]);
            }
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

// ---- pages --------------------------------------------------------------------------------

int ec2_page_open(struct core_call *call, bool has_max, int32_t max, struct text token,
                  struct ec2_page *out_page)
{
    struct ec2_page page = {.size = PAGE_MAX};
    if (has_max && (max < PAGE_MIN || max > PAGE_MAX)) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Value ( %d ) for parameter maxResults is invalid. Expecting a value "
                          "between %d and %d.",
                          max, PAGE_MIN, PAGE_MAX);
    }
    page.size = has_max ? (size_t)max : page.size;
    unsigned char bytes[TOKEN_DIGITS / 2];
    if (!text_empty(token)) {
        if (text_unhex(text_slice(token, 0, TOKEN_DIGITS), bytes, sizeof(bytes)) != 0 ||
            (bytes[0] & 0x80) != 0) {
            return core_fault(call, &ec2_error_invalid_pagination_token,
                              "The specified pagination token is not valid or is expired.");
        }
        for (size_t i = 0; i < sizeof(bytes); i++) {
            page.after = page.after << 8 | bytes[i];
        }
        page.rest = text_slice(token, TOKEN_DIGITS, token.size);
    }
    *out_page = page;
    return 0;
}

struct text ec2_page_token(struct core_call *call, int64_t last, struct text rest)
{
    return arena_format(call->arena, "%016llx%.*s", (unsigned long long)last, TEXT_FMT(rest));
}

// ---- tags ---------------------------------------------------------------------------------

static int tag_check(struct core_call *call, const struct ec2_tag *tag)
{
    if (text_empty(tag->key)) {
        return core_fault(call, &ec2_error_invalid_parameter_value, "Tag key cannot be empty");
    }
    if (text_starts(tag->key, TEXT("aws:"))) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Tag keys starting with 'aws:' are reserved for internal use");
    }
    // Of bytes, where EC2 counts characters: nobody has four of them in each.
    if (tag->key.size > 4 * 127) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Tag key exceeds the maximum length of 127 characters");
    }
    if (tag->value.size > 4 * 255) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "Tag value exceeds the maximum length of 255 characters");
    }
    return 0;
}

int ec2_tags_merge(struct core_call *call, const struct ec2_tag *add, size_t count,
                   struct ec2_tags *tags)
{
    struct vpc_record_tag *items = arena_array(call->arena, tags->count + count, sizeof(*items));
    size_t total = tags->count;
    for (size_t i = 0; i < tags->count; i++) {
        items[i] = tags->items[i];
    }
    for (size_t i = 0; i < count; i++) {
        int rc = tag_check(call, &add[i]);
        if (rc != 0) {
            return rc;
        }
        size_t at = 0;
        while (at < total && !text_equal(items[at].key, add[i].key)) {
            at++;
        }
        total += at == total;
        items[at] = (struct vpc_record_tag){.key = add[i].key, .value = add[i].value};
    }
    if (total > EC2_TAGS_MAX) {
        return core_fault(call, &ec2_error_tag_limit_exceeded,
                          "The maximum number of Tags for a resource has been reached.");
    }
    *tags = (struct ec2_tags){.items = items, .count = total};
    return 0;
}

int ec2_tags_new(struct core_call *call, const struct ec2_tag_specification *items, size_t count,
                 const char *type, struct ec2_tags *out_tags)
{
    struct ec2_tags tags = {0};
    for (size_t i = 0; i < count; i++) {
        if (!text_is(items[i].resource_type, type)) {
            return core_fault(call, &ec2_error_invalid_parameter_value,
                              "'%.*s' is not a valid taggable resource type for this operation.",
                              TEXT_FMT(text_slice(items[i].resource_type, 0, EC2_TEXT_MAX)));
        }
        int rc = ec2_tags_merge(call, items[i].tag.items, items[i].tag.count, &tags);
        if (rc != 0) {
            return rc;
        }
    }
    *out_tags = tags;
    return 0;
}

struct ec2_tag *ec2_tags_show(struct core_call *call, const struct vpc_record_tag *tags,
                              size_t count)
{
    struct ec2_tag *out = arena_array(call->arena, count, sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        out[i].key = tags[i].key;
        out[i].value = tags[i].value.data == NULL ? TEXT("") : tags[i].value;
    }
    return count == 0 ? NULL : out;
}
