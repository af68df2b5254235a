#include "base/text.h"
#include "runtime/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#define LIST_MAX 8

struct strings {
    const char *items[LIST_MAX];
};

static struct text_list list_of(const struct strings *strings, struct arena *arena)
{
    struct text_list list = {.items = arena_array(arena, LIST_MAX, sizeof(struct text))};
    while (list.count < LIST_MAX && strings->items[list.count] != NULL) {
        list.items[list.count] = text_of(strings->items[list.count]);
        list.count++;
    }
    return list;
}

static void assert_list(struct text_list got, const struct strings *want)
{
    size_t count = 0;
    for (; count < LIST_MAX && want->items[count] != NULL; count++) {
        assert_true(count < got.count);
        print_message("    %.*s\n", TEXT_FMT(got.items[count]));
        assert_true(text_is(got.items[count], want->items[count]));
    }
    assert_int_equal(got.count, count);
}

static void arguments_follow_docker(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct strings image_entry;
        struct strings image_command;
        struct strings entry;
        struct strings command;
        struct strings want;
    } cases[] = {
        {.name = "the image's own",
         .image_entry = {{"/entry"}},
         .image_command = {{"serve", "-v"}},
         .want = {{"/entry", "serve", "-v"}}},
        {.name = "a command replaces the image's command only",
         .image_entry = {{"/entry"}},
         .image_command = {{"serve"}},
         .command = {{"check"}},
         .want = {{"/entry", "check"}}},
        {.name = "an entry point drops the image's command",
         .image_entry = {{"/entry"}},
         .image_command = {{"serve"}},
         .entry = {{"/bin/sh"}},
         .want = {{"/bin/sh"}}},
        {.name = "both",
         .image_entry = {{"/entry"}},
         .image_command = {{"serve"}},
         .entry = {{"/bin/sh", "-c"}},
         .command = {{"date"}},
         .want = {{"/bin/sh", "-c", "date"}}},
        {.name = "command alone", .command = {{"date"}}, .want = {{"date"}}},
        {.name = "nothing to run", .want = {{NULL}}},
        {.name = "an empty program", .command = {{""}}, .want = {{NULL}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err = {0};
        struct image image = {.entry_point = list_of(&cases[i].image_entry, &arena),
                              .command = list_of(&cases[i].image_command, &arena)};
        struct ecs_container_definition definition = {
            .name = TEXT("web"),
            .entry_point = list_of(&cases[i].entry, &arena),
            .command = list_of(&cases[i].command, &arena)};
        struct text_list got = {0};
        print_message("%s\n", cases[i].name);
        int rc = spec_arguments(&definition, &image, &arena, &got, &err);
        assert_int_equal(rc, cases[i].want.items[0] == NULL ? ERR_INVALID : 0);
        assert_list(got, &cases[i].want);
    }
}

static void environment_is_layered(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct strings image;
        struct strings task;
        struct ecs_key_value_pair own[2];
        struct strings endpoints;
        struct strings want;
    } cases[] = {
        {.name = "defaults",
         .want = {{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "HOSTNAME=host", "HOME=/root"}}},
        {.name = "the definition over the task over the image",
         .image = {{"PATH=/i", "A=i", "B=i", "C=i"}},
         .task = {{"B=t", "C=t"}},
         .own = {{TEXT("C"), TEXT("d=e")}, {TEXT("D"), {0}}},
         .want = {{"PATH=/i", "HOSTNAME=host", "A=i", "B=t", "C=d=e", "D=", "HOME=/root"}}},
        {.name = "what leads to the agent over all",
         .task = {{"B=t"}},
         .own = {{TEXT("A"), TEXT("mine")}, {TEXT("B"), TEXT("mine")}},
         .endpoints = {{"A=agent"}},
         .want = {{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "HOSTNAME=host", "B=mine", "A=agent", "HOME=/root"}}},
        {.name = "HOME and HOSTNAME can be set",
         .image = {{"HOME=/i", "HOSTNAME=i"}},
         .want = {{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "HOSTNAME=i", "HOME=/i"}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct ecs_key_value_pair own[2] = {cases[i].own[0], cases[i].own[1]};
        struct image image = {.environment = list_of(&cases[i].image, &arena)};
        struct ecs_container_definition definition = {
            .environment = {own, own[0].name.data == NULL ? 0 : 2}};
        print_message("%s\n", cases[i].name);
        assert_list(spec_environment(
                        &definition, &image, (struct text_list){0}, list_of(&cases[i].task, &arena),
                        list_of(&cases[i].endpoints, &arena), TEXT("host"), TEXT("/root"), &arena),
                    &cases[i].want);
    }
}

static void signals_have_names_and_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t want;
    } cases[] = {
        {NULL, 15},        {"SIGTERM", 15},    {"term", 15},     {"9", 9},
        {"SIGQUIT", 3},    {"SIGWINCH", 28},   {"SIGRTMIN", 34}, {"SIGRTMIN+3", 37},
        {"RTMAX-1", 63},   {"SIGRTMIN+31", 0}, {"0", 0},         {"65", 0},
        {"SIGNOTHING", 0}, {"SIGRTMIN-3", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t got = 0;
        print_message("%s\n", cases[i].name == NULL ? "(absent)" : cases[i].name);
        assert_int_equal(spec_signal(text_of(cases[i].name), &got),
                         cases[i].want == 0 ? ERR_INVALID : 0);
        assert_int_equal(got, cases[i].want);
    }
}

static void health_commands_are_read(void **state)
{
    (void)state;
    static const struct {
        struct strings command;
        struct strings want;
    } cases[] = {
        {{{"CMD-SHELL", "curl -f http://localhost/ || exit 1"}},
         {{"/bin/sh", "-c", "curl -f http://localhost/ || exit 1"}}},
        {{{"CMD", "/check", "-q"}}, {{"/check", "-q"}}},
        {{{"/check", "-q"}}, {{"/check", "-q"}}},
        {{{"NONE"}}, {{NULL}}},
        {{{"CMD"}}, {{NULL}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        assert_list(spec_health_command(list_of(&cases[i].command, &arena), &arena),
                    &cases[i].want);
    }
}

static bool has_text(struct text_list list, const char *string)
{
    for (size_t i = 0; i < list.count; i++) {
        if (text_is(list.items[i], string)) {
            return true;
        }
    }
    return false;
}

static void capabilities_are_dockers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct strings add;
        struct strings drop;
        size_t want_count;
        const char *want;
        const char *want_not;
        bool privileged;
        uint64_t not_own;
    } cases[] = {
        {"default", {{NULL}}, {{NULL}}, 14, "CAP_CHOWN", "CAP_SYS_ADMIN"},
        {"one more", {{"SYS_PTRACE"}}, {{NULL}}, 15, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"},
        {"one less", {{NULL}}, {{"cap_net_raw"}}, 13, "CAP_CHOWN", "CAP_NET_RAW"},
        {"only one", {{"NET_BIND_SERVICE"}}, {{"ALL"}}, 1, "CAP_NET_BIND_SERVICE", "CAP_CHOWN"},
        {"all but one", {{"ALL"}}, {{"SYS_MODULE"}}, 40, "CAP_SYS_ADMIN", "CAP_SYS_MODULE"},
        {"all there are", {{"ALL"}}, {{NULL}}, 40, "CAP_BPF", "CAP_SYS_MODULE", false, 1u << 16},
        {"privileged", {{NULL}}, {{"CHOWN"}}, 41, "CAP_CHOWN", "", true, 0},
        {"privileged, of what there is", {{NULL}}, {{NULL}}, 40, "CAP_BPF", "CAP_CHOWN", true, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct ecs_kernel_capabilities change = {list_of(&cases[i].add, &arena),
                                                 list_of(&cases[i].drop, &arena)};
        struct ecs_linux_parameters parameters = {.capabilities = &change};
        struct ecs_container_definition definition = {.linux_parameters = &parameters,
                                                      .privileged = cases[i].privileged};
        struct text_list got = spec_capabilities(&definition, ~cases[i].not_own, &arena);
        print_message("%s\n", cases[i].name);
        assert_int_equal(got.count, cases[i].want_count);
        assert_true(has_text(got, cases[i].want));
        assert_false(has_text(got, cases[i].want_not));
    }
}

static uint64_t low_hard_limit(int resource)
{
    return resource == RLIMIT_NOFILE ? 20000 : UINT64_MAX;
}

// Limits are cut to what can be set; nofile has a default; negative is unlimited.
static void limits_are_cut(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct config_limit *limits = NULL;
    size_t count = 0;
    struct ecs_container_definition definition = {0};
    spec_limits(&definition, low_hard_limit, &arena, &limits, &count);
    assert_int_equal(count, 1);
    assert_string_equal(limits[0].name, "RLIMIT_NOFILE");
    assert_int_equal(limits[0].soft, 20000);
    assert_int_equal(limits[0].hard, 20000);
    struct ecs_ulimit own[] = {
        {.name = ECS_ULIMIT_NAME_NOFILE, .soft_limit = 1024, .hard_limit = 4096},
        {.name = ECS_ULIMIT_NAME_MEMLOCK, .soft_limit = -1, .hard_limit = -1},
    };
    definition.ulimits.items = own;
    definition.ulimits.count = 2;
    spec_limits(&definition, low_hard_limit, &arena, &limits, &count);
    assert_int_equal(count, 2);
    assert_string_equal(limits[0].name, "RLIMIT_MEMLOCK");
    assert_true(limits[0].soft == UINT64_MAX);
    assert_int_equal(limits[1].soft, 1024);
    assert_int_equal(limits[1].hard, 4096);
    assert_null(spec_limits_note(&definition, low_hard_limit, &arena).data);
    own[0].hard_limit = 30000;
    definition.name = TEXT("a");
    assert_true(text_is(spec_limits_note(&definition, low_hard_limit, &arena),
                        "container 'a' has a hard limit 'nofile' of 20000, which is the most that "
                        "its host may set, instead of 30000"));
    own[0].hard_limit = -1;
    assert_true(
        text_ends(spec_limits_note(&definition, low_hard_limit, &arena), TEXT("instead of none")));
}

static void sysctls_override_the_default(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_system_control controls[] = {
        {TEXT("net.ipv4.ip_unprivileged_port_start"), TEXT("1024")},
        {TEXT("net.core.somaxconn"), TEXT("512")},
    };
    struct ecs_container_definition definition = {.system_controls = {controls, 2}};
    struct text_map map = spec_sysctls(&definition, true, &arena);
    assert_int_equal(map.count, 2);
    assert_true(text_is(map.items[0].value, "1024"));
    definition.system_controls.count = 0;
    assert_int_equal(spec_sysctls(&definition, true, &arena).count, 1);
    assert_int_equal(spec_sysctls(&definition, false, &arena).count, 0);
}

static void paths_are_cleaned(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *want;
    } cases[] = {
        {"/", "/"},
        {"/a/b", "/a/b"},
        {"//a///b/", "/a/b"},
        {"/a/./b/..", "/a"},
        {"/../../etc", "/etc"},
        {"/a/../..", "/"},
        {"a", NULL},
        {"", NULL},
        {"/a/..b", "/a/..b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct text got = spec_clean_path(text_of(cases[i].path), &arena);
        print_message("%s\n", cases[i].path);
        assert_true(text_equal(got, text_of(cases[i].want)));
    }
}

// A task is refused rather than run as something else; the sentence names the parameter.
static void unsupported_is_refused(void **state)
{
    (void)state;
    struct text seccomp = TEXT("seccomp=/profile.json");
    struct ecs_docker_volume_configuration docker = {.driver = TEXT("rexray")};
    struct ecs_volume volume = {.name = TEXT("v"), .docker_volume_configuration = &docker};
    struct ecs_runtime_platform windows = {.operating_system_family =
                                               ECS_OS_FAMILY_WINDOWS_SERVER_2022_CORE};
    const struct {
        struct ecs_task_definition task;
        struct ecs_container_definition container;
        const char *want;
    } cases[] = {
        {.container = {.docker_security_options = {&seccomp, 1}}, .want = "seccomp=/profile.json"},
        {.task = {.volumes = {&volume, 1}}, .want = "'rexray' of dockerVolumeConfiguration"},
        {.task = {.runtime_platform = &windows}, .want = "operatingSystemFamily"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        print_message("%s\n", cases[i].want);
        assert_int_equal(spec_supported(&cases[i].task, &cases[i].container, &err),
                         ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, cases[i].want));
    }
    struct err err = {0};
    struct ecs_task_definition task = {0};
    struct ecs_container_definition definition = {.interactive = true};
    assert_int_equal(spec_supported(&task, &definition, &err), 0);
}

// Own mount points win, the first container named before the next; read-only passes on; circles
// end.
static void volumes_are_taken_over(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct ecs_mount_point points[][2] = {
        {{.source_volume = TEXT("own"), .container_path = TEXT("/a")}},
        {{.source_volume = TEXT("b1"), .container_path = TEXT("/a/.")},
         {.source_volume = TEXT("b2"), .container_path = TEXT("/b")}},
        {{.source_volume = TEXT("c1"), .container_path = TEXT("/b")},
         {.source_volume = TEXT("c2"), .container_path = TEXT("/c")}},
    };
    struct ecs_volume_from from_b = {
        .source_container = TEXT("b"), .has_read_only = true, .read_only = true};
    struct ecs_volume_from from_c = {.source_container = TEXT("c")};
    struct ecs_volume_from from_a = {.source_container = TEXT("a")};
    struct ecs_volume_from from_nobody = {.source_container = TEXT("nobody")};
    struct ecs_container_definition containers[] = {
        {.name = TEXT("a"), .mount_points = {points[0], 1}, .volumes_from = {&from_b, 1}},
        {.name = TEXT("b"), .mount_points = {points[1], 2}, .volumes_from = {&from_c, 1}},
        {.name = TEXT("c"), .mount_points = {points[2], 2}, .volumes_from = {&from_a, 1}},
        {.name = TEXT("d"), .volumes_from = {&from_nobody, 1}},
    };
    struct ecs_task_definition task = {.container_definitions = {containers, 4}};
    struct ecs_mount_point_list got = {0};
    struct err err = {0};
    assert_int_equal(spec_mount_points(&task, &containers[0], &arena, &got, &err), 0);
    static const char *const want[] = {"own", "b2", "c2"};
    assert_int_equal(got.count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(text_is(got.items[i].source_volume, want[i]));
        assert_int_equal(got.items[i].read_only, i > 0);
    }
    assert_int_equal(spec_mount_points(&task, &containers[3], &arena, &got, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "nobody"));
}

// Options of Docker's that hold here; the last word on new privileges counts.
static void security_options_are_read(void **state)
{
    (void)state;
    static const struct {
        struct text options[2];
        int want_rc;
        bool want_set;
    } cases[] = {
        {{TEXT("no-new-privileges"), TEXT("seccomp=unconfined")}, 0, true},
        {{TEXT("no-new-privileges:true"), TEXT("apparmor:unconfined")}, 0, true},
        {{TEXT("no-new-privileges"), TEXT("no-new-privileges=false")}, 0, false},
        {{TEXT("label:disable"), TEXT("label=disable")}, 0, false},
        {{TEXT("label:disable"), TEXT("label:user:x")}, ERR_UNSUPPORTED, false},
        {{TEXT("seccomp"), TEXT("seccomp:unconfined")}, ERR_UNSUPPORTED, false},
        {{TEXT("no-new-privileges:maybe"), TEXT("label:disable")}, ERR_UNSUPPORTED, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct text options[2] = {cases[i].options[0], cases[i].options[1]};
        struct ecs_task_definition task = {0};
        struct ecs_container_definition definition = {.docker_security_options = {options, 2}};
        print_message("%s, %s\n", options[0].data, options[1].data);
        assert_int_equal(spec_supported(&task, &definition, &err), cases[i].want_rc);
        assert_int_equal(spec_no_new_privileges(&definition), cases[i].want_set);
        bool named =
            text_starts(options[0], TEXT("seccomp")) || text_starts(options[1], TEXT("seccomp"));
        assert_int_equal(spec_confined(&definition), !named);
    }
}

// ECS's defaults: essential, 30 s to stop, a probe every 30 s of 5 s, three in a row.
static void plan_has_ecs_defaults(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct err err = {0};
    struct image image = {.stop_signal = TEXT("SIGQUIT")};
    struct text command[] = {TEXT("CMD"), TEXT("/check")};
    struct ecs_health_check check = {.command = {command, 2}};
    struct ecs_container_dependency dependency = {TEXT("db"), ECS_CONTAINER_CONDITION_HEALTHY};
    struct ecs_container_definition definition = {
        .name = TEXT("web"), .health_check = &check, .depends_on = {&dependency, 1}};
    struct supervisor_plan_container plan = {0};
    assert_int_equal(spec_plan(&definition, &image, &arena, &plan, &err), 0);
    assert_true(plan.essential);
    assert_int_equal(plan.stop_timeout_ms, 30000);
    assert_int_equal(plan.stop_signal, 3);
    assert_false(plan.has_start_timeout_ms);
    assert_int_equal(plan.health_check->interval_ms, 30000);
    assert_int_equal(plan.health_check->timeout_ms, 5000);
    assert_int_equal(plan.health_check->retries, 3);
    assert_int_equal(plan.health_check->start_period_ms, 0);
    assert_int_equal(plan.depends_on.items[0].condition, SUPERVISOR_CONDITION_HEALTHY);
    assert_null(plan.restart_policy);
    int32_t codes[] = {0, 3};
    struct ecs_container_restart_policy policy = {.ignored_exit_codes = {codes, 2}};
    definition.restart_policy = &policy;
    assert_int_equal(spec_plan(&definition, &image, &arena, &plan, &err), 0);
    assert_null(plan.restart_policy);
    policy.enabled = true;
    assert_int_equal(spec_plan(&definition, &image, &arena, &plan, &err), 0);
    assert_int_equal(plan.restart_policy->attempt_period_ms, 300000);
    assert_int_equal(plan.restart_policy->ignored_exit_codes.items[1], 3);
    image.stop_signal = TEXT("SIGNOTHING");
    assert_int_equal(spec_plan(&definition, &image, &arena, &plan, &err), ERR_INVALID);
}

// maxSwap is a limit beyond the memory; what the node cannot hold is refused, unless nothing has to
// be held.
static void swap_is_limited_where_it_can_be(void **state)
{
    (void)state;
    static const struct spec_swap_host v1 = {true, true, true};
    static const struct spec_swap_host v2 = {true, true, false};
    static const struct spec_swap_host blind = {false, true, true};
    static const struct spec_swap_host none = {false, false, true};
    static const struct {
        const char *name;
        struct ecs_linux_parameters parameters;
        int32_t memory;
        const struct spec_swap_host *host;
        const char *want_error;
        struct spec_swap want;
    } cases[] = {
        {"nothing asked", {.has_swappiness = true, .swappiness = 3}, 64, &v2, NULL, {0}},
        {"no swap at all", {.has_max_swap = true}, 64, &v1, NULL, {.limited = true}},
        {"some swap",
         {.has_max_swap = true, .max_swap = 9},
         64,
         &v2,
         NULL,
         {.limited = true, .mib = 9}},
        {"with swappiness",
         {.has_max_swap = true, .max_swap = 9, .has_swappiness = true, .swappiness = 3},
         64,
         &v1,
         NULL,
         {.limited = true, .mib = 9, .has_swappiness = true, .swappiness = 3}},
        {"swappiness on v2",
         {.has_max_swap = true, .has_swappiness = true},
         64,
         &v2,
         "cgroup v1",
         {0}},
        {"a kernel that does not count", {.has_max_swap = true}, 64, &blind, "swapaccount", {0}},
        {"but has none to count",
         {.has_max_swap = true, .max_swap = 9},
         64,
         &none,
         NULL,
         {.mib = 9}},
        {"beyond no limit", {.has_max_swap = true}, 0, &v1, "needs a memory", {0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct spec_swap got = {0};
        struct ecs_linux_parameters parameters = cases[i].parameters;
        struct ecs_container_definition definition = {
            .name = TEXT("web"), .memory = cases[i].memory, .linux_parameters = &parameters};
        print_message("%s\n", cases[i].name);
        int rc = spec_swap(&definition, cases[i].host, &got, &err);
        assert_int_equal(rc, cases[i].want_error == NULL ? 0 : ERR_UNSUPPORTED);
        if (rc != 0) {
            assert_non_null(strstr(err.text, cases[i].want_error));
        }
        assert_int_equal(got.limited, cases[i].want.limited);
        assert_int_equal(got.mib, cases[i].want.mib);
        assert_int_equal(got.has_swappiness, cases[i].want.has_swappiness);
        assert_int_equal(got.swappiness, cases[i].want.swappiness);
    }
}

// A label reaches the runtime as it is, unless the runtime would do what it says.
static void labels_give_no_orders(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text_entry labels[] = {
        {TEXT("com.example.team"), TEXT("a")},
        {TEXT("run.oci.handler"), TEXT("wasm")},
        {TEXT("org.systemd.property.TimeoutStopUSec"), TEXT("1")},
        {TEXT("runs"), TEXT("")},
    };
    struct ecs_container_definition definition = {.docker_labels = {labels, ARRAY_LEN(labels)}};
    struct text_map map = spec_annotations(&definition, &arena);
    assert_int_equal(map.count, 2);
    assert_true(text_is(map.items[0].key, "com.example.team"));
    assert_true(text_is(map.items[1].key, "runs"));
}

// One /dev/shm for all is as large as the one that asks for most.
static void shared_memory_suits_all(void **state)
{
    (void)state;
    struct ecs_linux_parameters large = {.shared_memory_size = 200};
    struct ecs_linux_parameters small = {.shared_memory_size = 8};
    struct ecs_container_definition containers[] = {
        {.linux_parameters = &small}, {.linux_parameters = &large}, {.name = TEXT("c")}};
    struct ecs_task_definition task = {.container_definitions = {containers, 3}};
    assert_int_equal(spec_shm_mib(&task, &containers[0]), 8);
    assert_int_equal(spec_shm_mib(&task, &containers[2]), 64);
    task.ipc_mode = ECS_IPC_MODE_TASK;
    assert_int_equal(spec_shm_mib(&task, &containers[0]), 200);
    assert_int_equal(spec_ipc(&task), SPEC_TASK);
    task.ipc_mode = ECS_IPC_MODE_NONE;
    assert_int_equal(spec_ipc(&task), SPEC_OWN);
}

// driverOpts are those of mount(8); what a container must not get, or a node cannot keep, is named.
static void docker_volumes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum ecs_scope scope;
        struct text_entry options[3];
        const char *want_error;
        enum spec_docker_kind want;
    } cases[] = {
        {"a folder", ECS_SCOPE_ABSENT, {{{0}}}, NULL, SPEC_DOCKER_FOLDER},
        {"a shared folder", ECS_SCOPE_SHARED, {{{0}}}, NULL, SPEC_DOCKER_FOLDER},
        {"a folder of the host",
         ECS_SCOPE_SHARED,
         {{TEXT("type"), TEXT("none")}, {TEXT("o"), TEXT("rw,bind")}, {TEXT("device"), TEXT("/a")}},
         NULL,
         SPEC_DOCKER_BIND},
        {"one that is no path",
         ECS_SCOPE_TASK,
         {{TEXT("o"), TEXT("bind")}, {TEXT("device"), TEXT("a/b")}},
         "must be absolute",
         0},
        {"memory",
         ECS_SCOPE_TASK,
         {{TEXT("type"), TEXT("tmpfs")}, {TEXT("o"), TEXT("size=1m,uid=1000")}},
         NULL,
         SPEC_DOCKER_TMPFS},
        {"shared memory", ECS_SCOPE_SHARED, {{TEXT("type"), TEXT("tmpfs")}}, "scope must be", 0},
        {"memory with more",
         ECS_SCOPE_TASK,
         {{TEXT("type"), TEXT("tmpfs")}, {TEXT("o"), TEXT("size=1m,suid")}},
         "'suid'",
         0},
        {"another file system", ECS_SCOPE_TASK, {{TEXT("type"), TEXT("nfs")}}, "'nfs'", 0},
        {"another option", ECS_SCOPE_TASK, {{TEXT("size"), TEXT("1")}}, "'size'", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err = {0};
        struct spec_docker_volume got = {0};
        struct text_entry options[3];
        size_t count = 0;
        while (count < 3 && cases[i].options[count].key.data != NULL) {
            options[count] = cases[i].options[count];
            count++;
        }
        struct ecs_docker_volume_configuration docker = {.scope = cases[i].scope,
                                                         .driver_opts = {options, count}};
        struct ecs_volume volume = {.name = TEXT("v"), .docker_volume_configuration = &docker};
        print_message("%s\n", cases[i].name);
        int rc = spec_docker_volume(&volume, &arena, &got, &err);
        assert_int_equal(rc, cases[i].want_error == NULL ? 0 : ERR_UNSUPPORTED);
        if (rc != 0) {
            assert_non_null(strstr(err.text, cases[i].want_error));
            continue;
        }
        assert_int_equal(got.kind, cases[i].want);
        assert_int_equal(got.shared, cases[i].scope == ECS_SCOPE_SHARED);
    }
}

// VOLUME of an image is a mount point where nothing else is; the caller's definition stays.
static void image_volumes_become_mount_points(void **state)
{
    (void)state;
    AUTO(arena_deinit) struct arena arena = {0};
    struct text paths[] = {TEXT("/data/"), TEXT("/own"), TEXT("/memory"), TEXT("/"), TEXT("x")};
    struct image with = {.volumes = {paths, ARRAY_LEN(paths)}};
    struct image without = {0};
    const struct image *images[] = {&without, &with};
    struct ecs_mount_point own = {.source_volume = TEXT("v"), .container_path = TEXT("/own")};
    struct ecs_tmpfs tmpfs = {.container_path = TEXT("/memory")};
    struct ecs_linux_parameters parameters = {.tmpfs = {&tmpfs, 1}};
    struct ecs_container_definition containers[] = {
        {.name = TEXT("a")},
        {.name = TEXT("b"), .mount_points = {&own, 1}, .linux_parameters = &parameters}};
    struct ecs_task_definition task = {.container_definitions = {containers, 2}};
    const struct ecs_task_definition *got = spec_with_image_volumes(&task, images, &arena);
    assert_int_equal(got->container_definitions.items[0].mount_points.count, 0);
    const struct ecs_mount_point_list *points = &got->container_definitions.items[1].mount_points;
    assert_int_equal(points->count, 2);
    assert_true(text_is(points->items[0].source_volume, "v"));
    assert_true(text_is(points->items[1].source_volume, "image/1-0"));
    assert_true(text_is(points->items[1].container_path, "/data"));
    assert_int_equal(containers[1].mount_points.count, 1);
}

// As ECS's agent reads them; what is there already wins.
static void environment_files_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *want; // after B=own
    } cases[] = {
        {"", "B=own"},
        {"A=1", "B=own;A=1"},
        {"A=1\nA=2\n", "B=own;A=2"},
        {"B=file\nC=3\r\n", "B=own;C=3"},
        {"#A=1\n A=1\n=1\nA\nC=\n", "B=own; A=1"},
        {"A=b=c\nD='x y'", "B=own;A=b=c;D='x y'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(arena_deinit) struct arena arena = {0};
        struct err err = {0};
        struct ecs_key_value_pair own = {TEXT("B"), TEXT("own")};
        struct ecs_key_value_pair_list list = {&own, 1};
        char got[256] = "";
        assert_int_equal(spec_add_file(&list, text_of(cases[i].content), &arena, &err), 0);
        for (size_t k = 0; k < list.count; k++) {
            size_t used = strlen(got);
            snprintf(got + used, sizeof(got) - used, "%s%.*s=%.*s", k == 0 ? "" : ";",
                     TEXT_FMT(list.items[k].name), TEXT_FMT(list.items[k].value));
        }
        assert_string_equal(got, cases[i].want);
    }
    AUTO(arena_deinit) struct arena arena = {0};
    AUTO(buf_deinit) struct buf many = {0};
    struct err err = {0};
    for (int i = 0; i <= SPEC_VARIABLES_MAX; i++) {
        buf_format(&many, "A%d=1\n", i);
    }
    struct ecs_key_value_pair_list list = {0};
    assert_int_equal(spec_add_file(&list, buf_view(&many), &arena, &err), ERR_NO_ROOM);
    assert_int_equal(list.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_follow_docker),
        cmocka_unit_test(environment_is_layered),
        cmocka_unit_test(signals_have_names_and_numbers),
        cmocka_unit_test(health_commands_are_read),
        cmocka_unit_test(capabilities_are_dockers),
        cmocka_unit_test(limits_are_cut),
        cmocka_unit_test(sysctls_override_the_default),
        cmocka_unit_test(paths_are_cleaned),
        cmocka_unit_test(unsupported_is_refused),
        cmocka_unit_test(security_options_are_read),
        cmocka_unit_test(volumes_are_taken_over),
        cmocka_unit_test(plan_has_ecs_defaults),
        cmocka_unit_test(swap_is_limited_where_it_can_be),
        cmocka_unit_test(labels_give_no_orders),
        cmocka_unit_test(shared_memory_suits_all),
        cmocka_unit_test(docker_volumes_are_read),
        cmocka_unit_test(environment_files_are_read),
        cmocka_unit_test(image_volumes_become_mount_points),
    };
    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
