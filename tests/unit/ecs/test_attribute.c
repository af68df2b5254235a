#include "task_world.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static size_t instance(struct world *world)
{
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    return node;
}

static const char *id_of(const struct world *world, size_t node)
{
    return strrchr(world->nodes[node].instance, '/') + 1;
}

static void put_list_delete(void **state)
{
    struct world *world = *state;
    size_t node = instance(world);
    const char *arn = world->nodes[node].instance;
    const char *put = world_text("{'cluster':'c','attributes':[{'name':'stack','value':'prod',"
                                 "'targetType':'container-instance','targetId':'%s'},"
                                 "{'name':'bare','targetId':'%s'}]}",
                                 id_of(world, node), arn);
    harness_expect(&world->harness, "PutAttributes", put,
                   world_text("{'attributes':[{'name':'stack','value':'prod','targetId':'%s'},"
                              "{'name':'bare','targetId':'%s'}]}",
                              arn, arn));
    harness_restart(&world->harness);
    const char *list = "{'cluster':'c','targetType':'container-instance','attributeName':'stack'}";
    harness_expect(
        &world->harness, "ListAttributes", list,
        world_text("{'attributes':[{'name':'stack','value':'prod','targetId':'%s'}]}", arn));
    harness_contains(&world->harness, "DescribeContainerInstances",
                     world_text("{'cluster':'c','containerInstances':['%s']}", arn),
                     "{'name':'stack','value':'prod'},{'name':'bare'}");
    // The last of one call holds, and an older value is replaced.
    harness_call(&world->harness, "PutAttributes",
                 world_text("{'cluster':'c','attributes':[{'name':'stack','value':'1','targetId':"
                            "'%s'},{'name':'stack','value':'2','targetId':'%s'}]}",
                            arn, arn));
    harness_expect(
        &world->harness, "ListAttributes", list,
        world_text("{'attributes':[{'name':'stack','value':'2','targetId':'%s'}]}", arn));
    harness_expect(
        &world->harness, "DeleteAttributes",
        world_text("{'cluster':'c','attributes':[{'name':'stack','targetId':'%s'},"
                   "{'name':'none','targetId':'%s'}]}",
                   arn, arn),
        world_text("{'attributes':[{'name':'stack','value':'2','targetId':'%s'}]}", arn));
    harness_expect(&world->harness, "ListAttributes", list, "{'attributes':[]}");
}

static void list_filters_and_pages(void **state)
{
    struct world *world = *state;
    size_t first = instance(world);
    size_t second = instance(world);
    for (size_t i = first; i <= second; i++) {
        harness_contains(&world->harness, "PutAttributes",
                         world_text("{'cluster':'c','attributes':[{'name':'n','value':'%zu',"
                                    "'targetId':'%s'},{'name':'a','value':'x','targetId':'%s'}]}",
                                    i, world->nodes[i].instance, world->nodes[i].instance),
                         "'attributes':[{");
    }
    harness_expect(&world->harness, "ListAttributes",
                   "{'cluster':'c','targetType':'container-instance','attributeName':'n',"
                   "'attributeValue':'1'}",
                   world_text("{'attributes':[{'name':'n','value':'1','targetId':'%s'}]}",
                              world->nodes[second].instance));
    // Every one once, over pages of three, ECS's own among them.
    size_t seen = 0;
    char token[400] = "";
    do {
        const char *next = token[0] == '\0' ? "" : world_text(",'nextToken':'%s'", token);
        const char *page = harness_call(
            &world->harness, "ListAttributes",
            world_text("{'cluster':'c','targetType':'container-instance','maxResults':3%s}", next));
        for (const char *at = page; (at = strstr(at, "\"name\"")) != NULL; at++) {
            seen++;
        }
        bool more = strstr(page, "nextToken") != NULL;
        token[0] = '\0';
        if (more) {
            harness_member(&world->harness, "nextToken", token, sizeof(token));
        }
    } while (token[0] != '\0');
    // Two of its own, ten capabilities, five that every instance has.
    assert_int_equal(seen, 2 * 17);
}

// An agent that registers again does not know of them.
static void they_outlast_a_registration(void **state)
{
    struct world *world = *state;
    size_t node = instance(world);
    harness_call(&world->harness, "PutAttributes",
                 world_text("{'cluster':'c','attributes':[{'name':'stack','value':'prod',"
                            "'targetId':'%s'}]}",
                            world->nodes[node].instance));
    world_register(world, node, "c", "eu-west-1a", 2000, 1000);
    harness_contains(&world->harness, "ListAttributes",
                     "{'cluster':'c','targetType':'container-instance','attributeName':'stack'}",
                     "'value':'prod'");
}

static void ten_of_ones_own(void **state)
{
    struct world *world = *state;
    size_t node = instance(world);
    const char *arn = world->nodes[node].instance;
    struct buf request = {0};
    buf_string(&request, "{'cluster':'c','attributes':[");
    for (int i = 0; i < 10; i++) {
        buf_format(&request, "%s{'name':'n%d','targetId':'%s'}", i == 0 ? "" : ",", i, arn);
    }
    buf_string(&request, "]}");
    harness_contains(&world->harness, "PutAttributes", request.data, "'name':'n9'");
    buf_deinit(&request);
    harness_expect(
        &world->harness, "PutAttributes",
        world_text("{'cluster':'c','attributes':[{'name':'more','targetId':'%s'}]}", arn),
        "AttributeLimitExceededException: A container instance can have at most 10 "
        "custom attributes.");
    harness_contains(&world->harness, "PutAttributes",
                     world_text("{'cluster':'c','attributes':[{'name':'n3','value':'v',"
                                "'targetId':'%s'}]}",
                                arn),
                     "'value':'v'");
}

static void those_of_a_removed_host_are_not_listed(void **state)
{
    struct world *world = *state;
    size_t node = instance(world);
    world_connect(world, node);
    harness_contains(&world->harness, "RunTask",
                     "{'cluster':'c','taskDefinition':'job','launchType':'EC2'}", "'taskArn'");
    harness_contains(&world->harness, "ListAttributes",
                     "{'cluster':'c','targetType':'container-instance'}", "ecs.os-type");
    // Its record stays for as long as its task is shown.
    harness_contains(&world->harness, "RemoveNode",
                     world_text("{'nodeId':'%s','force':true}", world->nodes[node].node_id),
                     "'status':'REMOVED'");
    harness_advance(&world->harness, 0);
    harness_expect(&world->harness, "ListAttributes",
                   "{'cluster':'c','targetType':'container-instance'}", "{'attributes':[]}");
}

static void refusals(void **state)
{
    struct world *world = *state;
    size_t node = instance(world);
    const char *arn = world->nodes[node].instance;
    char gone[160];
    size_t other = instance(world);
    snprintf(gone, sizeof(gone), "%s", world->nodes[other].instance);
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s'}", gone), "INACTIVE");
    static const struct {
        const char *attribute; ///< %s is the ARN of an instance
        const char *want;
    } cases[] = {
        {"{'name':'a','targetId':''}", "InvalidParameterException: Target id can not be blank."},
        {"{'name':'a'}", "InvalidParameterException: Target id can not be blank."},
        {"{'name':'a','targetId':'0123'}",
         "InvalidParameterException: Target type must be specified when the target id is no ARN."},
        {"{'name':'a','targetId':'0123','targetType':'container-instance'}",
         "TargetNotFoundException: Could not find 0123"},
        {"{'name':'a b','targetId':'%s'}",
         "InvalidParameterException: Attribute name 'a b' is not valid: it has 1 to 128 letters, "
         "numbers and -_/\\."},
        {"{'name':'','targetId':'%s'}",
         "InvalidParameterException: Attribute name '' is not valid: it has 1 to 128 letters, "
         "numbers and -_/\\."},
        {"{'name':'ecs.os-type','targetId':'%s'}",
         "InvalidParameterException: Attribute name 'ecs.os-type' is reserved."},
        {"{'name':'a','value':' b','targetId':'%s'}",
         "InvalidParameterException: Value of the attribute 'a' is not valid: it has up to 128 "
         "letters, numbers, -_/\\.@: and spaces inside."},
        {"{'name':'a','value':'b#','targetId':'%s'}",
         "InvalidParameterException: Value of the attribute 'a' is not valid: it has up to 128 "
         "letters, numbers, -_/\\.@: and spaces inside."},
    };
    uint64_t version = core_version(world->harness.core);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].attribute);
        struct text before = text_of(cases[i].attribute);
        size_t at = text_find(before, '%');
        struct text after = at == SIZE_MAX ? TEXT("") : text_slice(before, at + 2, before.size);
        const char *attribute =
            world_text("%.*s%s%.*s", TEXT_FMT(text_slice(before, 0, MIN(at, before.size))),
                       at == SIZE_MAX ? "" : arn, TEXT_FMT(after));
        harness_expect(&world->harness, "PutAttributes",
                       world_text("{'cluster':'c','attributes':[%s]}", attribute), cases[i].want);
    }
    harness_expect(&world->harness, "PutAttributes",
                   world_text("{'cluster':'c','attributes':[{'name':'a','targetId':'%s'}]}", gone),
                   world_text("TargetNotFoundException: Could not find %s", gone));
    harness_expect(&world->harness, "PutAttributes", "{'cluster':'c','attributes':[]}",
                   "InvalidParameterException: Attributes cannot be empty.");
    harness_expect(&world->harness, "PutAttributes", "{'cluster':'x','attributes':[]}",
                   "ClusterNotFoundException: Cluster not found.");
    harness_expect(&world->harness, "DeleteAttributes",
                   world_text("{'cluster':'c','attributes':[{'name':'a','value':'b',"
                              "'targetId':'%s'}]}",
                              arn),
                   "InvalidParameterException: Attributes to delete are named without a value.");
    harness_expect(&world->harness, "ListAttributes",
                   "{'cluster':'c','targetType':'container-instance','attributeValue':'v'}",
                   "InvalidParameterException: You must specify an attribute name to filter by "
                   "value.");
    harness_expect(&world->harness, "ListAttributes",
                   "{'cluster':'c','targetType':'container-instance','nextToken':'x'}",
                   "InvalidParameterException: Invalid token");
    harness_expect(&world->harness, "ListAttributes",
                   "{'cluster':'c','targetType':'container-instance','maxResults':101}",
                   "InvalidParameterException: maxResults must be between 1 and 100.");
    assert_int_equal(core_version(world->harness.core), version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(put_list_delete, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(list_filters_and_pages, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(they_outlast_a_registration, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(ten_of_ones_own, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(those_of_a_removed_host_are_not_listed, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(refusals, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
