#include "base/buf.h"
#include "base/text.h"
#include "runtime/oci_internal.h"
#include "runtime/syscalls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <cmocka.h>
#include <jansson.h>

// The two forms of the filter say the same: the program is run here, instruction by instruction,
// for every system call, and compared with what config.json says of its name.

#define EVERY_GRANT UINT32_MAX
#define NUMBERS_MAX 520 // of system calls; there are fewer than 480
#define REFUSED(number) (SECCOMP_RET_ERRNO | (number))

// ---- running a program ----------------------------------------------------------------

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
    uint32_t word = 0;
    assert_true(offset % 4 == 0 && offset + 4 <= sizeof(*data));
    memcpy(&word, (const char *)data + offset, sizeof(word));
    return word;
}

static bool holds(const struct sock_filter *at, uint32_t accumulator)
{
    switch (BPF_OP(at->code)) {
    case BPF_JEQ:
        return accumulator == at->k;
    case BPF_JGT:
        return accumulator > at->k;
    case BPF_JGE:
        return accumulator >= at->k;
    default:
        fail_msg("a jump of an unknown kind: %x", at->code);
        return false;
    }
}

// What of classic BPF such programs are made of. @return the action
static uint32_t run(const struct buf *program, const struct seccomp_data *data)
{
    const struct sock_filter *first = (const void *)program->data;
    size_t count = program->size / sizeof(*first);
    uint32_t accumulator = 0;
    for (size_t i = 0; i < count; i++) {
        const struct sock_filter *at = &first[i];
        switch (at->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            accumulator = load(data, at->k);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            accumulator &= at->k;
            break;
        case BPF_RET | BPF_K:
            return at->k;
        case BPF_JMP | BPF_JA:
            i += at->k;
            break;
        default:
            assert_int_equal(BPF_CLASS(at->code), BPF_JMP);
            i += holds(at, accumulator) ? at->jt : at->jf;
            break;
        }
    }
    fail_msg("a program ran over its end");
    return 0;
}

static struct buf compile(uint32_t grants)
{
    struct buf program = {0};
    struct err err = {0};
    if (syscalls_compile(grants, &program, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_true(program.size > 0);
    assert_int_equal(program.size % sizeof(struct sock_filter), 0);
    assert_true(program.size / sizeof(struct sock_filter) <= BPF_MAXINSNS);
    return program;
}

// ---- what config.json says ------------------------------------------------------------

/** What config.json says, as an OCI runtime reads it. */
struct document {
    json_t *root;
};

static struct document read_document(uint32_t grants)
{
    struct buf text = {0};
    json_error_t error;
    buf_byte(&text, '{');
    syscalls_write(grants, &text);
    buf_byte(&text, '}');
    struct document document = {json_loadb(text.data, text.size, 0, &error)};
    if (document.root == NULL) {
        fail_msg("%s", error.text);
    }
    buf_deinit(&text);
    return document;
}

static bool names(json_t *rule, const char *call)
{
    json_t *list = json_object_get(rule, "names");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), call) == 0) {
            return true;
        }
    }
    return false;
}

static bool meets(json_t *rule, const struct seccomp_data *data)
{
    json_t *condition = json_array_get(json_object_get(rule, "args"), 0);
    if (condition == NULL) {
        return true;
    }
    const char *op = json_string_value(json_object_get(condition, "op"));
    uint64_t value = (uint64_t)json_integer_value(json_object_get(condition, "value"));
    uint64_t two = (uint64_t)json_integer_value(json_object_get(condition, "valueTwo"));
    uint64_t given = data->args[json_integer_value(json_object_get(condition, "index"))];
    if (strcmp(op, "SCMP_CMP_EQ") == 0) {
        return given == value;
    }
    if (strcmp(op, "SCMP_CMP_LT") == 0) {
        return given < value;
    }
    if (strcmp(op, "SCMP_CMP_GT") == 0) {
        return given > value;
    }
    assert_string_equal(op, "SCMP_CMP_MASKED_EQ");
    return (given & value) == two;
}

// A permission wins over a refusal of the same call: they never meet in one profile.
static uint32_t expected(const struct document *document, const char *call,
                         const struct seccomp_data *data)
{
    json_t *rules = json_object_get(json_object_get(document->root, "seccomp"), "syscalls");
    uint32_t action = REFUSED(EPERM);
    for (size_t i = 0; i < json_array_size(rules); i++) {
        json_t *rule = json_array_get(rules, i);
        if (!names(rule, call) || !meets(rule, data)) {
            continue;
        }
        if (strcmp(json_string_value(json_object_get(rule, "action")), "SCMP_ACT_ALLOW") == 0) {
            return SECCOMP_RET_ALLOW;
        }
        action = REFUSED((uint32_t)json_integer_value(json_object_get(rule, "errnoRet")));
    }
    return action;
}

// ---- tests ----------------------------------------------------------------------------

static const uint64_t samples[] = {
    0,         1,          0x8,        0x11,       16,
    37,        38,         39,         40,         41,
    0x20000,   0x20008,    0x20009,    0x10000000, 0x1200011,
    0x2000000, 0x40000000, 0x7e020000, 0xffffffff, UINT64_C(0x100000000),
};

struct architecture {
    uint32_t token;
    uint32_t audit;
    uint32_t bit; ///< of its numbers
    bool narrow;
};

// Calls of 32-bit machines that libseccomp sees as another with an argument of its own.
static bool is_multiplexed(const char *call)
{
    return strcmp(call, "socketcall") == 0 || strcmp(call, "ipc") == 0 ||
           strcmp(call, "socket") == 0;
}

static void compare(const struct architecture *architecture, const struct buf *program,
                    const struct document *document)
{
    size_t seen = 0;
    for (int number = 0; number < NUMBERS_MAX; number++) {
        int full = number | (int)architecture->bit;
        char *call = seccomp_syscall_resolve_num_arch(architecture->token, full);
        if (call == NULL) {
            continue;
        }
        seen++;
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
            struct seccomp_data data = {.nr = full, .arch = architecture->audit};
            // Libseccomp looks at 32 bits of the arguments of such calls.
            data.args[0] = architecture->narrow ? (uint32_t)samples[i] : samples[i];
            data.args[1] = 3;
            uint32_t want = expected(document, call, &data);
            uint32_t got = run(program, &data);
            if (want != got &&
                !(architecture->audit != AUDIT_ARCH_X86_64 && is_multiplexed(call))) {
                fail_msg("%s (%d) of %x with %llx: %x instead of %x", call, number,
                         architecture->audit, (unsigned long long)samples[i], got, want);
            }
        }
        free(call);
    }
    print_message("%zu calls of %x compared\n", seen, architecture->audit);
    assert_true(seen > 300);
}

static bool on_x86(void)
{
    struct utsname name;
    return uname(&name) == 0 && strcmp(name.machine, "x86_64") == 0;
}

static const struct architecture x86[] = {
    {SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, 0, false},
    {SCMP_ARCH_X86, AUDIT_ARCH_I386, 0, true},
    {SCMP_ARCH_X32, AUDIT_ARCH_X86_64, 0x40000000, true},
};

static void program_is_what_the_document_says(void **state)
{
    (void)state;
    if (!on_x86()) {
        print_message("SKIP: numbers of system calls are compared on x86_64 only\n");
        skip();
    }
    static const uint32_t sets[] = {0, 1, 1u << 2, 1u << 12, 0xaaaa, EVERY_GRANT};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct buf program = compile(sets[i]);
        struct document document = read_document(sets[i]);
        print_message("grants %x: %zu instructions\n", sets[i],
                      program.size / sizeof(struct sock_filter));
        for (size_t k = 0; k < ARRAY_LEN(x86); k++) {
            compare(&x86[k], &program, &document);
        }
        json_decref(document.root);
        buf_deinit(&program);
    }
}

// As runc has it: C libraries take ENOSYS, and only that, as a reason to use an older call.
static void program_knows_calls_newer_than_libseccomp(void **state)
{
    (void)state;
    const uint32_t native = seccomp_arch_native();
    uint32_t audit = native == SCMP_ARCH_X86_64 ? AUDIT_ARCH_X86_64 : native;
    static const struct {
        const char *name;
        int number;
        bool needs_admin;
    } calls[] = {{"fchmodat2", 452, false},
                 {"statmount", 457, false},
                 {"lsm_list_modules", 461, true},
                 {"mseal", 462, false},
                 {"removexattrat", 466, false}};
    struct buf plain = compile(0);
    struct buf admin = compile(1);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        struct seccomp_data data = {.nr = calls[i].number, .arch = audit};
        bool allowed = run(&plain, &data) == SECCOMP_RET_ALLOW;
        print_message("%s\n", calls[i].name);
        assert_int_equal(allowed, !calls[i].needs_admin);
        assert_int_equal(run(&admin, &data), SECCOMP_RET_ALLOW);
    }
    struct seccomp_data unknown = {.nr = 999, .arch = audit};
    assert_int_equal(run(&plain, &unknown), REFUSED(ENOSYS));
    assert_int_equal(run(&admin, &unknown), REFUSED(ENOSYS));
    struct seccomp_data none = {.nr = -1, .arch = audit};
    assert_int_equal(run(&plain, &none), REFUSED(EPERM));
    buf_deinit(&plain);
    buf_deinit(&admin);
}

// Another machine's calls would be other ones of the same numbers.
static void program_refuses_other_machines(void **state)
{
    (void)state;
    struct buf program = compile(0);
    struct seccomp_data data = {.nr = 3, .arch = AUDIT_ARCH_PARISC};
    uint32_t action = run(&program, &data);
    print_message("%x\n", action);
    assert_true(action == SECCOMP_RET_KILL_THREAD || action == SECCOMP_RET_KILL_PROCESS);
    buf_deinit(&program);
}

static void grants_are_a_set(void **state)
{
    (void)state;
    struct text some[] = {TEXT("CAP_CHOWN"), TEXT("CAP_SYS_CHROOT"), TEXT("CAP_SYS_TIME")};
    struct text turned[] = {TEXT("CAP_SYS_TIME"), TEXT("CAP_SYS_CHROOT"), TEXT("CAP_KILL")};
    assert_int_equal(syscalls_grants((struct text_list){some, 1}), 0);
    assert_int_equal(syscalls_grants((struct text_list){some, 3}),
                     syscalls_grants((struct text_list){turned, 3}));
    assert_int_not_equal(syscalls_grants((struct text_list){some, 2}),
                         syscalls_grants((struct text_list){some, 3}));
}

// A runtime that passes the annotation over would run containers without any filter.
static void only_crun_is_given_programs(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        bool takes;
    } cases[] = {
        {"crun version 1.8.1\ncommit: f8a096b\n", true},
        {"crun version 0.18\n", true},
        {"crun version 0.17\n", false},
        {"crun version 0.9.1\n", false},
        {"crun version UNKNOWN\n", false},
        {"crun", false},
        {"runc version 1.1.5+ds1\ncommit: crun version 1.8.1\n", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].version);
        assert_int_equal(oci_takes_programs(text_of(cases[i].version)), cases[i].takes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_is_what_the_document_says),
        cmocka_unit_test(program_knows_calls_newer_than_libseccomp),
        cmocka_unit_test(program_refuses_other_machines),
        cmocka_unit_test(grants_are_a_set),
        cmocka_unit_test(only_crun_is_given_programs),
    };
    return cmocka_run_group_tests_name("syscalls", tests, NULL, NULL);
}
