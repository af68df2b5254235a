#include "base/text.h"
#include "runtime/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static json_t *parse(const struct buf *buf)
{
    json_error_t error;
    json_t *root = json_loadb(buf->data, buf->size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s at %d: %s", error.text, error.position, buf->data);
    }
    return root;
}

static json_t *at(json_t *json, const char *path)
{
    struct text rest = text_of(path);
    while (json != NULL && rest.data != NULL) {
        struct text part = text_cut(&rest, '/');
        uint64_t index = 0;
        if (text_to_u64(part, &index) == 0) {
            json = json_array_get(json, index);
        } else {
            json = json_object_getn(json, part.data, part.size);
        }
    }
    return json;
}

static json_t *mount_of(json_t *root, const char *destination)
{
    json_t *mounts = at(root, "mounts");
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        json_t *mount = json_array_get(mounts, i);
        if (strcmp(json_string_value(json_object_get(mount, "destination")), destination) == 0) {
            return mount;
        }
    }
    return NULL;
}

static bool holds(json_t *array, const char *string)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (strcmp(json_string_value(json_array_get(array, i)), string) == 0) {
            return true;
        }
    }
    return false;
}

static const uint32_t groups[] = {7, 8};
static const struct config_limit limits[] = {{"RLIMIT_NOFILE", 1024, 4096}};

static struct config sample(struct text *arguments, struct text *capabilities)
{
    arguments[0] = TEXT("/bin/sh");
    arguments[1] = TEXT("say \"hi\"\n\x01\\");
    capabilities[0] = TEXT("CAP_CHOWN");
    return (struct config){
        .process =
            {
                .arguments = {arguments, 2},
                .environment = {arguments, 1},
                .directory = TEXT("/srv"),
                .uid = 1000,
                .gid = 1001,
                .groups = groups,
                .group_count = 2,
                .capabilities = {capabilities, 1},
                .limits = limits,
                .limit_count = 1,
            },
        .hostname = TEXT("ip-10-0-0-5"),
        .network_namespace = TEXT("/run/netns/x"),
        .cgroup_path = TEXT("/berth-1/t/0-web"),
        .shm_bytes = 64u << 20,
        .memory_bytes = 512u << 20,
        .memory_reservation_bytes = 256u << 20,
        .limit_swap = true,
        .cpu_shares = 256,
        .pids_max = 77,
    };
}

// Text of any kind arrives as it was; numbers and lists are where the specification wants them.
static void config_says_what_it_was_given(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[1];
    struct config config = sample(arguments, capabilities);
    struct text options[] = {TEXT("rbind"), TEXT("ro")};
    struct config_mount mount = {TEXT("/data"), TEXT("bind"), TEXT("/host"), {options, 2}};
    struct text_entry sysctl = {TEXT("net.core.somaxconn"), TEXT("512")};
    AUTO(buf_deinit) struct buf out = {0};
    config.mounts = &mount;
    config.mount_count = 1;
    config.sysctls = (struct text_map){&sysctl, 1};
    config_write(&config, &out);
    json_t *root = parse(&out);
    assert_string_equal(json_string_value(at(root, "process/args/1")), "say \"hi\"\n\x01\\");
    assert_string_equal(json_string_value(at(root, "process/cwd")), "/srv");
    assert_int_equal(json_integer_value(at(root, "process/user/uid")), 1000);
    assert_int_equal(json_integer_value(at(root, "process/user/gid")), 1001);
    assert_int_equal(json_integer_value(at(root, "process/user/additionalGids/1")), 8);
    assert_string_equal(json_string_value(at(root, "process/rlimits/0/type")), "RLIMIT_NOFILE");
    assert_string_equal(json_string_value(at(root, "process/capabilities/bounding/0")),
                        "CAP_CHOWN");
    assert_null(at(root, "process/capabilities/inheritable"));
    assert_int_equal(json_integer_value(at(root, "process/oomScoreAdj")), 0);
    assert_string_equal(json_string_value(at(root, "hostname")), "ip-10-0-0-5");
    assert_string_equal(json_string_value(at(root, "root/path")), "rootfs");
    assert_string_equal(json_string_value(at(mount_of(root, "/data"), "source")), "/host");
    assert_true(holds(at(mount_of(root, "/data"), "options"), "ro"));
    assert_string_equal(json_string_value(at(root, "linux/cgroupsPath")), "/berth-1/t/0-web");
    assert_int_equal(json_integer_value(at(root, "linux/resources/memory/limit")), 512 << 20);
    assert_int_equal(json_integer_value(at(root, "linux/resources/memory/swap")), 512 << 20);
    assert_int_equal(json_integer_value(at(root, "linux/resources/memory/reservation")), 256 << 20);
    assert_int_equal(json_integer_value(at(root, "linux/resources/cpu/shares")), 256);
    assert_int_equal(json_integer_value(at(root, "linux/resources/pids/limit")), 77);
    assert_string_equal(
        json_string_value(json_object_get(at(root, "linux/sysctl"), "net.core.somaxconn")), "512");
    json_decref(root);
}

// What keeps a container in: namespaces, masked and read-only paths, devices, read-only cgroups.
static void config_confines(void **state)
{
    (void)state;
    static const char *const kinds[] = {"pid", "ipc", "uts", "mount", "cgroup", "network"};
    struct text arguments[2];
    struct text capabilities[1];
    struct config config = sample(arguments, capabilities);
    AUTO(buf_deinit) struct buf out = {0};
    config.readonly_root = true;
    config_write(&config, &out);
    json_t *root = parse(&out);
    json_t *namespaces = at(root, "linux/namespaces");
    assert_int_equal(json_array_size(namespaces), ARRAY_LEN(kinds));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        assert_string_equal(json_string_value(at(json_array_get(namespaces, i), "type")), kinds[i]);
    }
    assert_string_equal(json_string_value(at(json_array_get(namespaces, 5), "path")),
                        "/run/netns/x");
    assert_true(json_is_true(at(root, "root/readonly")));
    assert_true(holds(at(root, "linux/maskedPaths"), "/proc/kcore"));
    assert_true(holds(at(root, "linux/readonlyPaths"), "/proc/sys"));
    assert_true(json_is_false(at(root, "linux/resources/devices/0/allow")));
    assert_string_equal(json_string_value(at(root, "linux/resources/devices/0/access")), "rwm");
    assert_true(holds(at(mount_of(root, "/sys/fs/cgroup"), "options"), "ro"));
    assert_true(holds(at(mount_of(root, "/sys"), "options"), "ro"));
    assert_true(holds(at(mount_of(root, "/dev/shm"), "options"), "size=67108864"));
    assert_non_null(mount_of(root, "/dev/pts"));
    assert_non_null(mount_of(root, "/dev/mqueue"));
    assert_non_null(mount_of(root, "/proc"));
    json_decref(root);
}

// Limits of zero are left out: a runtime would take them by the letter.
static void config_leaves_out_what_is_not_set(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[1];
    struct config config = sample(arguments, capabilities);
    AUTO(buf_deinit) struct buf out = {0};
    config.memory_bytes = 0;
    config.memory_reservation_bytes = 0;
    config.network_namespace = (struct text){0};
    config_write(&config, &out);
    json_t *root = parse(&out);
    assert_null(at(root, "linux/resources/memory"));
    assert_int_equal(json_array_size(at(root, "linux/namespaces")), 5);
    json_decref(root);
}

static bool has_rule(json_t *root, int64_t major, int64_t minor, const char *access)
{
    json_t *rules = at(root, "linux/resources/devices");
    for (size_t i = 0; i < json_array_size(rules); i++) {
        json_t *rule = json_array_get(rules, i);
        if (json_integer_value(at(rule, "major")) == major &&
            json_integer_value(at(rule, "minor")) == minor && json_is_true(at(rule, "allow")) &&
            strcmp(json_string_value(at(rule, "access")), access) == 0) {
            return true;
        }
    }
    return false;
}

// What is asked for opens exactly that: a device, no network, no more privileges than at the start.
static void config_opens_what_is_asked(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[1];
    const struct config_device device = {.path = TEXT("/dev/x"),
                                         .type = 'c',
                                         .major = 10,
                                         .minor = 229,
                                         .mode = 0660,
                                         .access = "r"};
    struct config config = sample(arguments, capabilities);
    AUTO(buf_deinit) struct buf out = {0};
    config.devices = &device;
    config.device_count = 1;
    config.network_off = true;
    config.process.no_new_privileges = true;
    config_write(&config, &out);
    json_t *root = parse(&out);
    assert_true(has_rule(root, 10, 229, "r"));
    assert_false(has_rule(root, 10, 229, "rwm"));
    assert_string_equal(json_string_value(at(root, "linux/devices/0/path")), "/dev/x");
    assert_int_equal(json_integer_value(at(root, "linux/devices/0/fileMode")), 0660);
    assert_true(json_is_true(at(root, "process/noNewPrivileges")));
    assert_string_equal(json_string_value(at(root, "linux/namespaces/5/type")), "network");
    assert_null(at(root, "linux/namespaces/5/path"));
    assert_true(json_array_size(at(root, "linux/maskedPaths")) > 0);
    json_decref(root);
}

static void config_privileged_hides_nothing(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[1];
    struct config config = sample(arguments, capabilities);
    AUTO(buf_deinit) struct buf out = {0};
    config.privileged = true;
    config_write(&config, &out);
    json_t *root = parse(&out);
    json_t *rules = at(root, "linux/resources/devices");
    assert_int_equal(json_array_size(rules), 1);
    assert_true(json_is_true(at(rules, "0/allow")));
    assert_null(at(root, "linux/maskedPaths"));
    assert_null(at(root, "linux/readonlyPaths"));
    assert_false(holds(at(mount_of(root, "/sys"), "options"), "ro"));
    assert_true(holds(at(mount_of(root, "/sys"), "options"), "nosuid"));
    json_decref(root);
}

// Which namespace is whose: a new one, one that is there, or the host's, which is not named at all.
static void config_names_namespaces(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[1];
    struct config config = sample(arguments, capabilities);
    config.pid.path = TEXT("/run/t/ns/pid");
    config.ipc.host = true;
    config.shm_bytes = 0;
    config.process.terminal = true;
    config.swap_bytes = 32u << 20;
    config.has_swappiness = true;
    config.swappiness = 7;
    struct text_entry label = {TEXT("com.example.a"), TEXT("b\"c")};
    config.annotations = (struct text_map){&label, 1};
    AUTO(buf_deinit) struct buf out = {0};
    config_write(&config, &out);
    json_t *root = parse(&out);
    json_t *namespaces = at(root, "linux/namespaces");
    for (size_t i = 0; i < json_array_size(namespaces); i++) {
        const char *type = json_string_value(at(json_array_get(namespaces, i), "type"));
        const char *path = json_string_value(at(json_array_get(namespaces, i), "path"));
        assert_string_not_equal(type, "ipc");
        if (strcmp(type, "pid") == 0) {
            assert_string_equal(path, "/run/t/ns/pid");
        }
    }
    assert_int_equal(json_array_size(namespaces), 5);
    assert_null(mount_of(root, "/dev/shm"));
    assert_true(json_is_true(at(root, "process/terminal")));
    json_t *memory = at(root, "linux/resources/memory");
    assert_int_equal(json_integer_value(at(memory, "swap")), (512u + 32u) << 20);
    assert_int_equal(json_integer_value(at(memory, "swappiness")), 7);
    assert_string_equal(json_string_value(at(root, "annotations/com.example.a")), "b\"c");
    json_decref(root);
}

// @return whether a rule without conditions allows the call
static bool allows(json_t *root, const char *call)
{
    json_t *rules = at(root, "linux/seccomp/syscalls");
    for (size_t i = 0; i < json_array_size(rules); i++) {
        json_t *rule = json_array_get(rules, i);
        const char *action = json_string_value(json_object_get(rule, "action"));
        if (json_object_get(rule, "args") == NULL && strcmp(action, "SCMP_ACT_ALLOW") == 0 &&
            holds(json_object_get(rule, "names"), call)) {
            return true;
        }
    }
    return false;
}

// What a capability is not there for is not to be called either.
static void calls_follow_capabilities(void **state)
{
    (void)state;
    struct text arguments[2];
    struct text capabilities[2];
    struct config config = sample(arguments, capabilities);
    config.confined = true;
    capabilities[1] = TEXT("CAP_SYS_TIME");
    AUTO(buf_deinit) struct buf out = {0};
    config_write(&config, &out);
    json_t *root = parse(&out);
    assert_string_equal(json_string_value(at(root, "linux/seccomp/defaultAction")),
                        "SCMP_ACT_ERRNO");
    static const char *const allowed[] = {"read", "execve", "futex", "vfork", "openat2"};
    static const char *const refused[] = {"mount",        "bpf",    "keyctl",     "clone",
                                          "settimeofday", "socket", "kexec_load", "io_uring_setup",
                                          "userfaultfd"};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        assert_true(allows(root, allowed[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        print_message("%s\n", refused[i]);
        assert_false(allows(root, refused[i]));
    }
    json_decref(root);
    buf_reset(&out);
    config.process.capabilities.count = 2;
    config_write(&config, &out);
    root = parse(&out);
    assert_true(allows(root, "settimeofday"));
    assert_false(allows(root, "mount"));
    json_decref(root);
    buf_reset(&out);
    capabilities[1] = TEXT("CAP_SYS_ADMIN");
    config_write(&config, &out);
    root = parse(&out);
    assert_true(allows(root, "mount"));
    assert_true(allows(root, "clone3"));
    json_decref(root);
    buf_reset(&out);
    config.confined = false;
    config_write(&config, &out);
    root = parse(&out);
    assert_null(at(root, "linux/seccomp"));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_says_what_it_was_given),
        cmocka_unit_test(config_names_namespaces),
        cmocka_unit_test(calls_follow_capabilities),
        cmocka_unit_test(config_confines),
        cmocka_unit_test(config_opens_what_is_asked),
        cmocka_unit_test(config_privileged_hides_nothing),
        cmocka_unit_test(config_leaves_out_what_is_not_set),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
