#include "../ecs/harness.h"

#include "base/text.h"
#include "identity/identity.h"
#include "secrets/parameter.h"
#include "secrets/secrets.h"

#include <stdio.h>
#include <string.h>

/*
 * Random operations on few names, with restarts and time that passes: the harness checks every
 * invariant after each, and a model of a few lines says what is to be read.
 */

#define STEPS 4000
#define NAMES 5
#define DAY_MS (24 * 3600 * INT64_C(1000))

static void encrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                    struct text bound, struct text plain, char *out)
{
    memcpy(out, plain.data, plain.size);
    memset(out + plain.size, 0, SEAL_TAG_BYTES);
}

static int decrypt(const void *context, const unsigned char nonce[SEAL_NONCE_BYTES],
                   struct text bound, struct text cipher, char *out)
{
    memcpy(out, cipher.data, cipher.size - SEAL_TAG_BYTES);
    return 0;
}

static const struct seal_cipher cipher = {.encrypt = encrypt, .decrypt = decrypt};
static const struct core_module *const modules[] = {&identity_module, &secrets_module,
                                                    &parameter_module};

/** What is known of a name. */
struct model {
    bool exists;
    bool deleted;
    int64_t goes_at_ms;
    int current;   ///< value that AWSCURRENT is on; 0 for none
    int parameter; ///< newest value of the parameter of that name; 0 for none
    int versions;  ///< of the parameter, ever since it was made
};

struct world {
    struct harness harness;
    struct model models[NAMES];
    uint64_t dice;
    int values; ///< put so far
    int taken;  ///< operations that were not refused
};

static uint64_t below(struct world *world, uint64_t limit)
{
    world->dice ^= world->dice << 13;
    world->dice ^= world->dice >> 7;
    world->dice ^= world->dice << 17;
    return world->dice % limit;
}

// Call and say whether it was taken.
static bool call(struct world *world, const char *operation, const char *request)
{
    bool taken = harness_call(&world->harness, operation, request)[0] == '{';
    world->taken += taken ? 1 : 0;
    return taken;
}

#define CALL(world, operation, ...)                                                                \
    (snprintf(request, sizeof(request), __VA_ARGS__), call((world), (operation), request))

static void step_secret(struct world *world, int name, struct model *model)
{
    char request[512];
    int value = ++world->values;
    bool live = model->exists && !model->deleted;
    switch (below(world, 8)) {
    case 0:
        if (CALL(world, "CreateSecret", "{'Name':'n%d','SecretString':'%d'}", name, value)) {
            assert_false(model->exists);
            model->exists = true;
            model->current = value;
        } else {
            assert_true(model->exists);
        }
        break;
    case 1:
        assert_int_equal(
            CALL(world, "PutSecretValue", "{'SecretId':'n%d','SecretString':'%d'}", name, value),
            live);
        model->current = live ? value : model->current;
        break;
    case 2:
        assert_int_equal(CALL(world, "PutSecretValue",
                              "{'SecretId':'n%d','SecretString':'%d','VersionStages':['l%d']}",
                              name, value, (int)below(world, 4)),
                         live);
        break;
    case 3:
        if (CALL(world, "GetSecretValue", "{'SecretId':'n%d','VersionStage':'AWSPREVIOUS'}",
                 name) &&
            strstr(world->harness.answer.data, "SecretString") != NULL) {
            char version[80];
            char previous[32];
            char now[80];
            harness_member(&world->harness, "VersionId", version, sizeof(version));
            harness_member(&world->harness, "SecretString", previous, sizeof(previous));
            assert_true(CALL(world, "GetSecretValue", "{'SecretId':'n%d'}", name));
            harness_member(&world->harness, "VersionId", now, sizeof(now));
            assert_true(CALL(world, "UpdateSecretVersionStage",
                             "{'SecretId':'n%d','VersionStage':'AWSCURRENT','MoveToVersionId':'%s',"
                             "'RemoveFromVersionId':'%s'}",
                             name, version, now));
            uint64_t number = 0;
            assert_int_equal(text_to_u64(text_of(previous), &number), 0);
            model->current = (int)number;
        }
        break;
    case 4:
        if (CALL(world, "DeleteSecret", "{'SecretId':'n%d','RecoveryWindowInDays':7}", name)) {
            assert_true(live);
            model->deleted = true;
            model->goes_at_ms = world->harness.now_ms + 7 * DAY_MS;
        } else {
            assert_false(live);
        }
        break;
    case 5:
        if (below(world, 4) == 0) {
            CALL(world, "DeleteSecret", "{'SecretId':'n%d','ForceDeleteWithoutRecovery':true}",
                 name);
            model->exists = false;
            model->deleted = false;
        }
        break;
    case 6:
        assert_int_equal(CALL(world, "RestoreSecret", "{'SecretId':'n%d'}", name), model->exists);
        model->deleted = false;
        break;
    default:
        assert_int_equal(
            CALL(world, "UpdateSecret", "{'SecretId':'n%d','SecretBinary':'MA=='}", name), live);
        if (live) {
            assert_true(CALL(world, "PutSecretValue", "{'SecretId':'n%d','SecretString':'%d'}",
                             name, value));
            model->current = value;
        }
    }
}

static void step_parameter(struct world *world, int name, struct model *model)
{
    char request[512];
    int value = ++world->values;
    switch (below(world, 5)) {
    case 0:
        if (below(world, 8) == 0) {
            assert_int_equal(CALL(world, "DeleteParameter", "{'Name':'n%d'}", name),
                             model->parameter != 0);
            model->parameter = 0;
            model->versions = 0;
        }
        break;
    case 1:
        assert_int_equal(CALL(world, "LabelParameterVersion", "{'Name':'n%d','Labels':['l%d']}",
                              name, (int)below(world, 3)),
                         model->parameter != 0);
        break;
    case 2:
        if (model->versions > 0) {
            CALL(world, "UnlabelParameterVersion",
                 "{'Name':'n%d','ParameterVersion':%d,'Labels':['l0','l1','l2']}", name,
                 1 + (int)below(world, (uint64_t)model->versions));
        }
        break;
    default:
        // Refused only when a label keeps the oldest of a hundred.
        if (CALL(world, "PutParameter",
                 "{'Name':'n%d','Type':'String','Value':'%d','Overwrite':true}", name, value)) {
            model->parameter = value;
            model->versions++;
        } else {
            assert_true(model->versions >= 100);
            assert_non_null(strstr(world->harness.answer.data, "has a label"));
        }
    }
}

static void look(struct world *world, int name, const struct model *model)
{
    char request[256];
    char want[64];
    bool readable = model->exists && !model->deleted;
    assert_int_equal(CALL(world, "GetSecretValue", "{'SecretId':'n%d'}", name), readable);
    snprintf(want, sizeof(want), "\"SecretString\":\"%d\"", model->current);
    if (readable && strstr(world->harness.answer.data, want) == NULL) {
        fail_msg("n%d: %s lacks %s", name, world->harness.answer.data, want);
    }
    assert_int_equal(CALL(world, "GetParameter", "{'Name':'n%d'}", name), model->parameter != 0);
    snprintf(want, sizeof(want), "\"Value\":\"%d\",\"Version\":%d", model->parameter,
             model->versions);
    if (model->parameter != 0 && strstr(world->harness.answer.data, want) == NULL) {
        fail_msg("n%d: %s lacks %s", name, world->harness.answer.data, want);
    }
}

static void pass(struct world *world, int64_t passed_ms)
{
    harness_advance(&world->harness, passed_ms);
    for (int i = 0; i < NAMES; i++) {
        struct model *model = &world->models[i];
        if (model->deleted && model->goes_at_ms <= world->harness.now_ms) {
            model->exists = false;
            model->deleted = false;
        }
    }
}

static void random_operations_keep_the_invariants(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world world = {.dice = seed * 0x9E3779B97F4A7C15u};
        print_message("seed %llu\n", (unsigned long long)seed);
        harness_init(&world.harness, modules, ARRAY_LEN(modules));
        secrets_set_cipher(world.harness.core, &cipher);
        for (int i = 0; i < STEPS; i++) {
            int name = (int)below(&world, NAMES);
            if (below(&world, 2) == 0) {
                step_secret(&world, name, &world.models[name]);
            } else {
                step_parameter(&world, name, &world.models[name]);
            }
            if (below(&world, 50) == 0) {
                pass(&world, (int64_t)below(&world, 3) * DAY_MS);
            }
            if (below(&world, 200) == 0) {
                harness_restart(&world.harness);
                secrets_set_cipher(world.harness.core, &cipher);
                pass(&world, 0);
            }
            look(&world, name, &world.models[name]);
        }
        assert_true(world.taken > STEPS);
        harness_deinit(&world.harness);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
