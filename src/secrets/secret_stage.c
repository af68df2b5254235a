#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * Staging labels: each is on one version of a secret at most.
 *
 * AWSCURRENT is on one as soon as there is one. The version that loses it gets AWSPREVIOUS.
 */

// A label's place in a version's list; SIZE_MAX when it is not there.
static size_t place_of(const struct secrets_record_version *version, struct text stage)
{
    for (size_t i = 0; i < version->stages.count; i++) {
        if (text_equal(version->stages.items[i], stage)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static void take_away(struct core_call *call, int64_t key, struct text stage)
{
    struct secrets_record_version *version = core_edit(call, &secrets_version_kind, key);
    size_t place = place_of(version, stage);
    ASSERT(place != SIZE_MAX);
    struct text_list stages = {
        .items = arena_array(call->arena, version->stages.count, sizeof(struct text))};
    for (size_t i = 0; i < version->stages.count; i++) {
        if (i != place) {
            stages.items[stages.count++] = version->stages.items[i];
        }
    }
    stages.items = stages.count == 0 ? NULL : stages.items;
    version->stages = stages;
    core_put(call, &secrets_version_kind, key, version);
}

static void add(struct core_call *call, int64_t key, struct text stage)
{
    struct secrets_record_version *version = core_edit(call, &secrets_version_kind, key);
    struct text_list stages = {
        .items = arena_array(call->arena, version->stages.count + 1, sizeof(struct text)),
        .count = version->stages.count + 1,
    };
    for (size_t i = 0; i < version->stages.count; i++) {
        stages.items[i] = version->stages.items[i];
    }
    stages.items[version->stages.count] = stage;
    version->stages = stages;
    core_put(call, &secrets_version_kind, key, version);
}

void secret_stage_move(struct core_call *call, int64_t secret, struct text stage, int64_t version)
{
    struct secret_version holder = secret_version_by_stage(call->core, secret, stage);
    if (holder.key == version) {
        return;
    }
    if (holder.key != 0) {
        take_away(call, holder.key, stage);
    }
    if (version != 0) {
        add(call, version, stage);
    }
    if (holder.key != 0 && text_is(stage, SECRETS_CURRENT)) {
        struct secret_version previous =
            secret_version_by_stage(call->core, secret, TEXT(SECRETS_PREVIOUS));
        if (previous.key != 0 && previous.key != holder.key) {
            take_away(call, previous.key, TEXT(SECRETS_PREVIOUS));
        }
        if (previous.key != holder.key) {
            add(call, holder.key, TEXT(SECRETS_PREVIOUS));
        }
    }
}

// How many labels a secret has, apart from those of a list.
static size_t count_others(const struct core *core, int64_t secret, const struct text_list *stages)
{
    size_t count = 0;
    struct secret_version version = {0};
    while (secret != 0 && secret_version_next(core, secret, &version)) {
        for (size_t i = 0; i < version.record->stages.count; i++) {
            bool listed = false;
            for (size_t j = 0; j < stages->count; j++) {
                listed = listed || text_equal(version.record->stages.items[i], stages->items[j]);
            }
            count += listed ? 0 : 1;
        }
    }
    return count;
}

int secret_stages_check(struct core_call *call, int64_t secret, const struct text_list *stages)
{
    for (size_t i = 0; i < stages->count; i++) {
        if (text_empty(stages->items[i]) || stages->items[i].size > 256) {
            return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                              "A staging label must have 1 to 256 characters.");
        }
        for (size_t j = 0; j < i; j++) {
            if (text_equal(stages->items[i], stages->items[j])) {
                return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                                  "The staging label %.*s is there twice.",
                                  TEXT_FMT(stages->items[i]));
            }
        }
    }
    if (count_others(call->core, secret, stages) + stages->count > SECRETS_STAGES_MAX) {
        return core_fault(call, &secretsmanager_error_limit_exceeded_exception,
                          "A secret can have at most %d staging labels.", SECRETS_STAGES_MAX);
    }
    return 0;
}
