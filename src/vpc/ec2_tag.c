#include "vpc/ec2_internal.h"

#include "base/text.h"

/*
 * CreateTags, DeleteTags, DescribeTags for VPCs, subnets, network interfaces, security groups and
 * their rules. What a resource is shows by its id's prefix.
 */

#define RESOURCES_MAX 50 ///< of one request, so that its changes are one transaction

// ---- resources ----------------------------------------------------------------------------

/** What bears tags. */
struct tagged {
    const struct core_kind *kind;
    int64_t key;
    struct text rule_id; ///< of a rule of the group `key`; else absent
};

/** What an id begins with. */
static const struct {
    const char *prefix;
    const struct core_kind *kind;
    const struct api_error *missing;
    const char *what;
} tagged_kinds[] = {
    {"sg-", &vpc_group_kind, &ec2_error_invalid_group_not_found, "security group"},
    {"sgr-", &vpc_group_kind, &ec2_error_invalid_security_group_rule_id_not_found,
     "security group rule ID"},
    {"vpc-", &vpc_kind, &ec2_error_invalid_vpc_id_not_found, "vpc ID"},
    {"subnet-", &vpc_subnet_kind, &ec2_error_invalid_subnet_id_not_found, "subnet ID"},
    {"eni-", &vpc_eni_kind, &ec2_error_invalid_network_interface_id_not_found,
     "networkInterface ID"},
};

static size_t kind_of(struct text id)
{
    size_t kind = 0;
    while (kind < ARRAY_LEN(tagged_kinds) && !text_starts(id, text_of(tagged_kinds[kind].prefix))) {
        kind++;
    }
    return kind;
}

// @return whether there is such a resource in the VPC
static bool find_tagged(struct core_call *call, const struct ec2_scope *scope, struct text id,
                        struct tagged *out)
{
    const struct vpc_state *state = vpc_state(call->core);
    size_t kind = kind_of(id);
    *out = (struct tagged){0};
    if (kind == ARRAY_LEN(tagged_kinds)) {
        return false;
    }
    out->kind = tagged_kinds[kind].kind;
    if (out->kind == &vpc_kind) {
        out->key = text_equal(id, scope->record->vpc_id) ? scope->vpc : 0;
    } else if (out->kind == &vpc_subnet_kind) {
        out->key = vpc_subnet_find(call->core, scope->realm, id);
    } else if (out->kind == &vpc_eni_kind) {
        out->key = vpc_named_find(state->eni_ids, scope->vpc, id);
    } else if (text_starts(id, TEXT("sgr-"))) {
        out->rule_id = id;
        out->key = vpc_named_find(state->rule_ids, scope->vpc, id);
    } else {
        out->key = vpc_group_find(call->core, scope->vpc, id);
    }
    return out->key != 0;
}

static int find(struct core_call *call, const struct ec2_scope *scope, struct text id,
                struct tagged *out)
{
    size_t kind = kind_of(id);
    struct text told = text_slice(id, 0, EC2_TEXT_MAX);
    if (kind == ARRAY_LEN(tagged_kinds)) {
        return core_fault(call, &ec2_error_invalid_id, "The ID '%.*s' is not valid",
                          TEXT_FMT(told));
    }
    return find_tagged(call, scope, id, out)
               ? 0
               : core_fault(call, tagged_kinds[kind].missing, "The %s '%.*s' does not exist",
                            tagged_kinds[kind].what, TEXT_FMT(told));
}

/** Where a record has its tags; the rules of a group are copied for it when `rule_id` is there. */
static struct vpc_record_tag_list *tags_of(struct core_call *call, const struct tagged *tagged,
                                           void *record)
{
    if (tagged->kind == &vpc_kind) {
        return &((struct vpc_record_vpc *)record)->tags;
    }
    if (tagged->kind == &vpc_subnet_kind) {
        return &((struct vpc_record_subnet *)record)->tags;
    }
    if (tagged->kind == &vpc_eni_kind) {
        return &((struct vpc_record_eni *)record)->tags;
    }
    struct vpc_record_security_group *group = record;
    if (tagged->rule_id.data == NULL) {
        return &group->tags;
    }
    struct vpc_record_security_group_rule *items =
        arena_array(call->arena, group->rules.count, sizeof(*items));
    struct vpc_record_tag_list *found = NULL;
    for (size_t i = 0; i < group->rules.count; i++) {
        items[i] = group->rules.items[i];
        if (text_equal(items[i].rule_id, tagged->rule_id)) {
            found = &items[i].tags;
        }
    }
    group->rules.items = items;
    ASSERT(found != NULL);
    return found;
}

// ---- changing -----------------------------------------------------------------------------

/** A request to change tags. */
struct change {
    const struct text *ids;
    size_t id_count;
    const struct ec2_tag *tags;
    size_t tag_count;
    bool remove;
    bool dry_run;
};

/** Without tags all go; a tag without value goes whatever it is. */
static void remove_tags(struct core_call *call, const struct change *change,
                        struct vpc_record_tag_list *tags)
{
    struct vpc_record_tag *items = arena_array(call->arena, tags->count, sizeof(*items));
    size_t kept = 0;
    for (size_t i = 0; i < tags->count; i++) {
        bool gone = change->tag_count == 0;
        for (size_t k = 0; k < change->tag_count; k++) {
            const struct ec2_tag *tag = &change->tags[k];
            bool any = tag->value.data == NULL;
            gone = gone || (text_equal(tag->key, tags->items[i].key) &&
                            (any || text_equal(tag->value, tags->items[i].value)));
        }
        if (!gone) {
            items[kept++] = tags->items[i];
        }
    }
    tags->items = items;
    tags->count = kept;
}

static int change_one(struct core_call *call, const struct change *change,
                      const struct tagged *tagged, void *record)
{
    struct vpc_record_tag_list *list = tags_of(call, tagged, record);
    if (change->remove) {
        remove_tags(call, change, list);
        return 0;
    }
    struct ec2_tags tags = {list->items, list->count};
    int rc = ec2_tags_merge(call, change->tags, change->tag_count, &tags);
    if (rc != 0) {
        return rc;
    }
    list->items = tags.items;
    list->count = tags.count;
    return tagged->kind == &vpc_group_kind ? ec2_group_size_check(call, record) : 0;
}

static int apply(struct core_call *call, const struct change *change, bool *out_done,
                 bool *out_has_done)
{
    if (change->id_count == 0) {
        return ec2_missing(call, "resourceIdSet");
    }
    if (!change->remove && change->tag_count == 0) {
        return ec2_missing(call, "tagSet");
    }
    if (change->id_count > RESOURCES_MAX) {
        return core_fault(call, &ec2_error_invalid_parameter_value,
                          "At most %d resources can be tagged in one call", RESOURCES_MAX);
    }
    struct ec2_scope scope;
    int rc = ec2_open(call, &scope);
    struct tagged *tagged = arena_array(call->arena, change->id_count, sizeof(*tagged));
    for (size_t i = 0; rc == 0 && i < change->id_count; i++) {
        rc = find(call, &scope, change->ids[i], &tagged[i]);
        // Several of one request may be in the same record: each of them is checked by itself, as
        // the first two put it one after the other.
        void *trial = rc == 0 ? core_edit(call, tagged[i].kind, tagged[i].key) : NULL;
        rc = rc == 0 ? change_one(call, change, &tagged[i], trial) : rc;
    }
    rc = rc == 0 ? ec2_dry_run(call, change->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < change->id_count; i++) {
        void *record = core_edit(call, tagged[i].kind, tagged[i].key);
        if (change_one(call, change, &tagged[i], record) == 0) {
            core_put(call, tagged[i].kind, tagged[i].key, record);
        }
    }
    *out_done = true;
    *out_has_done = true;
    return 0;
}

int ec2_create_tags(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_create_tags_request *request = in;
    struct ec2_done *result = out;
    const struct change change = {
        .ids = request->resource_id.items,
        .id_count = request->resource_id.count,
        .tags = request->tag.items,
        .tag_count = request->tag.count,
        .dry_run = request->dry_run,
    };
    return apply(call, &change, &result->return_, &result->has_return_);
}

int ec2_delete_tags(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_delete_tags_request *request = in;
    struct ec2_done *result = out;
    const struct change change = {
        .ids = request->resource_id.items,
        .id_count = request->resource_id.count,
        .tags = request->tag.items,
        .tag_count = request->tag.count,
        .remove = true,
        .dry_run = request->dry_run,
    };
    return apply(call, &change, &result->return_, &result->has_return_);
}

// ---- describing ---------------------------------------------------------------------------

static const char *const tag_filters[] = {"key", "resource-id", "resource-type", "value", NULL};

static void tag_value(struct core_call *call, const void *pointer, struct text name,
                      struct ec2_values *values)
{
    (void)call;
    const struct ec2_tag_description *tag = pointer;
    if (text_is(name, "key")) {
        ec2_value(values, tag->key);
    } else if (text_is(name, "value")) {
        ec2_value(values, tag->value);
    } else if (text_is(name, "resource-id")) {
        ec2_value(values, tag->resource_id);
    } else {
        ec2_value(values, tag->resource_type);
    }
}

/** Tags that are shown. */
struct listing {
    struct ec2_filters filters;
    struct ec2_tag_description *items;
    size_t count;
    size_t skip; ///< of those that pass, on the pages before
    size_t most;
    bool more;
};

static void list_tags(struct core_call *call, struct listing *listing, const char *type,
                      struct text id, const struct vpc_record_tag_list *tags)
{
    for (size_t i = 0; i < tags->count && !listing->more; i++) {
        const struct ec2_tag_description tag = {
            .key = tags->items[i].key,
            .value = tags->items[i].value.data == NULL ? TEXT("") : tags->items[i].value,
            .resource_id = id,
            .resource_type = text_of(type),
        };
        if (!ec2_filters_pass(call, &listing->filters, &tag)) {
            continue;
        }
        if (listing->skip > 0) {
            listing->skip--;
        } else if (listing->count == listing->most) {
            listing->more = true;
        } else {
            listing->items[listing->count++] = tag;
        }
    }
}

static void list_record(struct core_call *call, const struct core_kind *kind, int64_t key,
                        struct listing *listing)
{
    const void *record = core_get(call->core, kind, key);
    if (kind == &vpc_kind) {
        const struct vpc_record_vpc *vpc = record;
        list_tags(call, listing, "vpc", vpc->vpc_id, &vpc->tags);
    } else if (kind == &vpc_subnet_kind) {
        const struct vpc_record_subnet *subnet = record;
        list_tags(call, listing, "subnet", subnet->subnet_id, &subnet->tags);
    } else if (kind == &vpc_eni_kind) {
        const struct vpc_record_eni *eni = record;
        list_tags(call, listing, "network-interface", eni->eni_id, &eni->tags);
    } else {
        const struct vpc_record_security_group *group = record;
        list_tags(call, listing, "security-group", group->group_id, &group->tags);
        for (size_t i = 0; i < group->rules.count; i++) {
            list_tags(call, listing, "security-group-rule", group->rules.items[i].rule_id,
                      &group->rules.items[i].tags);
        }
    }
}

static void list_all(struct core_call *call, const struct ec2_scope *scope, struct listing *listing)
{
    const struct vpc_state *state = vpc_state(call->core);
    const struct {
        const struct core_kind *kind;
        const struct index *index;
    } kinds[] = {
        {&vpc_subnet_kind, state->of_vpc},
        {&vpc_group_kind, state->vpc_groups},
        {&vpc_eni_kind, state->vpc_enis},
    };
    list_record(call, &vpc_kind, scope->vpc, listing);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct index_cursor cursor;
        vpc_walk(kinds[i].index, scope->vpc, 0, &cursor);
        for (int64_t key = index_step(&cursor); key != 0 && !listing->more;
             key = index_step(&cursor)) {
            list_record(call, kinds[i].kind, key, listing);
        }
    }
}

// Those of one resource: what is asked for most, by its id. @return whether it was that
static bool list_one(struct core_call *call, const struct ec2_scope *scope, struct listing *listing)
{
    for (size_t i = 0; i < listing->filters.count; i++) {
        const struct ec2_filter *filter = &listing->filters.items[i];
        struct tagged tagged = {0};
        if (text_is(filter->name, "resource-id") && filter->value.count == 1 &&
            find_tagged(call, scope, filter->value.items[0], &tagged)) {
            list_record(call, tagged.kind, tagged.key, listing);
            return true;
        }
    }
    return false;
}

int ec2_describe_tags(struct core_call *call, void *state, const void *in, void *out)
{
    (void)state;
    const struct ec2_describe_tags_request *request = in;
    struct ec2_describe_tags_result *result = out;
    struct listing listing = {
        .filters = {.items = request->filter.items,
                    .count = request->filter.count,
                    .names = tag_filters,
                    .values = tag_value},
    };
    struct ec2_scope scope;
    struct ec2_page page = {0};
    int rc = ec2_open(call, &scope);
    rc = rc == 0 ? ec2_filters_check(call, &listing.filters) : rc;
    rc = rc == 0 ? ec2_page_open(call, request->has_max_results, request->max_results,
                                 request->next_token, &page)
                 : rc;
    rc = rc == 0 ? ec2_dry_run(call, request->dry_run) : rc;
    if (rc != 0) {
        return rc;
    }
    listing.items = arena_array(call->arena, page.size, sizeof(*listing.items));
    listing.most = page.size;
    listing.skip = (size_t)page.after;
    if (!list_one(call, &scope, &listing)) {
        list_all(call, &scope, &listing);
    }
    result->tag_set.items = listing.items;
    result->tag_set.count = listing.count;
    if (listing.more) {
        result->next_token =
            ec2_page_token(call, page.after + (int64_t)listing.count, (struct text){0});
    }
    return 0;
}
