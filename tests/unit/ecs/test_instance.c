#include "task_world.h"

#include "ecs/task_internal.h"

#include <stdio.h>
#include <string.h>

// A connected instance of the cluster `c`. @return its index
static size_t instance(struct world *world, int cpu_units, int memory_mib)
{
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", cpu_units, memory_mib);
    world_connect(world, node);
    return node;
}

static const char *describe(struct world *world, size_t node)
{
    return harness_call(&world->harness, "DescribeContainerInstances",
                        world_text("{'cluster':'c','containerInstances':['%s'],'include':['TAGS',"
                                   "'CONTAINER_INSTANCE_HEALTH']}",
                                   world->nodes[node].instance));
}

static void has(const char *answer, const char *want)
{
    assert_non_null(answer);
    assert_non_null(want);
    if (strstr(answer, want) == NULL) {
        print_message("lacks %s\n in %s\n", want, answer);
        fail();
    }
}

static void run_job(struct world *world)
{
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'taskArn'");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
}

static void describing_shows_what_is_left(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    const char *answer = describe(world, node);
    has(answer,
        "\"remainingResources\":[{\"name\":\"CPU\",\"type\":\"INTEGER\",\"doubleValue\":0.0,"
        "\"longValue\":0,\"integerValue\":900}");
    has(answer, "\"integerValue\":936}");
    has(answer, "\"status\":\"ACTIVE\",\"agentConnected\":true,\"runningTasksCount\":1,"
                "\"pendingTasksCount\":1");
    has(answer, "\"versionInfo\":{\"agentVersion\":\"0.1.0\"}");
    has(answer, "\"healthStatus\":{\"overallStatus\":\"INSUFFICIENT_DATA\"");
    has(answer, "\"failures\":[]");
    world_submit(world, node, "RUNNING", "");
    has(describe(world, node), "\"runningTasksCount\":1,\"pendingTasksCount\":0");
}

static void ports_in_use_are_shown(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'port','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'portMappings':[{'containerPort':80,'hostPort':8080},{'containerPort':53,"
                     "'hostPort':53,'protocol':'udp'}]}]}",
                     "'revision':1");
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'cluster':'c','attributes':[{'name':"
                     "'com.amazonaws.ecs.capability.docker-remote-api.1.18'}],'totalResources':[{"
                     "'name':'CPU','type':'INTEGER',"
                     "'integerValue':100},{'name':'MEMORY','type':'INTEGER','integerValue':100},"
                     "{'name':'PORTS','type':'STRINGSET','stringSetValue':['22']},"
                     "{'name':'PORTS_UDP','type':'STRINGSET','stringSetValue':[]}]}",
                     "'stringSetValue':['22']");
    char arn[160];
    harness_member(&world->harness, "containerInstanceArn", arn, sizeof(arn));
    world->node_count = 1;
    const char *slash = strrchr(arn, '/');
    snprintf(world->nodes[0].node_id, sizeof(world->nodes[0].node_id), "%s", slash + 1);
    snprintf(world->nodes[0].instance, sizeof(world->nodes[0].instance), "%s", arn);
    world_as_node(world, 0);
    harness_contains(&world->harness, "NodeConnect",
                     world_text("{'session':1,'containerInstanceArn':'%s'}", arn), "leaseMs");
    world_as_root(world);
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'port'}",
                     "'taskArn'");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
    has(describe(world, 0), "\"stringSetValue\":[\"22\",\"8080\"]");
    has(describe(world, 0), "\"stringSetValue\":[\"53\"]");
    harness_restart(&world->harness);
    has(describe(world, 0), "\"stringSetValue\":[\"22\",\"8080\"]");
    world_submit(world, 0, "STOPPED", "");
    harness_advance(&world->harness, 0);
    has(describe(world, 0), "\"stringSetValue\":[\"22\"]");
}

#define GPU_HOST                                                                                   \
    "{'cluster':'c','attributes':[" WORLD_CAPABILITIES "],'platformDevices':[%s],"                 \
    "'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':1000},{'name':'MEMORY',"      \
    "'type':'INTEGER','integerValue':1000}]}"

// Register an instance with GPUs and connect it. @return its index
static size_t gpu_instance(struct world *world, const char *devices)
{
    size_t node = world_join(world);
    world_as_node(world, node);
    harness_contains(&world->harness, "RegisterContainerInstance", world_text(GPU_HOST, devices),
                     "containerInstanceArn");
    harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                   sizeof(world->nodes[node].instance));
    world_connect(world, node);
    return node;
}

#define GPUS_LEFT(ids)                                                                             \
    "{\"name\":\"GPU\",\"type\":\"STRINGSET\",\"doubleValue\":0.0,\"longValue\":0,"                \
    "\"integerValue\":0,"                                                                          \
    "\"stringSetValue\":[" ids "]}]"

// Each container has GPUs of its own, whichever task it is of.
static void gpus_are_handed_out(void **state)
{
    struct world *world = *state;
    size_t node = gpu_instance(world, "{'id':'g0','type':'GPU'},{'id':'g1','type':'GPU'},{'id':"
                                      "'g2','type':'GPU'}");
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'pair','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'resourceRequirements':[{'type':'GPU','value':'1'}]},{'name':'plain','image':"
                     "'i','memory':6},{'name':'b','image':'i','memory':6,'resourceRequirements':[{"
                     "'type':'GPU','value':'1'}]}]}",
                     "'revision':1");
    world_forget(world);
    const char *run = "{'cluster':'c','taskDefinition':'pair'%s}";
    harness_contains(&world->harness, "RunTask", world_text(run, ""), "'gpuIds':['g1']");
    harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
    world_task_has(world, "'gpuIds':['g0']");
    world_effect(world, "'name':'b','containerArn':"); // the host is told which
    world_effect(world, "'gpuIds':['g1']");
    has(describe(world, node), "\"registeredResources\":[");
    has(describe(world, node), GPUS_LEFT("\"g0\",\"g1\",\"g2\""));
    has(describe(world, node), GPUS_LEFT("\"g2\""));
    harness_contains(&world->harness, "RunTask", world_text(run, ""), "'reason':'RESOURCE:GPU'");
    harness_contains(&world->harness, "RunTask",
                     world_text(run, ",'overrides':{'containerOverrides':[{'name':'a',"
                                     "'resourceRequirements':[{'type':'GPU','value':'3'}]}]}"),
                     "'reason':'RESOURCE:GPU'");
    harness_restart(&world->harness);
    world_connect(world, node);
    has(describe(world, node), GPUS_LEFT("\"g2\""));
    world_task_has(world, "'gpuIds':['g1']");
    world_submit(world, node, "STOPPED", "");
    harness_advance(&world->harness, 0);
    has(describe(world, node), "\"remainingResources\":[");
    if (strstr(world->harness.answer.data, GPUS_LEFT("\"g2\"")) != NULL) {
        fail_msg("the GPUs of an ended task are not free: %s", world->harness.answer.data);
    }
    harness_contains(&world->harness, "RunTask", world_text(run, ""), "'gpuIds':['g0']");
}

static void devices_have_names_of_their_own(void **state)
{
    struct world *world = *state;
    static const char *const devices[] = {"{'id':'g','type':'GPU'},{'id':'g','type':'GPU'}",
                                          "{'id':'','type':'GPU'}"};
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        harness_contains(&world->harness, "RegisterContainerInstance",
                         world_text(GPU_HOST, devices[i]),
                         "InvalidParameterException: Platform device id '");
    }
}

static void end_by_report(struct world *world, size_t node)
{
    world_submit(world, node, "RUNNING", "");
    world_submit(world, node, "STOPPED", "");
}

static void end_by_stop(struct world *world, size_t node)
{
    harness_contains(&world->harness, "StopTask",
                     world_text("{'cluster':'c','task':'%s'}", world->task), "STOPPED");
    world_submit(world, node, "STOPPED", "");
}

static void end_by_failure(struct world *world, size_t node)
{
    world_submit(world, node, "STOPPED", ",'reason':'CannotPullContainerError: none'");
}

static void end_by_silence(struct world *world, size_t node)
{
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}",
                                world->nodes[node].instance),
                     "INACTIVE");
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 500);
    }
}

// However a task ends, what it had of its host is there again.
static void every_end_gives_all_back(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *name;
        void (*end)(struct world *world, size_t node);
    } ends[] = {{"report", end_by_report},
                {"StopTask", end_by_stop},
                {"failure", end_by_failure},
                {"forced deregistration of a silent host", end_by_silence}};
    harness_contains(&world->harness, "RegisterTaskDefinition",
                     "{'family':'all','containerDefinitions':[{'name':'a','image':'i','memory':6,"
                     "'cpu':10,'portMappings':[{'containerPort':80,'hostPort':8080},{"
                     "'containerPort':81},{'containerPort':53,'hostPort':53,'protocol':'udp'}],"
                     "'resourceRequirements':[{'type':'GPU','value':'2'}]}]}",
                     "'revision':1");
    size_t node = world_join(world);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        print_message("%s\n", ends[i].name);
        world_as_node(world, node);
        harness_contains(&world->harness, "RegisterContainerInstance",
                         "{'cluster':'c','attributes':[" WORLD_CAPABILITIES
                         "],'platformDevices':[{'id':'g0','type':'GPU'},{'id':'g1','type':'GPU'}],"
                         "'totalResources':[{'name':'CPU','type':'INTEGER','integerValue':100},{"
                         "'name':'MEMORY','type':'INTEGER','integerValue':100},{'name':'PORTS',"
                         "'type':'STRINGSET','stringSetValue':['22']},{'name':'PORTS_UDP','type':"
                         "'STRINGSET','stringSetValue':[]}]}",
                         "containerInstanceArn");
        harness_member(&world->harness, "containerInstanceArn", world->nodes[node].instance,
                       sizeof(world->nodes[node].instance));
        world_connect(world, node);
        char *before = alloc_string(strstr(describe(world, node), "\"remainingResources\""));
        size_t size = (size_t)(strstr(before, "\"registeredResources\"") - before);
        harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'all'}",
                         "'gpuIds':['g0','g1']");
        harness_member(&world->harness, "taskArn", world->task, sizeof(world->task));
        // Ports that are chosen by the host do not count.
        has(describe(world, node),
            "\"remainingResources\":[{\"name\":\"CPU\",\"type\":\"INTEGER\",\"doubleValue\":0.0,"
            "\"longValue\":0,\"integerValue\":90},{\"name\":\"MEMORY\",\"type\":\"INTEGER\","
            "\"doubleValue\":0.0,\"longValue\":0,\"integerValue\":94},{\"name\":\"PORTS\",\"type\":"
            "\"STRINGSET\",\"doubleValue\":0.0,\"longValue\":0,\"integerValue\":0,"
            "\"stringSetValue\":[\"22\",\"8080\"]},{\"name\":\"PORTS_UDP\",\"type\":\"STRINGSET\","
            "\"doubleValue\":0.0,\"longValue\":0,\"integerValue\":0,\"stringSetValue\":[\"53\"]}"
            "," GPUS_LEFT(""));
        ends[i].end(world, node);
        harness_advance(&world->harness, 0);
        world_task_has(world, "'lastStatus':'STOPPED'");
        const char *after = strstr(describe(world, node), "\"remainingResources\"");
        if (strncmp(before, after, size) != 0) {
            fail_msg("before %s\nafter %s", before, after);
        }
        alloc_free(before);
    }
}

static void references_are_ids_or_arns_of_the_cluster(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    const char *id = strrchr(world->nodes[node].instance, '/') + 1;
    harness_contains(&world->harness, "DescribeContainerInstances",
                     world_text("{'cluster':'c','containerInstances':['%s','nope',"
                                "'arn:aws:ecs:eu-west-1:123456789012:container-instance/d/%s']}",
                                id, id),
                     "'failures':[{'arn':'arn:aws:ecs:eu-west-1:123456789012:container-instance/c/"
                     "nope','reason':'MISSING'},{'arn':'arn:aws:ecs:eu-west-1:123456789012:"
                     "container-instance/d/");
    harness_expect(&world->harness, "DescribeContainerInstances",
                   "{'cluster':'c','containerInstances':[]}",
                   "InvalidParameterException: Container instances cannot be empty.");
    harness_expect(&world->harness, "DescribeContainerInstances",
                   "{'cluster':'x','containerInstances':['a']}",
                   "ClusterNotFoundException: Cluster not found.");
}

static void listing_walks_pages_by_status(void **state)
{
    struct world *world = *state;
    size_t first = instance(world, 1000, 1000);
    instance(world, 1000, 1000);
    instance(world, 1000, 1000);
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'DRAINING'}",
                                world->nodes[first].instance),
                     "'status':'DRAINING'");
    harness_expect(&world->harness, "ListContainerInstances", "{'cluster':'c','status':'DRAINING'}",
                   world_text("{'containerInstanceArns':['%s']}", world->nodes[first].instance));
    harness_expect(&world->harness, "ListContainerInstances",
                   "{'cluster':'c','status':'REGISTERING'}", "{'containerInstanceArns':[]}");
    harness_contains(&world->harness, "ListContainerInstances", "{'cluster':'c','maxResults':2}",
                     "'nextToken'");
    char token[80];
    harness_member(&world->harness, "nextToken", token, sizeof(token));
    harness_expect(&world->harness, "ListContainerInstances",
                   world_text("{'cluster':'c','maxResults':2,'nextToken':'%s'}", token),
                   world_text("{'containerInstanceArns':['%s']}", world->nodes[2].instance));
}

static void a_filter_chooses(void **state)
{
    struct world *world = *state;
    instance(world, 1000, 1000);
    world_register(world, world_join(world), "c", "eu-west-1b", 500, 500);
    run_job(world);
    static const struct {
        const char *filter;
        size_t node; // or 9 for none
    } cases[] = {
        {"attribute:ecs.availability-zone == eu-west-1b", 1},
        {"agentConnected == true", 0},
        {"task:group == family:job", 0},
        {"not(task:group =~ .*)", 1},
        {"runningTasksCount > 0", 0},
        {"runningTasksCount > 1", 9},
        {"registeredAt < 2020-01-01", 9},
        {"agentVersion == 0.1.0 and ec2InstanceId =~ i-.*", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *want = cases[i].node == 9 ? "{'containerInstanceArns':[]}"
                                              : world_text("{'containerInstanceArns':['%s']}",
                                                           world->nodes[cases[i].node].instance);
        harness_expect(&world->harness, "ListContainerInstances",
                       world_text("{'cluster':'c','filter':'%s'}", cases[i].filter), want);
    }
    harness_expect(&world->harness, "ListContainerInstances", "{'cluster':'c','filter':'x == y'}",
                   "InvalidParameterException: Invalid cluster query expression: expected a "
                   "subject such as attribute:name or task:group at character 1.");
}

static void a_draining_instance_gets_no_task(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    const char *drain =
        world_text("{'cluster':'c','containerInstances':['%s','gone'],'status':'DRAINING'}",
                   world->nodes[node].instance);
    harness_contains(&world->harness, "UpdateContainerInstancesState", drain,
                     "'version':3"); // registered, connected
    has(harness_call(&world->harness, "UpdateContainerInstancesState", drain),
        "container-instance/c/gone\",\"reason\":\"MISSING\"}");
    has(describe(world, node), "\"status\":\"DRAINING\"");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'tasks':[]");
    harness_restart(&world->harness);
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'tasks':[]");
    world_task_has(world, "'desiredStatus':'RUNNING'"); // what runs there is left alone
    harness_contains(&world->harness, "UpdateContainerInstancesState",
                     world_text("{'cluster':'c','containerInstances':['%s'],'status':'ACTIVE'}",
                                world->nodes[node].instance),
                     "'version':4");
    world_connect(world, node);
    run_job(world);
    harness_expect(&world->harness, "UpdateContainerInstancesState",
                   "{'cluster':'c','containerInstances':['x'],'status':'REGISTERING'}",
                   "InvalidParameterException: Container instance status should be one of [ACTIVE, "
                   "DRAINING]");
}

// A host in contact stops the tasks itself and says how they ended.
static void deregistering_by_force_asks_the_host(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    const char *arn = world->nodes[node].instance;
    harness_expect(&world->harness, "DeregisterContainerInstance",
                   world_text("{'cluster':'c','containerInstance':'%s'}", arn),
                   "InvalidParameterException: Found running tasks on the instance.");
    world_forget(world);
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}", arn),
                     "'status':'INACTIVE'");
    harness_advance(&world->harness, 0);
    world_effect(world, "'desiredStatus':'STOPPED'");
    world_task_has(world, "'lastStatus':'PENDING'");
    world_task_has(world, "'stoppedReason':'Container instance deregistration forced by user'");
    harness_expect(&world->harness, "ListContainerInstances", "{'cluster':'c'}",
                   "{'containerInstanceArns':[]}");
    harness_expect(&world->harness, "DeregisterContainerInstance",
                   world_text("{'cluster':'c','containerInstance':'%s'}", arn),
                   world_text("InvalidParameterException: Referenced container instance %s not "
                              "found.",
                              arn));
    harness_restart(&world->harness);
    world_connect(world, node);
    world_submit(world, node, "STOPPED",
                 ",'containers':[{'containerName':'app','status':'STOPPED','exitCode':7}]");
    world_task_has(world, "'lastStatus':'STOPPED'");

    // Registered anew it is another instance; the old task stays with the old one.
    char old[160];
    snprintf(old, sizeof(old), "%s", arn);
    harness_advance(&world->harness, 1000);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    world_connect(world, node);
    assert_string_not_equal(old, world->nodes[node].instance);
    world_task_has(world, world_text("'containerInstanceArn':'%s'", old));
    run_job(world);
    world_task_has(world, world_text("'containerInstanceArn':'%s'", world->nodes[node].instance));
    has(describe(world, node), "\"pendingTasksCount\":1");
    harness_expect(&world->harness, "ListTasks",
                   world_text("{'cluster':'c','containerInstance':'%s'}", old), "{'taskArns':[]}");
    harness_contains(&world->harness, "ListTasks",
                     world_text("{'cluster':'c','containerInstance':'%s','desiredStatus':"
                                "'STOPPED'}",
                                old),
                     ":task/c/");
    harness_restart(&world->harness);
    world_task_has(world, world_text("'containerInstanceArn':'%s'", world->nodes[node].instance));
}

// A server that was down while the wall clock was set back must not take the tasks of one instance
// of a host for those of another: the new ones would be stopped, or the old ones kept.
static void instances_of_a_host_are_told_apart(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}",
                                world->nodes[node].instance),
                     "'status':'INACTIVE'");
    char old[160];
    char old_task[160];
    snprintf(old, sizeof(old), "%s", world->nodes[node].instance);
    snprintf(old_task, sizeof(old_task), "%s", world->task);
    world->harness.now_ms -= 60000;
    harness_restart(&world->harness);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    world_connect(world, node);
    world->harness.now_ms -= 60000;
    harness_restart(&world->harness);
    world_connect(world, node);
    run_job(world);
    world_task_has(world, world_text("'containerInstanceArn':'%s'", world->nodes[node].instance));
    harness_advance(&world->harness, 0);
    world_task_has(world, "'desiredStatus':'RUNNING'");
    snprintf(world->task, sizeof(world->task), "%s", old_task);
    world_task_has(world, world_text("'containerInstanceArn':'%s'", old));
}

// Of a host that is out of contact nothing will be heard.
static void deregistering_a_silent_host_ends_its_tasks(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 500);
    }
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}",
                                world->nodes[node].instance),
                     "'status':'INACTIVE'");
    harness_advance(&world->harness, 0);
    world_task_has(world, "'lastStatus':'STOPPED'");
    has(describe(world, node), "\"runningTasksCount\":0,\"pendingTasksCount\":0");
}

// A host that is asked to stop its tasks and falls silent before it did: they end with its lease.
static void a_host_that_falls_silent_later_ends_its_tasks(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    run_job(world);
    world_submit(world, node, "RUNNING", "");
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s','force':true}",
                                world->nodes[node].instance),
                     "'status':'INACTIVE'");
    harness_advance(&world->harness, 0);
    world_task_has(world, "'lastStatus':'RUNNING'");
    harness_restart(&world->harness); // nothing of the wait is lost with the server
    for (size_t i = 0; i < 31; i++) {
        harness_advance(&world->harness, 500);
    }
    world_task_has(world, "'lastStatus':'STOPPED'");
    world_task_has(world, "'stopCode':'UserInitiated'");
    world_task_has(world, "'stoppedReason':'Container instance deregistration forced by user'");
    has(describe(world, node), "\"runningTasksCount\":0,\"pendingTasksCount\":0");
    // Should it come back, it learns that the task is to stop.
    world_forget(world);
    world_connect(world, node);
    world_effect(world, "TaskManifestMessage");
    world_no_effect(world, "'desiredStatus':'RUNNING'");
}

// agentConnected is the session and the lease; each change of it is a version and an event.
static void contact_is_counted(void **state)
{
    struct world *world = *state;
    size_t node = world_join(world);
    world_register(world, node, "c", "eu-west-1a", 1000, 1000);
    has(describe(world, node), "\"version\":1,");
    has(describe(world, node), "\"agentConnected\":false");
    world_connect(world, node);
    has(describe(world, node), "\"version\":2,");
    has(describe(world, node), "\"agentConnected\":true");
    world_connect(world, node); // replaced: it was connected all the time
    has(describe(world, node), "\"version\":2,");
    world_forget(world);
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 500);
    }
    has(describe(world, node), "\"version\":3,");
    has(describe(world, node), "\"agentConnected\":false");
    world_effect(world, world_text("EVENT %s ECS Container Instance State Change {",
                                   world->nodes[node].instance));
    world_effect(world, "'agentConnected':false");
    world_forget(world);
    world_beat(world, node); // its session was open all the time, as far as we know
    world_beat(world, node);
    has(describe(world, node), "\"version\":4,");
    has(describe(world, node), "\"agentConnected\":true");
    world_effect(world, "'agentConnected':true");
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeDisconnect", "{'session':2}", "{}");
    world_as_root(world);
    has(describe(world, node), "\"version\":5,");
    has(describe(world, node), "\"agentConnected\":false");
    harness_restart(&world->harness);
    has(describe(world, node), "\"version\":5,");
}

static void say_status(struct world *world, size_t node, const char *statuses)
{
    world_as_node(world, node);
    harness_expect(&world->harness, "NodeInstanceStatus", world_text("{'statuses':[%s]}", statuses),
                   "{}");
    world_as_root(world);
}

static void health_is_what_the_agent_says(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    static const struct {
        const char *said;
        const char *want;
    } cases[] = {
        {"", "\"healthStatus\":{\"overallStatus\":\"INSUFFICIENT_DATA\",\"details\":[{\"type\":"
             "\"CONTAINER_RUNTIME\",\"status\":\"INSUFFICIENT_DATA\"}]}"},
        {"{'type':'CONTAINER_RUNTIME','status':'INITIALIZING','lastUpdated':1700000000,"
         "'lastStatusChange':1700000000}",
         "{\"overallStatus\":\"INITIALIZING\",\"details\":[{\"type\":\"CONTAINER_RUNTIME\","
         "\"status\":\"INITIALIZING\",\"lastUpdated\":1700000000,\"lastStatusChange\":1700000000"
         "}]}"},
        {"{'type':'CONTAINER_RUNTIME','status':'OK','lastUpdated':1700000020,'lastStatusChange':"
         "1700000010}",
         "{\"overallStatus\":\"OK\",\"details\":[{\"type\":\"CONTAINER_RUNTIME\",\"status\":"
         "\"OK\",\"lastUpdated\":1700000020,\"lastStatusChange\":1700000010}]}"},
        // What a newer agent says is passed over, and so is a change that is none.
        {"{'type':'MOON_PHASE','status':'OK'},{'type':'CONTAINER_RUNTIME','status':'FULL'},"
         "{'type':'CONTAINER_RUNTIME','status':'OK','lastUpdated':1700000030,'lastStatusChange':"
         "1700000030}",
         "\"lastUpdated\":1700000030,\"lastStatusChange\":1700000010}]}"},
        {"{'type':'DAEMON','status':'OK','lastUpdated':1700000040},{'type':'CONTAINER_RUNTIME',"
         "'status':'IMPAIRED','lastUpdated':1700000040,'lastStatusChange':1700000040}",
         "{\"overallStatus\":\"IMPAIRED\",\"details\":[{\"type\":\"CONTAINER_RUNTIME\","
         "\"status\":\"IMPAIRED\",\"lastUpdated\":1700000040,\"lastStatusChange\":1700000040},"
         "{\"type\":\"DAEMON\",\"status\":\"OK\","},
        // Amazon's agent has names of its own.
        {"{'type':'ContainerRuntime','status':'OK'},{'type':'EBSDaemon','status':'INITIALIZING'},"
         "{'type':'Agent','status':'IMPAIRED'}",
         "{\"overallStatus\":\"INITIALIZING\",\"details\":[{\"type\":\"CONTAINER_RUNTIME\","
         "\"status\":\"OK\","},
    };
    size_t rows = world->harness.row_count;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].said);
        if (i > 0) {
            say_status(world, node, cases[i].said);
        }
        has(describe(world, node), cases[i].want);
    }
    assert_int_equal(world->harness.row_count, rows);
    for (size_t i = 0; i < 10; i++) {
        harness_advance(&world->harness, 500);
    }
    has(describe(world, node), "{\"overallStatus\":\"INSUFFICIENT_DATA\"");
}

// A node that takes no new tasks is given none, and says why; its tasks are left alone.
static void a_node_that_refuses_gets_no_task(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'failures':[]");
    say_status(world, node,
               "{'type':'CONTAINER_RUNTIME','status':'IMPAIRED','refusal':'the disk is full'}");
    world_effect(world, "'agentConnected':true");
    has(describe(world, node), "{\"overallStatus\":\"IMPAIRED\"");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'reason':'AGENT'");
    harness_contains(&world->harness, "ListNodes", "{}", "'status':'FULL'");
    harness_contains(&world->harness, "ListNodes", "{}", "'refusal':'the disk is full'");
    harness_contains(&world->harness, "ListNodes", "{}", "'taskCount':1");
    say_status(world, node, "{'type':'CONTAINER_RUNTIME','status':'OK'}");
    harness_contains(&world->harness, "ListNodes", "{}", "'status':'ACTIVE'");
    harness_contains(&world->harness, "RunTask", "{'cluster':'c','taskDefinition':'job'}",
                     "'failures':[]");
}

// A stock agent is its one instance: deregistered, it is shown for an hour and then gone.
static void a_stock_instance_goes_after_an_hour(void **state)
{
    struct world *world = *state;
    harness_contains(&world->harness, "RegisterContainerInstance",
                     "{'cluster':'c','totalResources':[{'name':'CPU','type':'INTEGER',"
                     "'integerValue':100},{'name':'MEMORY','type':'INTEGER','integerValue':100}]}",
                     "'ACTIVE'");
    char arn[160];
    harness_member(&world->harness, "containerInstanceArn", arn, sizeof(arn));
    harness_expect(&world->harness, "UpdateContainerAgent",
                   world_text("{'cluster':'c','containerInstance':'%s'}", arn),
                   "MissingVersionException: Unable to determine the current version of the "
                   "container agent.");
    harness_contains(&world->harness, "DeregisterContainerInstance",
                     world_text("{'cluster':'c','containerInstance':'%s'}", arn), "'INACTIVE'");
    harness_advance(&world->harness, 0);
    harness_restart(&world->harness);
    harness_contains(&world->harness, "DescribeContainerInstances",
                     world_text("{'cluster':'c','containerInstances':['%s']}", arn), "'INACTIVE'");
    harness_contains(
        &world->harness, "UpdateContainerInstancesState",
        world_text("{'cluster':'c','containerInstances':['%s'],'status':'ACTIVE'}", arn),
        "'reason':'INACTIVE'");
    harness_advance(&world->harness, TASK_INSTANCE_KEPT_MS);
    harness_contains(&world->harness, "DescribeContainerInstances",
                     world_text("{'cluster':'c','containerInstances':['%s']}", arn), "'MISSING'");
    assert_int_equal(core_count(world->harness.core, &task_node_kind), 0);
}

static void an_agent_has_no_update(void **state)
{
    struct world *world = *state;
    size_t node = instance(world, 1000, 1000);
    harness_expect(
        &world->harness, "UpdateContainerAgent",
        world_text("{'cluster':'c','containerInstance':'%s'}", world->nodes[node].instance),
        "NoUpdateAvailableException: There is no update available for your container "
        "agent.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(describing_shows_what_is_left, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(ports_in_use_are_shown, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(gpus_are_handed_out, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(devices_have_names_of_their_own, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(every_end_gives_all_back, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(references_are_ids_or_arns_of_the_cluster, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(listing_walks_pages_by_status, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_filter_chooses, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_draining_instance_gets_no_task, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(deregistering_by_force_asks_the_host, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(instances_of_a_host_are_told_apart, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(deregistering_a_silent_host_ends_its_tasks, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_host_that_falls_silent_later_ends_its_tasks, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(contact_is_counted, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(health_is_what_the_agent_says, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_node_that_refuses_gets_no_task, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(a_stock_instance_goes_after_an_hour, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(an_agent_has_no_update, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
