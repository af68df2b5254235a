#include "acs/acs.h"
#include "base/text.h"
#include "shape/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TASK "arn:aws:ecs:eu-west-1:000000000001:task/shop/0123456789abcdef0123456789abcdef"
#define CLUSTER "arn:aws:ecs:eu-west-1:000000000001:cluster/shop"

// What a task is put together from, with ' for ". Lists are of what stands between the brackets.
struct plan {
    const char *task;       // members of the TaskSpec
    const char *definition; // of its definition
    const char *container;  // of its first container
    const char *identity;   // of that container's identity
};

// Where in what is sent something is looked for.
enum part { IN_TASK, IN_CONTAINER, IN_CONFIG, IN_HOST_CONFIG };

static struct text quoted(const char *format, struct arena *arena)
{
    struct text text = arena_text(arena, text_of(format));
    char *bytes = (char *)(uintptr_t)text.data;
    for (size_t i = 0; i < text.size; i++) {
        bytes[i] = bytes[i] == '\'' ? '"' : bytes[i];
    }
    return text;
}

static const char *or_nothing(const char *string)
{
    return string == NULL ? "" : string;
}

// A default, unless the plan has the member itself.
static const char *unless(const char *plan, const char *name, const char *fallback)
{
    return strstr(or_nothing(plan), name) == NULL ? fallback : "";
}

static struct session_task_spec *read_spec(const struct plan *plan, struct arena *arena)
{
    struct text json = arena_format(
        arena,
        "{'taskArn':'" TASK "','clusterArn':'" CLUSTER "','desiredStatus':'RUNNING',"
        "'region':'eu-west-1','account':'000000000001','availabilityZone':'eu-west-1a',%s%s%s"
        "'containers':[{'name':'app','containerArn':'arn:c'%s}],"
        "'definition':{'family':'web','revision':3,%s%s"
        "'containerDefinitions':[{'name':'app'%s%s}]}}",
        unless(plan->task, "launchType", "'launchType':'EC2',"),
        unless(plan->task, "'group'", "'group':'family:web',"), or_nothing(plan->task),
        or_nothing(plan->identity),
        unless(plan->definition, "networkMode", "'networkMode':'bridge',"),
        or_nothing(plan->definition), unless(plan->container, "'image'", ",'image':'app:1'"),
        or_nothing(plan->container));
    struct session_task_spec *spec = ARENA_NEW(arena, struct session_task_spec);
    struct shape_error error = {0};
    json = quoted(json.data, arena);
    int rc = json_decode(&session_task_spec_shape, json, arena, spec, &error);
    if (rc != 0) {
        fail_msg("%s %s in %s", error.path, error.text, json.data);
    }
    return spec;
}

static struct acs_task *encode(const struct plan *plan, struct arena *arena)
{
    static const struct acs_private none = {0};
    struct acs_task *task = ARENA_NEW(arena, struct acs_task);
    acs_task(read_spec(plan, arena), &none, arena, task);
    return task;
}

static struct text part_of(const struct acs_task *task, enum part part, struct arena *arena)
{
    AUTO(buf_deinit) struct buf json = {0};
    const struct acs_container *container = &task->containers.items[0];
    switch (part) {
    case IN_TASK:
        json_encode(&acs_task_shape, task, &json);
        break;
    case IN_CONTAINER:
        json_encode(&acs_container_shape, container, &json);
        break;
    case IN_CONFIG:
        return container->docker_config->config;
    case IN_HOST_CONFIG:
        return container->docker_config->host_config;
    }
    return arena_text(arena, buf_view(&json));
}

// ---- member by member ---------------------------------------------------------------------------

// Each member of a definition, and the member of the agent's protocol, or of Docker's JSON in it,
// that it becomes.
static const struct {
    const char *name;
    struct plan plan;
    enum part part;
    const char *want;
} members[] = {
    // the task
    {"arn", {0}, IN_TASK, "'arn':'" TASK "','taskClusterArn':'" CLUSTER "'"},
    {"family and revision", {0}, IN_TASK, "'family':'web','version':'3','overrides':'{}'"},
    {"launch type", {0}, IN_TASK, "'launchType':'EC2'"},
    {"zone", {0}, IN_TASK, "'zone':'eu-west-1a'"},
    {"group", {0}, IN_TASK, "'group':'family:web'"},
    {"service",
     {.task = "'group':'service:front',"},
     IN_TASK,
     "'serviceName':'front','group':'service:front'"},
    {"account", {0}, IN_TASK, "'taskDefinitionAccountId':'000000000001'"},
    {"network mode", {0}, IN_TASK, "'networkMode':'bridge'"},
    {"networkMode", {.definition = "'networkMode':'host',"}, IN_TASK, "'networkMode':'host'"},
    {"networkMode for Docker",
     {.definition = "'networkMode':'none',"},
     IN_HOST_CONFIG,
     "'NetworkMode':'none'"},
    {"cpu of the task", {.task = "'cpuUnits':256,"}, IN_TASK, "'cpu':0.25"},
    {"memory of the task", {.task = "'memoryMib':512,"}, IN_TASK, "'memory':512"},
    {"pidMode", {.definition = "'pidMode':'task',"}, IN_TASK, "'pidMode':'task'"},
    {"ipcMode", {.definition = "'ipcMode':'host',"}, IN_TASK, "'ipcMode':'host'"},
    {"enableFaultInjection",
     {.definition = "'enableFaultInjection':true,"},
     IN_TASK,
     "'enableFaultInjection':true"},
    {"proxyConfiguration",
     {.definition = "'proxyConfiguration':{'containerName':'app','properties':[{'name':"
                    "'AppPorts','value':'80'}]},"},
     IN_TASK,
     "'proxyConfiguration':{'type':'APPMESH','containerName':'app','properties':{'AppPorts':"
     "'80'}}"},
    {"a scratch volume",
     {.definition = "'volumes':[{'name':'v','host':{}}],"},
     IN_TASK,
     "'volumes':[{'name':'v','type':'host','host':{}}]"},
    {"a folder of the host",
     {.definition = "'volumes':[{'name':'v','host':{'sourcePath':'/srv'}}],"},
     IN_TASK,
     "'volumes':[{'name':'v','type':'host','host':{'sourcePath':'/srv'}}]"},
    {"dockerVolumeConfiguration",
     {.definition = "'volumes':[{'name':'v','dockerVolumeConfiguration':{'scope':'shared',"
                    "'autoprovision':true,'driver':'local','driverOpts':{'type':'tmpfs'},"
                    "'labels':{'a':'b'}}}],"},
     IN_TASK,
     "{'name':'v','type':'docker','dockerVolumeConfiguration':{'scope':'shared','autoprovision':"
     "true,'driver':'local','driverOpts':{'type':'tmpfs'},'labels':{'a':'b'}}}"},
    {"a docker volume without a word",
     {.definition = "'volumes':[{'name':'v','dockerVolumeConfiguration':{}}],"},
     IN_TASK,
     "'dockerVolumeConfiguration':{'scope':'task','driver':'local'}"},
    {"an interface",
     {.task = "'eni':{'attachmentArn':'arn:at','eniId':'eni-1','macAddress':'0a:00:00:00:00:01',"
              "'address':'10.0.1.5','prefixLength':24,'gateway':'10.0.1.1','vpcId':'vpc-1',"
              "'vpcCidr':'10.0.0.0/16','subnetId':'subnet-1','subnetCidr':'10.0.1.0/24',"
              "'hostname':'ip-10-0-1-5.ec2.internal','domainNameServers':['10.0.0.2']},"},
     IN_TASK,
     "'elasticNetworkInterfaces':[{'attachmentArn':'arn:at','ec2Id':'eni-1','macAddress':"
     "'0a:00:00:00:00:01','ipv4Addresses':[{'privateAddress':'10.0.1.5','primary':true}],"
     "'subnetGatewayIpv4Address':'10.0.1.1/24','privateDnsName':'ip-10-0-1-5.ec2.internal',"
     "'domainNameServers':['10.0.0.2']}]"},
    {"GPUs",
     {.identity = ",'gpuIds':['GPU-7','GPU-8']"},
     IN_TASK,
     "'associations':[{'name':'GPU-7','type':'gpu','containers':['app'],'content':{'encoding':"
     "'base64','value':''}},{'name':'GPU-8',"},

    // a container, in members of the agent's
    {"name", {0}, IN_CONTAINER, "'name':'app','containerArn':'arn:c','image':'app:1'"},
    {"sizes when there are none", {0}, IN_CONTAINER, "'cpu':0,'memory':0"},
    {"cpu", {.container = ",'cpu':64"}, IN_CONTAINER, "'cpu':64"},
    {"memory", {.container = ",'memory':128"}, IN_CONTAINER, "'memory':128"},
    {"essential when absent", {0}, IN_CONTAINER, "'essential':true"},
    {"essential", {.container = ",'essential':false"}, IN_CONTAINER, "'essential':false"},
    {"image of a deployment",
     {.identity = ",'imageDigest':'sha256:ab'"},
     IN_CONTAINER,
     "'image':'app@sha256:ab'"},
    {"image of a registry with a port",
     {.container = ",'image':'r.example:5000/app'", .identity = ",'imageDigest':'sha256:ab'"},
     IN_CONTAINER,
     "'image':'r.example:5000/app@sha256:ab'"},
    {"image with a digest of its own",
     {.container = ",'image':'app@sha256:cd'", .identity = ",'imageDigest':'sha256:ab'"},
     IN_CONTAINER,
     "'image':'app@sha256:cd'"},
    {"command", {.container = ",'command':['a','b c']"}, IN_CONTAINER, "'command':['a','b c']"},
    {"entryPoint",
     {.container = ",'entryPoint':['sh','-c']"},
     IN_CONTAINER,
     "'entryPoint':['sh','-c']"},
    {"environment",
     {.container = ",'environment':[{'name':'A','value':'1'},{'name':'B','value':''}]"},
     IN_CONTAINER,
     "'environment':{'AWS_EXECUTION_ENV':'AWS_ECS_EC2','A':'1','B':''}"},
    {"a variable twice",
     {.container = ",'environment':[{'name':'A','value':'1'},{'name':'A','value':'2'}]"},
     IN_CONTAINER,
     "'A':'2'}"},
    {"environment on Fargate",
     {.task = "'launchType':'FARGATE',"},
     IN_CONTAINER,
     "'environment':{'AWS_EXECUTION_ENV':'AWS_ECS_FARGATE','AWS_DEFAULT_REGION':'eu-west-1',"
     "'AWS_REGION':'eu-west-1'}"},
    {"links", {.container = ",'links':['db:sql']"}, IN_CONTAINER, "'links':['db:sql']"},
    {"portMappings",
     {.container = ",'portMappings':[{'containerPort':80,'hostPort':8080,'protocol':'udp'}]"},
     IN_CONTAINER,
     "'portMappings':[{'containerPort':80,'hostPort':8080,'protocol':'udp'}]"},
    {"a port that the agent chooses",
     {.container = ",'portMappings':[{'containerPort':80}]"},
     IN_CONTAINER,
     "'portMappings':[{'containerPort':80,'hostPort':0,'protocol':'tcp'}]"},
    {"containerPortRange",
     {.container = ",'portMappings':[{'containerPortRange':'80-90'}]"},
     IN_CONTAINER,
     "'portMappings':[{'protocol':'tcp','containerPortRange':'80-90'}]"},
    {"mountPoints",
     {.container = ",'mountPoints':[{'sourceVolume':'v','containerPath':'/v','readOnly':true}]"},
     IN_CONTAINER,
     "'mountPoints':[{'sourceVolume':'v','containerPath':'/v','readOnly':true}]"},
    {"volumesFrom",
     {.container = ",'volumesFrom':[{'sourceContainer':'b'}]"},
     IN_CONTAINER,
     "'volumesFrom':[{'sourceContainer':'b','readOnly':false}]"},
    {"dependsOn",
     {.container = ",'dependsOn':[{'containerName':'b','condition':'HEALTHY'}]"},
     IN_CONTAINER,
     "'dependsOn':[{'containerName':'b','condition':'HEALTHY'}]"},
    {"startTimeout", {.container = ",'startTimeout':7"}, IN_CONTAINER, "'startTimeout':7"},
    {"stopTimeout", {.container = ",'stopTimeout':9"}, IN_CONTAINER, "'stopTimeout':9"},
    {"restartPolicy",
     {.container = ",'restartPolicy':{'enabled':true,'ignoredExitCodes':[3],"
                   "'restartAttemptPeriod':60}"},
     IN_CONTAINER,
     "'restartPolicy':{'enabled':true,'ignoredExitCodes':[3],'restartAttemptPeriod':60}"},
    {"firelensConfiguration",
     {.container = ",'firelensConfiguration':{'type':'fluentbit','options':{'a':'b'}}"},
     IN_CONTAINER,
     "'firelensConfiguration':{'type':'fluentbit','options':{'a':'b'}}"},
    {"privileged", {.container = ",'privileged':true"}, IN_CONTAINER, "'privileged':true"},
    {"ECS Exec",
     {.task = "'enableExecuteCommand':true,"},
     IN_CONTAINER,
     "'managedAgents':[{'name':'ExecuteCommandAgent','properties':{'sessionLimit':'2'}}]"},
    {"logs of the execution role",
     {.definition = "'executionRoleArn':'arn:r',",
      .container = ",'logConfiguration':{'logDriver':'awslogs'}"},
     IN_CONTAINER,
     "'logsAuthStrategy':'ExecutionRole'"},
    {"a health check is Docker's",
     {.container = ",'healthCheck':{'command':['true']}"},
     IN_CONTAINER,
     "'healthCheckType':'docker'"},

    // what Docker's Config has
    {"hostname", {.container = ",'hostname':'h'"}, IN_CONFIG, "'Hostname':'h'"},
    {"user", {.container = ",'user':'1:2'"}, IN_CONFIG, "'User':'1:2'"},
    {"workingDirectory", {.container = ",'workingDirectory':'/w'"}, IN_CONFIG, "'WorkingDir':'/w'"},
    {"pseudoTerminal", {.container = ",'pseudoTerminal':true"}, IN_CONFIG, "'Tty':true"},
    {"interactive", {.container = ",'interactive':true"}, IN_CONFIG, "'OpenStdin':true"},
    {"disableNetworking",
     {.container = ",'disableNetworking':true"},
     IN_CONFIG,
     "'NetworkDisabled':true"},
    {"dockerLabels", {.container = ",'dockerLabels':{'a':'b'}"}, IN_CONFIG, "'Labels':{'a':'b'}"},
    {"healthCheck",
     {.container = ",'healthCheck':{'command':['CMD-SHELL','x'],'interval':30,'timeout':5,"
                   "'retries':3,'startPeriod':2}"},
     IN_CONFIG,
     "'Healthcheck':{'Test':['CMD-SHELL','x'],'Interval':30000000000,'Timeout':5000000000,"
     "'StartPeriod':2000000000,'Retries':3}"},
    {"a bare health check",
     {.container = ",'healthCheck':{'command':['true','x']}"},
     IN_CONFIG,
     "'Test':['CMD','true','x']"},

    // what Docker's HostConfig has
    {"capabilities without a word",
     {0},
     IN_HOST_CONFIG,
     "{'NetworkMode':'bridge','CapAdd':[],'CapDrop':[]}"},
    {"linuxParameters.capabilities",
     {.container = ",'linuxParameters':{'capabilities':{'add':['SYS_PTRACE'],'drop':['ALL']}}"},
     IN_HOST_CONFIG,
     "'CapAdd':['SYS_PTRACE'],'CapDrop':['ALL']"},
    {"logConfiguration",
     {.container = ",'logConfiguration':{'logDriver':'json-file','options':{'max-size':'1m'}}"},
     IN_HOST_CONFIG,
     "'LogConfig':{'Type':'json-file','Config':{'max-size':'1m'}}"},
    {"awslogs",
     {.container = ",'logConfiguration':{'logDriver':'awslogs','options':{'awslogs-group':'g',"
                   "'awslogs-stream-prefix':'p','awslogs-region':'eu-west-1'}}"},
     IN_HOST_CONFIG,
     "'LogConfig':{'Type':'awslogs','Config':{'awslogs-group':'g','awslogs-region':'eu-west-1',"
     "'awslogs-stream':'p/app/0123456789abcdef0123456789abcdef'}}"},
    {"dnsServers",
     {.container = ",'dnsServers':['10.0.0.2']"},
     IN_HOST_CONFIG,
     "'Dns':['10.0.0.2']"},
    {"dnsSearchDomains",
     {.container = ",'dnsSearchDomains':['a.example']"},
     IN_HOST_CONFIG,
     "'DnsSearch':['a.example']"},
    {"extraHosts",
     {.container = ",'extraHosts':[{'hostname':'h','ipAddress':'10.0.0.9'}]"},
     IN_HOST_CONFIG,
     "'ExtraHosts':['h:10.0.0.9']"},
    {"privileged for Docker",
     {.container = ",'privileged':true"},
     IN_HOST_CONFIG,
     "'Privileged':true"},
    {"readonlyRootFilesystem",
     {.container = ",'readonlyRootFilesystem':true"},
     IN_HOST_CONFIG,
     "'ReadonlyRootfs':true"},
    {"dockerSecurityOptions",
     {.container = ",'dockerSecurityOptions':['no-new-privileges']"},
     IN_HOST_CONFIG,
     "'SecurityOpt':['no-new-privileges']"},
    {"ulimits",
     {.container = ",'ulimits':[{'name':'nofile','softLimit':10,'hardLimit':-1}]"},
     IN_HOST_CONFIG,
     "'Ulimits':[{'Name':'nofile','Soft':10,'Hard':-1}]"},
    {"memoryReservation",
     {.container = ",'memoryReservation':16"},
     IN_HOST_CONFIG,
     "'MemoryReservation':16777216"},
    {"systemControls",
     {.container = ",'systemControls':[{'namespace':'net.core.somaxconn','value':'7'}]"},
     IN_HOST_CONFIG,
     "'Sysctls':{'net.core.somaxconn':'7'}"},
    {"linuxParameters.initProcessEnabled",
     {.container = ",'linuxParameters':{'initProcessEnabled':true}"},
     IN_HOST_CONFIG,
     "'Init':true"},
    {"linuxParameters.sharedMemorySize",
     {.container = ",'linuxParameters':{'sharedMemorySize':8}"},
     IN_HOST_CONFIG,
     "'ShmSize':8388608"},
    {"linuxParameters.tmpfs",
     {.container = ",'linuxParameters':{'tmpfs':[{'containerPath':'/t','size':4,'mountOptions':"
                   "['ro','noexec']}]}"},
     IN_HOST_CONFIG,
     "'Tmpfs':{'/t':'ro,noexec,size=4m'}"},
    {"linuxParameters.maxSwap and swappiness",
     {.container = ",'memory':64,'linuxParameters':{'maxSwap':32,'swappiness':10}"},
     IN_HOST_CONFIG,
     "'MemorySwap':100663296,'MemorySwappiness':10"},
    {"linuxParameters.devices",
     {.container = ",'linuxParameters':{'devices':[{'hostPath':'/dev/a'},{'hostPath':'/dev/b',"
                   "'containerPath':'/dev/c','permissions':['mknod','read']}]}"},
     IN_HOST_CONFIG,
     "'Devices':[{'PathOnHost':'/dev/a','PathInContainer':'/dev/a','CgroupPermissions':'rwm'},"
     "{'PathOnHost':'/dev/b','PathInContainer':'/dev/c','CgroupPermissions':'rm'}]"},
};

static void each_member_is_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        print_message("%s\n", members[i].name);
        const struct acs_task *task = encode(&members[i].plan, &arena);
        struct text sent = part_of(task, members[i].part, &arena);
        struct text want = quoted(members[i].want, &arena);
        if (strstr(sent.data, want.data) == NULL) {
            fail_msg("%s: no %s in %s", members[i].name, want.data, sent.data);
        }
    }
}

// What nobody asked for is not said: the agent's and Docker's own defaults hold.
static void nothing_else_is_sent(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    static const struct plan bare = {0};
    const struct acs_task *task = encode(&bare, &arena);
    assert_string_equal(
        part_of(task, IN_TASK, &arena).data,
        quoted("{'arn':'" TASK "','taskClusterArn':'" CLUSTER "','desiredStatus':'RUNNING',"
               "'family':'web','version':'3','overrides':'{}','launchType':'EC2','networkMode':"
               "'bridge','zone':'eu-west-1a','group':'family:web','taskDefinitionAccountId':"
               "'000000000001','containers':[{'name':'app','containerArn':'arn:c','image':'app:1',"
               "'essential':true,'cpu':0,'memory':0,'environment':{'AWS_EXECUTION_ENV':"
               "'AWS_ECS_EC2'},'dockerConfig':{'version':'1.18','config':'{}','hostConfig':"
               "'{\\'NetworkMode\\':\\'bridge\\',\\'CapAdd\\':[],\\'CapDrop\\':[]}'},"
               "'overrides':'{}'}]}",
               &arena)
            .data);
}

// ---- the rest -----------------------------------------------------------------------------------

static void the_version_of_the_api_is_the_oldest_that_will_do(void **state)
{
    (void)state;
    static const struct {
        const char *container;
        const char *want;
    } cases[] = {
        {"", "1.18"},
        {",'logConfiguration':{'logDriver':'awslogs'}", "1.19"},
        {",'linuxParameters':{'tmpfs':[{'containerPath':'/t','size':1}]}", "1.22"},
        {",'healthCheck':{'command':['true']}", "1.24"},
        {",'systemControls':[{'namespace':'a','value':'b'}]", "1.24"},
        {",'healthCheck':{'command':['true']},'linuxParameters':{'initProcessEnabled':true}",
         "1.25"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        const struct plan plan = {.container = cases[i].container};
        print_message("%s\n", cases[i].container);
        assert_string_equal(encode(&plan, &arena)->containers.items[0].docker_config->version.data,
                            cases[i].want);
    }
}

static void a_task_to_stop_is_named(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    static const struct acs_private none = {0};
    const struct session_task_spec spec = {
        .task_arn = TEXT(TASK), .cluster_arn = TEXT(CLUSTER), .desired_status = TEXT("STOPPED")};
    struct acs_task task;
    acs_task(&spec, &none, &arena, &task);
    assert_string_equal(part_of(&task, IN_TASK, &arena).data,
                        quoted("{'arn':'" TASK "','taskClusterArn':'" CLUSTER
                               "','desiredStatus':'STOPPED','overrides':'{}','containers':[]}",
                               &arena)
                            .data);
}

static void credentials_go_with_the_task(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    static const struct plan bare = {0};
    struct session_role_credentials role = {.credentials_id = TEXT("a")};
    struct session_role_credentials execution = {.credentials_id = TEXT("b")};
    const struct acs_private both = {.task = &role, .execution = &execution};
    struct acs_task task;
    acs_task(read_spec(&bare, &arena), &both, &arena, &task);
    assert_ptr_equal(task.role_credentials, &role);
    assert_ptr_equal(task.execution_role_credentials, &execution);
}

// As variables of the containers that ask for them, and of no others.
static void secrets_are_variables(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    static const struct plan plan = {.container =
                                         ",'secrets':[{'name':'KEY','valueFrom':'/app/key'}]"};
    struct berth_task_secret values[] = {
        {.container = TEXT("app"), .name = TEXT("KEY"), .value = TEXT("hidden")},
        {.container = TEXT("other"), .name = TEXT("OTHER"), .value = TEXT("not for it")},
    };
    const struct acs_private given = {.secrets = {.items = values, .count = ARRAY_LEN(values)}};
    struct acs_task task;
    const struct session_task_spec *spec = read_spec(&plan, &arena);
    assert_null(acs_unsupported(spec->definition));
    acs_task(spec, &given, &arena, &task);
    struct text sent = part_of(&task, IN_TASK, &arena);
    assert_non_null(strstr(sent.data, "\"AWS_ECS_EC2\",\"KEY\":\"hidden\"}"));
    assert_null(strstr(sent.data, "OTHER"));
    assert_null(strstr(sent.data, "/app/key"));
}

// What a stock agent cannot do is named, and nothing that it can.
static void what_it_cannot_is_named(void **state)
{
    (void)state;
    static const struct {
        struct plan plan;
        const char *want;
    } cases[] = {
        {{.container = ",'logConfiguration':{'logDriver':'splunk','secretOptions':[{'name':'A',"
                       "'valueFrom':'a'}]}"},
         "logConfiguration.secretOptions"},
        {{.container = ",'repositoryCredentials':{'credentialsParameter':'arn:x'}"},
         "repositoryCredentials"},
        {{.container = ",'environmentFiles':[{'type':'s3','value':'arn:aws:s3:::b/a.env'}]"},
         "environmentFiles"},
        {{.container = ",'firelensConfiguration':{'type':'fluentbit','options':{'config-file-type':"
                       "'s3','config-file-value':'arn:aws:s3:::b/a'}}"},
         "firelensConfiguration.options of config-file-type s3"},
        {{.container = ",'credentialSpecs':['credentialspec:x']"}, "credentialSpecs"},
        {{.container = ",'resourceRequirements':[{'type':'InferenceAccelerator','value':'d'}]"},
         "resourceRequirements of type InferenceAccelerator"},
        {{.container = ",'dockerLabels':{'berth.pre-stop':'true'}"}, "dockerLabels of Berth's"},
        {{.definition =
              "'volumes':[{'name':'v','efsVolumeConfiguration':{'fileSystemId':'fs-1'}}],"},
         "efsVolumeConfiguration"},
        {{.definition = "'volumes':[{'name':'v','s3filesVolumeConfiguration':{'fileSystemArn':"
                        "'arn:x'}}],"},
         "s3filesVolumeConfiguration"},
        {{.definition = "'volumes':[{'name':'v','fsxWindowsFileServerVolumeConfiguration':"
                        "{'fileSystemId':'fs-1','rootDirectory':'/'}}],"},
         "fsxWindowsFileServerVolumeConfiguration"},
        {{.definition = "'volumes':[{'name':'v','configuredAtLaunch':true}],"},
         "configuredAtLaunch"},
        {{.definition = "'runtimePlatform':{'operatingSystemFamily':'WINDOWS_SERVER_2019_FULL'},"},
         "operatingSystemFamily"},
        {{.definition = "'ephemeralStorage':{'sizeInGiB':30},"}, "ephemeralStorage"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        print_message("%s\n", cases[i].want);
        const char *name = acs_unsupported(read_spec(&cases[i].plan, &arena)->definition);
        assert_non_null(name);
        assert_string_equal(name, cases[i].want);
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        print_message("%s\n", members[i].name);
        assert_null(acs_unsupported(read_spec(&members[i].plan, &arena)->definition));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_member_is_sent),
        cmocka_unit_test(nothing_else_is_sent),
        cmocka_unit_test(the_version_of_the_api_is_the_oldest_that_will_do),
        cmocka_unit_test(a_task_to_stop_is_named),
        cmocka_unit_test(credentials_go_with_the_task),
        cmocka_unit_test(secrets_are_variables),
        cmocka_unit_test(what_it_cannot_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
