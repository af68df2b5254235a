#include "ecs/ecs_internal.h"

#include "base/text.h"
#include "core/index.h"
#include "ecs/page.h"
#include "identity/identity.h"

/*
 * Account settings. A principal is a user, a role or the account's root; what root has holds for
 * all that have no value of their own, and what nobody set has ECS's default.
 */

#define PRINCIPAL_MAX 620  ///< IAM: a path of 512 and a name of 64 behind the account's part
#define RECORDS_MAX 100000 ///< over all accounts, so that made-up principals fill no memory
#define VALUES_MAX 3

/** A setting: what it may be, ECS's default first. */
struct setting_rule {
    enum ecs_setting_name name;
    const char *text;
    const char *values[VALUES_MAX];
    bool long_arn; ///< only `enabled` is left of it
    bool managed;  ///< read-only: another service sets it
};

// In the order of their names, which is that of listings.
static const struct setting_rule rules[] = {
    {ECS_SETTING_NAME_AWSVPC_TRUNKING, "awsvpcTrunking", {"disabled", "enabled"}, false, false},
    {ECS_SETTING_NAME_CONTAINER_INSIGHTS,
     "containerInsights",
     {"disabled", "enabled", "enhanced"},
     false,
     false},
    {ECS_SETTING_NAME_CONTAINER_INSTANCE_LONG_ARN_FORMAT,
     "containerInstanceLongArnFormat",
     {"enabled", "disabled"},
     true,
     false},
    {ECS_SETTING_NAME_DEFAULT_LOG_DRIVER_MODE,
     "defaultLogDriverMode",
     {"non-blocking", "blocking"},
     false,
     false},
    {ECS_SETTING_NAME_FARGATE_EVENT_WINDOWS,
     "fargateEventWindows",
     {"disabled", "enabled"},
     false,
     false},
    {ECS_SETTING_NAME_FARGATE_FIPS_MODE, "fargateFIPSMode", {"disabled", "enabled"}, false, false},
    {ECS_SETTING_NAME_FARGATE_TASK_RETIREMENT_WAIT_PERIOD,
     "fargateTaskRetirementWaitPeriod",
     {"7", "0", "14"},
     false,
     false},
    {ECS_SETTING_NAME_GUARD_DUTY_ACTIVATE, "guardDutyActivate", {"off", "on"}, false, true},
    {ECS_SETTING_NAME_SERVICE_LONG_ARN_FORMAT,
     "serviceLongArnFormat",
     {"enabled", "disabled"},
     true,
     false},
    {ECS_SETTING_NAME_TAG_RESOURCE_AUTHORIZATION,
     "tagResourceAuthorization",
     {"on", "off"},
     false,
     false},
    {ECS_SETTING_NAME_TASK_LONG_ARN_FORMAT,
     "taskLongArnFormat",
     {"enabled", "disabled"},
     true,
     false},
};

/** @return the rule of a name; the schema lets no others through */
static const struct setting_rule *find_rule(enum ecs_setting_name name)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].name == name) {
            return &rules[i];
        }
    }
    return NULL;
}

// ---- records ------------------------------------------------------------------------------

void ecs_setting_key(struct index_key *out_key, int64_t realm, struct text principal,
                     enum ecs_setting_name name)
{
    out_key->size = 0;
    index_key_u64(out_key, (uint64_t)realm);
    index_key_text(out_key, principal);
    index_key_u64(out_key, (uint64_t)name);
}

/** @return the key of what a principal has set itself, or 0 */
static int64_t find_setting(const struct core *core, int64_t realm, struct text principal,
                            enum ecs_setting_name name)
{
    if (realm == 0 || principal.size > PRINCIPAL_MAX) {
        return 0;
    }
    struct index_key key;
    ecs_setting_key(&key, realm, principal, name);
    return index_get(ecs_state(core)->settings, &key);
}

static struct text root_arn(struct core_call *call)
{
    return arena_format(call->arena, "arn:aws:iam::%.*s:root", TEXT_FMT(call->caller->account));
}

static struct text effective_value(struct core_call *call, const struct setting_rule *rule,
                                   struct text principal)
{
    int64_t realm = ecs_caller_realm(call);
    int64_t key = find_setting(call->core, realm, principal, rule->name);
    if (key == 0) {
        key = find_setting(call->core, realm, root_arn(call), rule->name);
    }
    if (key == 0) {
        return text_of(rule->values[0]);
    }
    const struct ecs_record_setting *record = core_get(call->core, &ecs_setting_kind, key);
    return record->value;
}

/** Who the caller is to settings: a session of a role is the role, whatever it calls itself. */
static struct text caller_principal(struct core_call *call)
{
    struct text rest = call->caller->arn;
    const char *const parts[] = {"arn", "aws", "sts", ""};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!text_is(text_cut(&rest, ':'), parts[i])) {
            return call->caller->arn;
        }
    }
    struct text account = text_cut(&rest, ':');
    if (!text_is(text_cut(&rest, '/'), "assumed-role")) {
        return call->caller->arn;
    }
    struct text role = text_cut(&rest, '/');
    return arena_format(call->arena, "arn:aws:iam::%.*s:role/%.*s", TEXT_FMT(account),
                        TEXT_FMT(role));
}

struct text ecs_setting_value(struct core_call *call, enum ecs_setting_name name)
{
    const struct setting_rule *rule = find_rule(name);
    ASSERT(rule != NULL);
    return effective_value(call, rule, caller_principal(call));
}

// ---- principals ---------------------------------------------------------------------------

/** @return whether a text is the ARN of root, a user or a role of the caller's account */
static bool principal_valid(const struct core_call *call, struct text arn)
{
    struct text rest = arn;
    if (arn.size > PRINCIPAL_MAX || !text_is(text_cut(&rest, ':'), "arn") ||
        !text_is(text_cut(&rest, ':'), "aws") || !text_is(text_cut(&rest, ':'), "iam") ||
        !text_empty(text_cut(&rest, ':')) ||
        !text_equal(text_cut(&rest, ':'), call->caller->account)) {
        return false;
    }
    if (text_is(rest, "root")) {
        return true;
    }
    struct text type = text_cut(&rest, '/');
    return (text_is(type, "user") || text_is(type, "role")) && !text_empty(rest);
}

/** Whose settings a request is about: the caller's, unless root asks for others. */
static int read_principal(struct core_call *call, struct text given, struct text *out_principal)
{
    struct text caller = caller_principal(call);
    struct text principal = text_empty(given) ? caller : given;
    bool self = text_equal(principal, caller);
    if (!self && !text_equal(call->caller->arn, root_arn(call))) {
        return core_fault(call, &ecs_error_access_denied_exception,
                          "You must be the root user, or the principal itself, to use "
                          "principalArn.");
    }
    if (!principal_valid(call, principal)) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "Invalid principal ARN: %.*s. Specify the root user, a user or a role of "
                          "this account.",
                          TEXT_FMT(text_slice(principal, 0, PRINCIPAL_MAX)));
    }
    *out_principal = principal;
    return 0;
}

// ---- showing ------------------------------------------------------------------------------

static void fill_setting(const struct setting_rule *rule, struct text principal, struct text value,
                         struct ecs_setting *out_setting)
{
    *out_setting = (struct ecs_setting){
        .name = rule->name,
        .value = value,
        .principal_arn = principal,
        .type = rule->managed ? ECS_SETTING_TYPE_AWS_MANAGED : ECS_SETTING_TYPE_USER,
    };
}

static struct ecs_setting *shown_setting(struct core_call *call, const struct setting_rule *rule,
                                         struct text principal)
{
    struct ecs_setting *setting = ARENA_NEW(call->arena, struct ecs_setting);
    fill_setting(rule, principal, effective_value(call, rule, principal), setting);
    return setting;
}

// ---- PutAccountSetting, PutAccountSettingDefault, DeleteAccountSetting --------------------

static int check_value(struct core_call *call, const struct setting_rule *rule, struct text value)
{
    bool known = false;
    AUTO(buf_deinit) struct buf list = {0};
    for (size_t i = 0; i < VALUES_MAX && rule->values[i] != NULL; i++) {
        known = known || text_is(value, rule->values[i]);
        buf_format(&list, "%s%s", i == 0 ? "" : ",", rule->values[i]);
    }
    if (!known) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The value of the setting %s should be one of [%s].", rule->text,
                          list.data);
    }
    if (rule->long_arn && text_is(value, "disabled")) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "You can no longer disable Long Arn settings");
    }
    return 0;
}

/** Refuse what only another service may set. */
static int check_writable(struct core_call *call, const struct setting_rule *rule)
{
    if (rule->managed) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "The setting %s is read-only: it is managed by another service.",
                          rule->text);
    }
    return 0;
}

/** The same of both ways to put a setting. */
static int put_setting(struct core_call *call, enum ecs_setting_name name, struct text value,
                       struct text principal, struct ecs_setting **out_setting)
{
    const struct setting_rule *rule = find_rule(name);
    ASSERT(rule != NULL);
    int rc = check_writable(call, rule);
    if (rc == 0) {
        rc = check_value(call, rule, value);
    }
    if (rc != 0) {
        return rc;
    }
    int64_t key = find_setting(call->core, ecs_caller_realm(call), principal, name);
    if (key == 0 && core_count(call->core, &ecs_setting_kind) >= RECORDS_MAX) {
        return core_fault(call, &ecs_error_client_exception,
                          "The limit of %d account settings is reached.", RECORDS_MAX);
    }
    int64_t realm = identity_realm_ensure(call, &ecs_error_client_exception);
    if (realm == 0) {
        return ERR_FAULT;
    }
    const struct ecs_record_setting record = {
        .has_realm = true, .realm = realm, .principal = principal, .name = name, .value = value};
    core_put(call, &ecs_setting_kind, key == 0 ? core_new_key(call) : key, &record);
    *out_setting = shown_setting(call, rule, principal);
    return 0;
}

int ecs_put_account_setting(struct core_call *call, void *state, const void *request,
                            void *response)
{
    (void)state;
    const struct ecs_put_account_setting_request *in = request;
    struct ecs_put_account_setting_response *out = response;
    struct text principal = {0};
    int rc = read_principal(call, in->principal_arn, &principal);
    return rc != 0 ? rc : put_setting(call, in->name, in->value, principal, &out->setting);
}

int ecs_put_account_setting_default(struct core_call *call, void *state, const void *request,
                                    void *response)
{
    (void)state;
    const struct ecs_put_account_setting_default_request *in = request;
    struct ecs_put_account_setting_default_response *out = response;
    return put_setting(call, in->name, in->value, root_arn(call), &out->setting);
}

int ecs_delete_account_setting(struct core_call *call, void *state, const void *request,
                               void *response)
{
    (void)state;
    const struct ecs_delete_account_setting_request *in = request;
    struct ecs_delete_account_setting_response *out = response;
    const struct setting_rule *rule = find_rule(in->name);
    ASSERT(rule != NULL);
    struct text principal = {0};
    int rc = read_principal(call, in->principal_arn, &principal);
    if (rc == 0) {
        rc = check_writable(call, rule);
    }
    if (rc != 0) {
        return rc;
    }
    int64_t key = find_setting(call->core, ecs_caller_realm(call), principal, in->name);
    if (key != 0) {
        core_delete(call, &ecs_setting_kind, key);
    }
    // What holds now: root's value or the default.
    out->setting = shown_setting(call, rule, principal);
    return 0;
}

// ---- ListAccountSettings ------------------------------------------------------------------

/** What a principal shows of a setting. @return false when it shows nothing */
static bool listed(struct core_call *call, const struct setting_rule *rule, struct text principal,
                   bool effective, struct ecs_setting *out_setting)
{
    if (!effective &&
        find_setting(call->core, ecs_caller_realm(call), principal, rule->name) == 0) {
        return false;
    }
    fill_setting(rule, principal, effective_value(call, rule, principal), out_setting);
    return true;
}

int ecs_list_account_settings(struct core_call *call, void *state, const void *request,
                              void *response)
{
    (void)state;
    const struct ecs_list_account_settings_request *in = request;
    struct ecs_list_account_settings_response *out = response;
    struct text principal = {0};
    int rc = read_principal(call, in->principal_arn, &principal);
    if (rc != 0) {
        return rc;
    }
    if (in->value.data != NULL && in->name == ECS_SETTING_NAME_ABSENT) {
        return core_fault(call, &ecs_error_invalid_parameter_exception,
                          "You must specify a setting name to filter by value.");
    }
    struct ecs_page page;
    rc = ecs_page_open(call, in->next_token, in->has_max_results, in->max_results, &page);
    if (rc != 0) {
        return rc;
    }
    out->settings.items = arena_array(call->arena, ARRAY_LEN(rules), sizeof(*out->settings.items));
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct text name = text_of(rules[i].text);
        struct ecs_setting setting = {0};
        if ((page.after.data != NULL && text_compare(name, page.after) <= 0) ||
            (in->name != ECS_SETTING_NAME_ABSENT && in->name != rules[i].name) ||
            !listed(call, &rules[i], principal, in->effective_settings, &setting) ||
            (in->value.data != NULL && !text_equal(in->value, setting.value))) {
            continue;
        }
        if (out->settings.count == page.size) {
            const struct setting_rule *last =
                find_rule(out->settings.items[out->settings.count - 1].name);
            out->next_token = ecs_page_token(call, text_of(last->text));
            break;
        }
        out->settings.items[out->settings.count] = setting;
        out->settings.count++;
    }
    return 0;
}
