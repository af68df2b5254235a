#include "harness.h"

#include "base/text.h"
#include "ecs/ecs.h"
#include "identity/identity.h"

#include <stdio.h>
#include <string.h>

static const struct core_module *const modules[] = {&identity_module, &ecs_module};

static int setup(void **state)
{
    struct harness *harness = ALLOC(struct harness);
    harness_init(harness, modules, ARRAY_LEN(modules));
    *state = harness;
    return 0;
}

static int teardown(void **state)
{
    harness_deinit(*state);
    alloc_free(*state);
    return 0;
}

/** One refusal: members added to a definition that would be fine without them. */
struct refusal {
    const char *members;
    const char *want; ///< behind `ClientException: `
};

static void expect_refusals(struct harness *harness, const char *format,
                            const struct refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char request[2000];
        char want[700];
        print_message("%s\n", cases[i].members);
        snprintf(request, sizeof(request), format, cases[i].members);
        snprintf(want, sizeof(want), "ClientException: %s", cases[i].want);
        harness_expect(harness, "RegisterTaskDefinition", request, want);
    }
    // A refusal leaves nothing behind.
    assert_int_equal(core_count(harness->core, &ecs_definition_kind), 0);
    assert_int_equal(core_count(harness->core, &ecs_family_kind), 0);
}

#define SIZE_HELP                                                                                  \
    " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
#define CONTAINERS "'containerDefinitions':[{'name':'a','image':'b','memory':64}]"

static void family_and_containers(void **state)
{
    static const struct refusal cases[] = {
        {"'family':''," CONTAINERS, "Family should not be null or empty."},
        {"'family':'bad family'," CONTAINERS, "Family contains invalid characters."},
        {"'family':'a/b'," CONTAINERS, "Family contains invalid characters."},
        {"'family':'f','containerDefinitions':[]", "Container list cannot be empty."},
        {"'family':'f','containerDefinitions':[{},{},{},{},{},{},{},{},{},{},{}]",
         "Too many containers."},
        {"'family':'f','containerDefinitions':[{'image':'x'}]",
         "Container.name should not be null or empty."},
        {"'family':'f','containerDefinitions':[{'name':'','image':'x'}]",
         "Container.name should not be null or empty."},
        {"'family':'f','containerDefinitions':[{'name':'x'}]",
         "Container.image should not be null or empty."},
        {"'family':'f','containerDefinitions':[{'name':'a b','image':'x'}]",
         "Container.name contains invalid characters."},
        {"'family':'f','containerDefinitions':[{'name':'a','image':'b','memory':64},"
         "{'name':'a','image':'b','memory':64}]",
         "Container names must be unique within a Task Definition."},
        {"'family':'f','containerDefinitions':[{'name':'a','image':'b','memory':64,"
         "'essential':false}]",
         "Task definition doesn't have any essential container."},
    };
    expect_refusals(*state, "{%s}", cases, ARRAY_LEN(cases));
}

static void task_members(void **state)
{
    static const struct refusal cases[] = {
        {"'cpu':'abc'", "Invalid 'cpu' setting for task." SIZE_HELP},
        {"'cpu':'127'", "Invalid 'cpu' setting for task." SIZE_HELP},
        {"'cpu':'196609'", "Invalid 'cpu' setting for task." SIZE_HELP},
        {"'memory':'3'", "Invalid 'memory' setting for task." SIZE_HELP},
        {"'memory':'-1'", "Invalid 'memory' setting for task." SIZE_HELP},
        {"'taskRoleArn':'a role'", "Role is not valid"},
        {"'executionRoleArn':'arn:aws:s3:::bucket'", "Role is not valid"},
        {"'placementConstraints':[{'type':'memberOf'}]",
         "The expression of a memberOf placement constraint cannot be empty."},
        {"'placementConstraints':[{}]", "Placement constraint type should be one of [memberOf]."},
        {"'ephemeralStorage':{'sizeInGiB':20}",
         "Invalid setting for ephemeralStorage: 'sizeInGiB' must be between 21 and 200."},
        {"'ephemeralStorage':{'sizeInGiB':201}",
         "Invalid setting for ephemeralStorage: 'sizeInGiB' must be between 21 and 200."},
        {"'proxyConfiguration':{'containerName':'x'}",
         "Invalid proxyConfiguration: container 'x' does not exist."},
        {"'networkMode':'awsvpc','proxyConfiguration':{'containerName':'a','properties':["
         "{'name':'Color','value':'x'}]}",
         "Invalid proxyConfiguration: unknown property 'Color'."},
        {"'placementConstraints':[{'type':'memberOf','expression':'attribute:a =~'}]",
         "Invalid cluster query expression: expected a value at character 15."},
        {"'proxyConfiguration':{'containerName':'a'}",
         "proxyConfiguration is only supported when networkMode=awsvpc."},
        {"'memory':'32'", "The 'memory' setting for container is greater than for the task."},
        {"'requiresCompatibilities':['EXTERNAL'],'networkMode':'awsvpc'",
         "The EXTERNAL launch type does not support network mode awsvpc."},
    };
    expect_refusals(*state, "{'family':'f'," CONTAINERS ",%s}", cases, ARRAY_LEN(cases));
}

static void container_members(void **state)
{
    static const struct refusal cases[] = {
        {"'image':':1'", "Container.image repository should not be null or empty."},
        {"'image':'@sha256:00'", "Container.image repository should not be null or empty."},
        {"'image':'a b'", "Container.image contains invalid characters."},
        {"'image':'a@sha256:00'", "Container.image contains invalid characters."},
        {"'image':'b','memory':null",
         "Invalid setting for container 'a'. At least one of 'memory' or 'memoryReservation' must "
         "be specified."},
        {"'image':'b','memory':0", "Invalid 'memory' setting for container 'a'."},
        {"'image':'b','memory':5", "Invalid 'memory' setting for container 'a'."},
        {"'image':'b','memoryReservation':5",
         "Invalid 'memoryReservation' setting for container 'a'."},
        {"'image':'b','memory':10,'memoryReservation':11",
         "Invalid setting for container 'a'. 'memoryReservation' cannot be greater than 'memory'."},
        {"'image':'b','memory':64,'cpu':-1", "Invalid 'cpu' setting for container 'a'."},
        {"'image':'b','memory':64,'environment':[{'value':'x'}]",
         "Invalid 'environment' setting for container 'a'. A name cannot be empty or contain '='."},
        {"'image':'b','memory':64,'environment':[{'name':'A=B','value':'x'}]",
         "Invalid 'environment' setting for container 'a'. A name cannot be empty or contain '='."},
        {"'image':'b','memory':64,'environment':[{'name':'A','value':'x'}],"
         "'secrets':[{'name':'A','valueFrom':'x'}]",
         "The secret name must be unique and not shared with any new or existing environment "
         "variables set on the container, such as 'A'."},
        {"'image':'b','memory':64,'secrets':[{'name':'A','valueFrom':''}]",
         "Invalid 'secrets' setting for container 'a'."},
        {"'image':'b','memory':64,'environmentFiles':[{'type':'s3','value':'arn:aws:s3:::b/x'}]",
         "Invalid 'environmentFiles' setting for container 'a'. The value must be the ARN of an S3 "
         "object that ends with '.env'."},
        {"'image':'b','memory':64,'healthCheck':{'command':[]}",
         "Invalid 'healthCheck' setting for container 'a'. The command cannot be empty."},
        {"'image':'b','memory':64,'healthCheck':{'command':['x'],'interval':4}",
         "Invalid 'healthCheck' setting for container 'a'. 'interval' must be between 5 and 300."},
        {"'image':'b','memory':64,'healthCheck':{'command':['x'],'timeout':61}",
         "Invalid 'healthCheck' setting for container 'a'. 'timeout' must be between 2 and 60."},
        {"'image':'b','memory':64,'healthCheck':{'command':['x'],'retries':0}",
         "Invalid 'healthCheck' setting for container 'a'. 'retries' must be between 1 and 10."},
        {"'image':'b','memory':64,'healthCheck':{'command':['x'],'startPeriod':301}",
         "Invalid 'healthCheck' setting for container 'a'. 'startPeriod' must be between 0 and "
         "300."},
        {"'image':'b','memory':64,'stopTimeout':-1",
         "Invalid 'stopTimeout' setting for container 'a'."},
        {"'image':'b','memory':64,'startTimeout':-1",
         "Invalid 'startTimeout' setting for container 'a'."},
        {"'image':'b','memory':64,'restartPolicy':{'enabled':true,'restartAttemptPeriod':59}",
         "Invalid 'restartPolicy' setting for container 'a'. 'restartAttemptPeriod' must be "
         "between "
         "60 and 1800, and there can be at most 50 'ignoredExitCodes'."},
    };
    expect_refusals(*state, "{'family':'f','containerDefinitions':[{'name':'a',%s}]}", cases,
                    ARRAY_LEN(cases));
}

static void kernel_members(void **state)
{
    static const struct refusal cases[] = {
        {"'linuxParameters':{'swappiness':101}", "Invalid 'swappiness' setting for container 'a'."},
        {"'linuxParameters':{'maxSwap':-1}", "Invalid 'maxSwap' setting for container 'a'."},
        {"'linuxParameters':{'sharedMemorySize':0}",
         "Invalid 'sharedMemorySize' setting for container 'a'."},
        {"'linuxParameters':{'devices':[{'hostPath':'dev'}]}",
         "Invalid 'devices' setting for container 'a'."},
        {"'linuxParameters':{'tmpfs':[{'containerPath':'x','size':1}]}",
         "Invalid 'tmpfs' setting for container 'a'. It needs an absolute containerPath and a size "
         "in MiB greater than 0."},
        {"'linuxParameters':{'capabilities':{'add':['CAP_CHOWN']}}",
         "Invalid capability 'CAP_CHOWN' for container 'a'."},
        {"'linuxParameters':{'capabilities':{'drop':['NO']}}",
         "Invalid capability 'NO' for container 'a'."},
        {"'ulimits':[{'name':'nofile','softLimit':2,'hardLimit':1}]",
         "Invalid 'ulimits' setting for container 'a'. Each limit can be set once, and 'softLimit' "
         "cannot be greater than 'hardLimit'."},
        {"'ulimits':[{'name':'nofile','softLimit':-1,'hardLimit':1}]",
         "Invalid 'ulimits' setting for container 'a'. Each limit can be set once, and 'softLimit' "
         "cannot be greater than 'hardLimit'."},
        {"'ulimits':[{'name':'nofile','softLimit':1,'hardLimit':1},"
         "{'name':'nofile','softLimit':1,'hardLimit':1}]",
         "Invalid 'ulimits' setting for container 'a'. Each limit can be set once, and 'softLimit' "
         "cannot be greater than 'hardLimit'."},
        {"'systemControls':[{'namespace':'kernel.panic','value':'1'}]",
         "Invalid 'systemControls' setting for container 'a': 'kernel.panic'."},
        {"'resourceRequirements':[{'type':'GPU','value':'0'}]",
         "Invalid 'resourceRequirements' setting for container 'a'."},
        {"'resourceRequirements':[{'type':'InferenceAccelerator','value':'d'}]",
         "Invalid 'resourceRequirements' setting for container 'a'."},
        {"'firelensConfiguration':{'type':'fluentd','options':{'color':'red'}}",
         "Invalid 'firelensConfiguration' setting for container 'a': unknown option 'color'."},
        {"'firelensConfiguration':{'type':'fluentd','options':{'config-file-type':'http',"
         "'config-file-value':'x'}}",
         "Invalid 'firelensConfiguration' setting for container 'a': config-file-type must be s3 "
         "or "
         "file, and comes with a config-file-value."},
        {"'firelensConfiguration':{'type':'fluentd','options':{'config-file-type':'s3'}}",
         "Invalid 'firelensConfiguration' setting for container 'a': config-file-type must be s3 "
         "or "
         "file, and comes with a config-file-value."},
        {"'credentialSpecs':['a','b']", "Invalid 'credentialSpecs' setting for container 'a'."},
    };
    expect_refusals(*state,
                    "{'family':'f','containerDefinitions':[{'name':'a','image':'b','memory':64,%s}"
                    "]}",
                    cases, ARRAY_LEN(cases));
}

static void log_members(void **state)
{
    static const struct refusal cases[] = {
        {"'logDriver':'awslogs'",
         "Log driver awslogs requires options: awslogs-region, awslogs-group"},
        {"'logDriver':'awslogs','options':{'awslogs-group':'g'}",
         "Log driver awslogs requires options: awslogs-region"},
        {"'logDriver':'awslogs','options':{'awslogs-region':'r'}",
         "Log driver awslogs requires options: awslogs-group"},
        {"'logDriver':'awslogs','options':{'awslogs-region':'r','awslogs-group':'g','tag':'t'}",
         "Log driver awslogs disallows options: tag"},
        {"'logDriver':'json-file','options':{'mode':'fast'}",
         "Invalid log mode 'fast' for container 'a'. It must be blocking or non-blocking."},
        {"'logDriver':'awsfirelens'",
         "When a container uses the log driver awsfirelens, one container must have a "
         "firelensConfiguration."},
        {"'logDriver':'splunk','secretOptions':[{'name':'splunk-token','valueFrom':''}]",
         "Invalid 'secretOptions' setting for container 'a'."},
    };
    expect_refusals(*state,
                    "{'family':'f','containerDefinitions':[{'name':'a','image':'b','memory':64,"
                    "'logConfiguration':{%s}}]}",
                    cases, ARRAY_LEN(cases));
}

static void port_members(void **state)
{
    static const struct refusal cases[] = {
        {"'portMappings':[{}]", "Invalid 'containerPort' setting for container 'a'."},
        {"'portMappings':[{'hostPort':80}]", "Invalid 'containerPort' setting for container 'a'."},
        {"'portMappings':[{'containerPort':0}]",
         "Invalid 'containerPort' setting for container 'a'."},
        {"'portMappings':[{'containerPort':65536}]",
         "Invalid 'containerPort' setting for container 'a'."},
        {"'portMappings':[{'containerPort':80,'hostPort':81}]",
         "When networkMode=awsvpc, the host ports and container ports in port mappings must "
         "match."},
        {"'portMappings':[{'containerPort':80,'hostPort':-1}]",
         "Invalid 'hostPort' setting for container 'a'."},
        {"'portMappings':[{'containerPortRange':'80-80'}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'portMappings':[{'containerPortRange':'81-80'}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'portMappings':[{'containerPortRange':'80'}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'portMappings':[{'containerPortRange':'80-90','containerPort':80}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'portMappings':[{'containerPortRange':'80-90'},{'containerPortRange':'90-99'}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'portMappings':[{'containerPort':80},{'containerPort':80,'protocol':'tcp'}]",
         "TCP host port '80' is mapped multiple times in task."},
        {"'portMappings':[{'containerPort':80,'name':'Web'}]",
         "Invalid port mapping name 'Web' for container 'a'. Up to 64 lowercase letters, digits, "
         "underscores and hyphens are allowed, and it cannot begin with a hyphen."},
        {"'portMappings':[{'containerPort':80,'name':'web'},{'containerPort':81,'name':'web'}]",
         "The port mapping name 'web' is used more than once."},
        {"'links':['a']", "Links are not supported when networkMode=awsvpc."},
        {"'hostname':'h'", "hostname is not supported on container when networkMode=awsvpc."},
        {"'extraHosts':[{'hostname':'h','ipAddress':'1.2.3.4'}]",
         "Extra hosts are not supported on container when networkMode=awsvpc."},
    };
    expect_refusals(*state,
                    "{'family':'f','networkMode':'awsvpc','containerDefinitions':["
                    "{'name':'a','image':'b','memory':64,%s}]}",
                    cases, ARRAY_LEN(cases));
    static const struct refusal host[] = {
        {"'portMappings':[{'containerPort':80,'hostPort':81}]",
         "When networkMode=host, the host ports and container ports in port mappings must match."},
        {"'portMappings':[{'containerPortRange':'80-90'}]",
         "Invalid 'containerPortRange' setting for container 'a'."},
        {"'links':['a']", "Links are not supported when networkMode=host."},
        {"'systemControls':[{'namespace':'net.core.somaxconn','value':'1'}]",
         "Invalid 'systemControls' setting for container 'a': 'net.core.somaxconn'."},
    };
    expect_refusals(*state,
                    "{'family':'f','networkMode':'host','containerDefinitions':["
                    "{'name':'a','image':'b','memory':64,%s}]}",
                    host, ARRAY_LEN(host));
    static const struct refusal none[] = {
        {"'portMappings':[{'containerPort':80}]",
         "Port mappings are not supported when networkMode=none."},
    };
    expect_refusals(*state,
                    "{'family':'f','networkMode':'none','containerDefinitions':["
                    "{'name':'a','image':'b','memory':64,%s}]}",
                    none, ARRAY_LEN(none));
}

/** A container of the relations below. */
#define ONE(name, members) "{'name':'" name "','image':'i','memory':64" members "}"

static void relations(void **state)
{
    static const struct refusal cases[] = {
        {"'containerDefinitions':[" ONE(
             "a", ",'dependsOn':[{'containerName':'x','condition':'START'}]") "]",
         "Cannot depend on container + 'x' because it does not exist"},
        {"'containerDefinitions':[" ONE(
             "a", ",'dependsOn':[{'containerName':'b','condition':'SUCCESS'}]") "," ONE("b",
                                                                                        "") "]",
         "A dependency container with SUCCESS or COMPLETE condition cannot be an essential "
         "container"},
        {"'containerDefinitions':[" ONE("a", ",'dependsOn':[{'containerName':'b','condition':'"
                                             "COMPLETE'}]") "," ONE("b", ",'essential':true") "]",
         "A dependency container with SUCCESS or COMPLETE condition cannot be an essential "
         "container"},
        {"'containerDefinitions':[" ONE(
             "a", ",'dependsOn':[{'containerName':'b','condition':'HEALTHY'}]") "," ONE("b",
                                                                                        "") "]",
         "Cannot depend on container 'b' with HEALTHY condition because it has no health check"},
        {"'containerDefinitions':[" ONE(
             "a", ",'dependsOn':[{'containerName':'a','condition':'START'}]") "]",
         "Container dependencies should not have a cycle"},
        {"'containerDefinitions':[" ONE(
             "a", ",'dependsOn':[{'containerName':'b','condition':'"
                  "START'}]") "," ONE("b", ",'dependsOn':[{'containerName':'c','condition':'START'}"
                                           "]") "," ONE("c", ",'dependsOn':[{'"
                                                             "containerName':'"
                                                             "a','condition':'"
                                                             "START'}]") "]",
         "Container dependencies should not have a cycle"},
        {"'containerDefinitions':[" ONE("a", ",'links':['b:x']") "]",
         "Container 'a' links to 'b', which does not exist."},
        {"'containerDefinitions':[" ONE("a", ",'links':['b']") "," ONE("b", ",'links':['a']") "]",
         "Container links should not have a cycle"},
        {"'containerDefinitions':[" ONE("a", ",'volumesFrom':[{'sourceContainer':'b'}]") "]",
         "Container 'a' takes volumes from 'b', which does not exist."},
        {"'containerDefinitions':[" ONE("a", ",'volumesFrom':[{'sourceContainer':'a'}]") "]",
         "Container volumesFrom should not have a cycle"},
        {"'cpu':'1024','containerDefinitions':[" ONE("a", ",'cpu':1000") "," ONE("b",
                                                                                 ",'cpu':25") "]",
         "The sum of all container 'cpu' values cannot be greater than the value of the task "
         "'cpu'."},
        {"'memory':'100','containerDefinitions':[" ONE("a", ",'memoryReservation':60") "," ONE(
             "b", ",'memoryReservation':60") "]",
         "The sum of all container 'memoryReservation' values cannot be greater than the value of "
         "the task 'memory'."},
        {"'containerDefinitions':[" ONE(
             "a",
             ",'firelensConfiguration':{'type':'fluentbit'}") "," ONE("b",
                                                                      ",'firelensConfiguration':{'"
                                                                      "type':'fluentd'}") "]",
         "Only one container of a task definition can have a firelensConfiguration."},
    };
    expect_refusals(*state, "{'family':'f',%s}", cases, ARRAY_LEN(cases));
}

static void volumes(void **state)
{
    static const struct refusal cases[] = {
        {"'volumes':[{}]",
         "Invalid volume name ''. Up to 255 letters, digits, underscores and hyphens are allowed."},
        {"'volumes':[{'name':'a b'}]", "Invalid volume name 'a b'. Up to 255 letters, digits, "
                                       "underscores and hyphens are allowed."},
        {"'volumes':[{'name':'v'},{'name':'v'}]", "The volume name 'v' is used more than once."},
        {"'volumes':[{'name':'v','host':{},'efsVolumeConfiguration':{'fileSystemId':'f'}}]",
         "Volume 'v' can have one kind of configuration only."},
        {"'volumes':[{'name':'v','dockerVolumeConfiguration':{'autoprovision':true}}]",
         "Volume 'v': autoprovision needs the scope shared."},
        {"'volumes':[{'name':'v','efsVolumeConfiguration':{'fileSystemId':'f',"
         "'authorizationConfig':{'iam':'ENABLED'}}}]",
         "Volume 'v': transitEncryption must be ENABLED when an access point or IAM authorization "
         "is used."},
        {"'volumes':[{'name':'v','efsVolumeConfiguration':{'fileSystemId':'f','rootDirectory':'/a',"
         "'transitEncryption':'ENABLED','authorizationConfig':{'accessPointId':'p'}}}]",
         "Volume 'v': rootDirectory must be / or absent when an access point is used."},
        {"'volumes':[{'name':'v','configuredAtLaunch':true},"
         "{'name':'w','configuredAtLaunch':true}]",
         "Only one volume of a task definition can be configured at launch."},
    };
    expect_refusals(*state, "{'family':'f'," CONTAINERS ",%s}", cases, ARRAY_LEN(cases));
    static const struct refusal mounts[] = {
        {"{'sourceVolume':'w','containerPath':'/w'}", "Unknown volume 'w'."},
        {"{'sourceVolume':'v','containerPath':'w'}",
         "Invalid 'containerPath' setting for container 'a'."},
        {"{'sourceVolume':'v'}", "Invalid 'containerPath' setting for container 'a'."},
    };
    expect_refusals(*state,
                    "{'family':'f','volumes':[{'name':'v'}],'containerDefinitions':["
                    "{'name':'a','image':'b','memory':64,'mountPoints':[%s]}]}",
                    mounts, ARRAY_LEN(mounts));
}

/** A definition that Fargate takes but for what a case adds. */
#define FARGATE "'family':'f','requiresCompatibilities':['FARGATE']"
#define PLAIN "'containerDefinitions':[{'name':'a','image':'b'}]"

static void fargate_task(void **state)
{
    static const struct refusal cases[] = {
        {"'cpu':'256','memory':'512'", "Fargate only supports network mode ‘awsvpc’."},
        {"'cpu':'256','memory':'512','networkMode':'bridge'",
         "Fargate only supports network mode ‘awsvpc’."},
        {"'memory':'512','networkMode':'awsvpc'",
         "Fargate requires that 'cpu' be defined at the task level."},
        {"'cpu':'256','memory':'513','networkMode':'awsvpc'",
         "No Fargate configuration exists for given values."},
        {"'cpu':'300','memory':'512','networkMode':'awsvpc'",
         "No Fargate configuration exists for given values."},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc',"
         "'runtimePlatform':{'operatingSystemFamily':'WINDOWS_SERVER_2022_CORE'}",
         "No Fargate configuration exists for given values."},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc','ipcMode':'task'",
         "Tasks using the Fargate launch type do not support ipcMode."},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc','pidMode':'host'",
         "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value "
         "for pidMode is 'task'."},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc',"
         "'placementConstraints':[{'type':'memberOf','expression':'attribute:x exists'}]",
         "Fargate compatible task definitions do not support placementConstraints"},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc',"
         "'volumes':[{'name':'v','host':{'sourcePath':'/x'}}]",
         "Fargate compatible task definitions do not support sourcePath"},
        {"'cpu':'256','memory':'512','networkMode':'awsvpc',"
         "'volumes':[{'name':'v','dockerVolumeConfiguration':{}}]",
         "Fargate compatible task definitions do not support dockerVolumeConfiguration"},
    };
    expect_refusals(*state, "{" FARGATE "," PLAIN ",%s}", cases, ARRAY_LEN(cases));
    static const struct refusal memory[] = {
        {"'memory':64", "Fargate requires that 'memory' be defined at the task level."},
    };
    expect_refusals(*state,
                    "{" FARGATE ",'cpu':'256','networkMode':'awsvpc',"
                    "'containerDefinitions':[{'name':'a','image':'b',%s}]}",
                    memory, ARRAY_LEN(memory));
}

static void fargate_container(void **state)
{
    static const struct refusal cases[] = {
        {"'privileged':true", "Fargate compatible task definitions do not support privileged"},
        {"'dnsServers':['1.1.1.1']",
         "Fargate compatible task definitions do not support dnsServers"},
        {"'dockerSecurityOptions':['x']",
         "Fargate compatible task definitions do not support dockerSecurityOptions"},
        {"'resourceRequirements':[{'type':'GPU','value':'1'}]",
         "Fargate compatible task definitions do not support resourceRequirements"},
        {"'linuxParameters':{'devices':[{'hostPath':'/dev/x'}]}",
         "Fargate compatible task definitions do not support devices"},
        {"'linuxParameters':{'sharedMemorySize':64}",
         "Fargate compatible task definitions do not support sharedMemorySize"},
        {"'linuxParameters':{'maxSwap':64}",
         "Fargate compatible task definitions do not support maxSwap"},
        {"'linuxParameters':{'swappiness':60}",
         "Fargate compatible task definitions do not support swappiness"},
        {"'linuxParameters':{'capabilities':{'add':['SYS_PTRACE','NET_ADMIN']}}",
         "Fargate compatible task definitions do not support adding the capability NET_ADMIN"},
        {"'stopTimeout':121",
         "Invalid 'stopTimeout' setting for container 'a'. Fargate supports values between 2 and "
         "120."},
        {"'startTimeout':1",
         "Invalid 'startTimeout' setting for container 'a'. Fargate supports values between 2 and "
         "120."},
        {"'logConfiguration':{'logDriver':'json-file'}",
         "Fargate compatible task definitions do not support the log driver json-file"},
        {"'logConfiguration':{'logDriver':'awslogs','options':{'awslogs-group':'g',"
         "'awslogs-region':'r'}}",
         "Log driver awslogs requires options: awslogs-stream-prefix"},
    };
    expect_refusals(*state,
                    "{" FARGATE ",'cpu':'256','memory':'512','networkMode':'awsvpc',"
                    "'containerDefinitions':[{'name':'a','image':'b',%s}]}",
                    cases, ARRAY_LEN(cases));
}

static void size_is_bounded(void **state)
{
    struct harness *harness = *state;
    struct buf request = {0};
    buf_string(&request, "{'family':'f','containerDefinitions':[{'name':'a','image':'b',"
                         "'memory':64,'command':['");
    for (int i = 0; i < 66000; i++) {
        buf_byte(&request, 'x');
    }
    buf_string(&request, "']}]}");
    // Written as compactly as the codec does, the request has the size that is refused.
    char want[200];
    snprintf(want, sizeof(want),
             "ClientException: Actual length: '%zu'. Max allowed length is '65536' bytes.",
             request.size);
    harness_expect(harness, "RegisterTaskDefinition", request.data, want);
    buf_deinit(&request);
}

/** What a definition becomes: a part of the response. */
struct normalised {
    const char *request;
    const char *want;
};

static void normalisation(void **state)
{
    struct harness *harness = *state;
    static const struct normalised cases[] = {
        {CONTAINERS, "'networkMode':'bridge','revision':1,'volumes':[]"},
        {CONTAINERS, "{'name':'a','image':'b','cpu':0,'memory':64,'portMappings':[],"
                     "'essential':true,'environment':[],'mountPoints':[],'volumesFrom':[],"
                     "'systemControls':[]}"},
        {CONTAINERS, "'placementConstraints':[],'compatibilities':['EXTERNAL','EC2'],"
                     "'registeredAt'"},
        {CONTAINERS ",'cpu':'.5 vCPU','memory':'2 GB'", "'cpu':'512','memory':'2048'"},
        {CONTAINERS ",'taskRoleArn':'app'", "'taskRoleArn':'arn:aws:iam::123456789012:role/app'"},
        {CONTAINERS ",'executionRoleArn':'arn:aws:iam::1234567890ab:role/x'",
         "'executionRoleArn':'arn:aws:iam::1234567890ab:role/x'"},
        {CONTAINERS ",'volumes':[{'name':'v'}]", "'volumes':[{'name':'v','host':{}}]"},
        {CONTAINERS ",'volumes':[{'name':'v','configuredAtLaunch':true}]",
         "'volumes':[{'name':'v','configuredAtLaunch':true}]"},
        {"'containerDefinitions':[" ONE("a", ",'portMappings':[{'containerPort':80}]") "]",
         "'portMappings':[{'containerPort':80,'hostPort':0,'protocol':'tcp'}]"},
        {"'containerDefinitions':[" ONE(
             "a", ",'portMappings':[{'containerPort':80,'hostPort':8080,'protocol':'udp'}]") "]",
         "'portMappings':[{'containerPort':80,'hostPort':8080,'protocol':'udp'}]"},
        {"'networkMode':'host','containerDefinitions':[" ONE(
             "a", ",'portMappings':[{'containerPort':80,'hostPort':0}]") "]",
         "'portMappings':[{'containerPort':80,'hostPort':80,'protocol':'tcp'}]"},
        {"'networkMode':'awsvpc','containerDefinitions':[" ONE(
             "a", ",'portMappings':[{'containerPortRange':'80-90'}]") "]",
         "'portMappings':[{'protocol':'tcp','containerPortRange':'80-90'}]"},
        {"'containerDefinitions':[" ONE("a", ",'healthCheck':{'command':['CMD','true']}") "]",
         "'healthCheck':{'command':['CMD','true'],'interval':30,'timeout':5,'retries':3}"},
        {"'networkMode':'awsvpc','cpu':'256','memory':'512'," CONTAINERS,
         "'compatibilities':['EC2','FARGATE']"},
        {"'networkMode':'awsvpc','cpu':'256','memory':'512','pidMode':'host'," CONTAINERS,
         "'compatibilities':['EC2']"},
        {"'containerDefinitions':[" ONE("a", ",'essential':false") "," ONE(
             "b", ",'dependsOn':[{'containerName':'a',"
                  "'condition':'SUCCESS'}]") "]",
         "'dependsOn':[{'containerName':'a','condition':'SUCCESS'}]"},
        {CONTAINERS ",'enableFaultInjection':true", "'enableFaultInjection':true"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[1000];
        print_message("%s\n", cases[i].request);
        snprintf(request, sizeof(request), "{'family':'f%zu',%s}", i, cases[i].request);
        harness_contains(harness, "RegisterTaskDefinition", request, cases[i].want);
    }
}

// Features that a host must have to run the definition.
static void required_attributes(void **state)
{
    struct harness *harness = *state;
    static const struct normalised cases[] = {
        {CONTAINERS, "'requiresAttributes':["
                     "{'name':'com.amazonaws.ecs.capability.docker-remote-api.1.18'}]"},
        {CONTAINERS ",'taskRoleArn':'r'", "com.amazonaws.ecs.capability.task-iam-role'"},
        {CONTAINERS ",'taskRoleArn':'r','networkMode':'host'",
         "com.amazonaws.ecs.capability.task-iam-role-network-host"},
        {CONTAINERS ",'networkMode':'awsvpc'", "ecs.capability.task-eni"},
        {CONTAINERS ",'memory':'512'", "ecs.capability.task-cpu-mem-limit"},
        {CONTAINERS ",'enableFaultInjection':true", "ecs.capability.fault-injection"},
        {CONTAINERS ",'pidMode':'task'", "ecs.capability.pid-ipc-namespace-sharing"},
        {CONTAINERS ",'volumes':[{'name':'v','efsVolumeConfiguration':{'fileSystemId':'f'}}]",
         "ecs.capability.efsAuth"},
        {CONTAINERS ",'volumes':[{'name':'v','dockerVolumeConfiguration':{'driver':'d'}}]",
         "ecs.capability.docker-plugin.d"},
        {"'containerDefinitions':[" ONE("a", ",'privileged':true") "]",
         "com.amazonaws.ecs.capability.privileged-container"},
        {"'containerDefinitions':[" ONE("a", ",'secrets':[{'name':'A','valueFrom':'p'}]") "]",
         "ecs.capability.secrets.ssm.environment-variables"},
        {"'containerDefinitions':[" ONE("a", ",'secrets':[{'name':'A','valueFrom':"
                                             "'arn:aws:secretsmanager:r:a:secret:x'}]") "]",
         "ecs.capability.secrets.asm.environment-variables"},
        {"'containerDefinitions':[" ONE("a", ",'restartPolicy':{'enabled':true}") "]",
         "ecs.capability.container-restart-policy"},
        {"'executionRoleArn':'r','containerDefinitions':[{'name':'a','memory':64,'image':"
         "'123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1'}]",
         "ecs.capability.execution-role-ecr-pull"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[1000];
        print_message("%s\n", cases[i].request);
        snprintf(request, sizeof(request), "{'family':'f',%s}", cases[i].request);
        harness_contains(harness, "RegisterTaskDefinition", request, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(family_and_containers, setup, teardown),
        cmocka_unit_test_setup_teardown(task_members, setup, teardown),
        cmocka_unit_test_setup_teardown(container_members, setup, teardown),
        cmocka_unit_test_setup_teardown(kernel_members, setup, teardown),
        cmocka_unit_test_setup_teardown(log_members, setup, teardown),
        cmocka_unit_test_setup_teardown(port_members, setup, teardown),
        cmocka_unit_test_setup_teardown(relations, setup, teardown),
        cmocka_unit_test_setup_teardown(volumes, setup, teardown),
        cmocka_unit_test_setup_teardown(fargate_task, setup, teardown),
        cmocka_unit_test_setup_teardown(fargate_container, setup, teardown),
        cmocka_unit_test_setup_teardown(size_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(normalisation, setup, teardown),
        cmocka_unit_test_setup_teardown(required_attributes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
