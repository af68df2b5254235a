#include "runtime/syscalls_internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_CHARS_MAX 40 // a call's longest has 23
#define OPTIMIZE_TREE 2u  // a search by halves instead of a comparison for each call

// Calls that libseccomp may be too old to know. From 424 on, numbers are the same on all machines.
struct numbered {
    const char *name;
    uint32_t number;
};

static const struct numbered recent[] = {
    {"cachestat", 451},         {"fchmodat2", 452},        {"map_shadow_stack", 453},
    {"futex_wake", 454},        {"futex_wait", 455},       {"futex_requeue", 456},
    {"statmount", 457},         {"listmount", 458},        {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460}, {"lsm_list_modules", 461}, {"mseal", 462},
    {"setxattrat", 463},        {"getxattrat", 464},       {"listxattrat", 465},
    {"removexattrat", 466},
};

// Numbers that are behind all others, but belong to machines of one kind: ARM's set_tls, all of
// x32.
#define PRIVATE_NUMBERS 0x10000u

static void filter_release(scmp_filter_ctx *filter)
{
    if (*filter != NULL) {
        seccomp_release(*filter);
    }
}

AUTO_VALUE(scmp_filter_ctx, filter_release)

static int resolve(struct text name)
{
    char text[NAME_CHARS_MAX];
    IGNORE(text_copy(name, text, sizeof(text)), "the table has no longer ones");
    return seccomp_syscall_resolve_name(text);
}

static uint32_t action_of(const struct syscalls_entry *entry)
{
    return entry->refusal == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint32_t)entry->refusal);
}

static int add_entry(scmp_filter_ctx filter, const struct syscalls_entry *entry, struct err *err)
{
    static const enum scmp_compare operators[] = {
        [SYSCALLS_EQ] = SCMP_CMP_EQ,
        [SYSCALLS_LT] = SCMP_CMP_LT,
        [SYSCALLS_GT] = SCMP_CMP_GT,
        [SYSCALLS_MASKED_EQ] = SCMP_CMP_MASKED_EQ,
    };
    unsigned count = entry->compare == SYSCALLS_ANY ? 0 : 1;
    const struct scmp_arg_cmp condition = {
        .arg = entry->argument,
        .op = count == 0 ? SCMP_CMP_EQ : operators[entry->compare],
        .datum_a = entry->value,
        .datum_b = entry->value_two,
    };
    struct text rest = text_of(entry->calls);
    while (rest.data != NULL) {
        struct text name = text_cut(&rest, ' ');
        int number = resolve(name);
        int rc = number == __NR_SCMP_ERROR
                     ? 0
                     : seccomp_rule_add_array(filter, action_of(entry), number, count, &condition);
        if (rc < 0) {
            return err_sys(err, -rc, "putting %.*s into a filter", TEXT_FMT(name));
        }
    }
    return 0;
}

static int add_architectures(scmp_filter_ctx filter, const struct syscalls_profile *profile,
                             struct err *err)
{
    for (size_t i = 0; i < SYSCALLS_ARCHITECTURES_MAX && profile->architectures[i] != NULL; i++) {
        char name[NAME_CHARS_MAX];
        IGNORE(text_copy(text_of(profile->architectures[i]), name, sizeof(name)), "short ones");
        for (char *at = name; *at != '\0'; at++) {
            *at = text_lower(*at);
        }
        int rc = seccomp_arch_add(filter, seccomp_arch_resolve_name(name));
        if (rc < 0 && rc != -EEXIST) {
            return err_sys(err, -rc, "filtering calls of %s", name);
        }
    }
    return 0;
}

// Libseccomp writes to a file.
static int export_filter(scmp_filter_ctx filter, struct buf *out_program, struct err *err)
{
    AUTO(fd_close) int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "making a file in memory");
    }
    int rc = seccomp_export_bpf(filter, fd);
    if (rc < 0) {
        return err_sys(err, -rc, "compiling a filter");
    }
    off_t size = lseek(fd, 0, SEEK_END);
    size_t room = BPF_MAXINSNS * sizeof(struct sock_filter);
    if (size <= 0 || (size_t)size > room || (size_t)size % sizeof(struct sock_filter) != 0) {
        return err_set(err, ERR_SYS, "a filter of system calls has %lld bytes", (long long)size);
    }
    if (pread(fd, buf_reserve(out_program, (size_t)size), (size_t)size, 0) != size) {
        return err_sys(err, errno, "reading a filter");
    }
    out_program->size += (size_t)size;
    return 0;
}

// ---- calls that libseccomp does not know --------------------------------------------------

static int highest_in(const char *calls, int highest)
{
    struct text rest = text_of(calls);
    while (rest.data != NULL) {
        int number = resolve(text_cut(&rest, ' '));
        highest = number != __NR_SCMP_ERROR && number > highest ? number : highest;
    }
    return highest;
}

static bool lists(const char *calls, const char *name)
{
    struct text rest = text_of(calls);
    while (rest.data != NULL) {
        if (text_is(text_cut(&rest, ' '), name)) {
            return true;
        }
    }
    return false;
}

static bool is_allowed(const struct syscalls_profile *profile, const char *name)
{
    for (size_t i = 0; i < profile->count; i++) {
        const struct syscalls_entry *entry = &profile->entries[i];
        if (entry->refusal == 0 && entry->compare == SYSCALLS_ANY && lists(entry->calls, name)) {
            return true;
        }
    }
    return false;
}

static void emit(struct buf *program, struct sock_filter instruction)
{
    buf_add(program, &instruction, sizeof(instruction));
}

// What stands before libseccomp's program: numbers above the highest that it knows are looked up
// here, and nothing else is.
static void emit_recent(const struct syscalls_profile *profile, struct buf *program)
{
    struct syscalls_profile all;
    syscalls_profile(UINT32_MAX, &all);
    int highest = 0;
    for (size_t i = 0; i < all.count; i++) {
        highest = highest_in(all.entries[i].calls, highest);
    }
    uint32_t allowed[ARRAY_LEN(recent)];
    uint8_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(recent); i++) {
        if (recent[i].number > (uint32_t)highest && is_allowed(profile, recent[i].name)) {
            allowed[count++] = recent[i].number;
        }
    }
    const uint8_t behind = (uint8_t)(count + 2);
    emit(program,
         (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0,
                                               (uint8_t)(behind + 1)));
    emit(program,
         (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, PRIVATE_NUMBERS, behind, 0));
    for (uint8_t i = 0; i < count; i++) {
        emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i],
                                                   (uint8_t)(count - i), 0));
    }
    emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
    emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static int fill(scmp_filter_ctx filter, const struct syscalls_profile *profile, struct err *err)
{
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, OPTIMIZE_TREE);
    if (rc < 0) {
        return err_sys(err, -rc, "preparing a filter");
    }
    rc = add_architectures(filter, profile, err);
    for (size_t i = 0; rc == 0 && i < profile->count; i++) {
        rc = add_entry(filter, &profile->entries[i], err);
    }
    return rc;
}

int syscalls_compile(uint32_t grants, struct buf *out_program, struct err *err)
{
    struct syscalls_profile profile;
    syscalls_profile(grants, &profile);
    AUTO(filter_release) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return err_set(err, ERR_SYS, "libseccomp makes no filter");
    }
    size_t before = out_program->size;
    int rc = fill(filter, &profile, err);
    if (rc == 0) {
        emit_recent(&profile, out_program);
        rc = export_filter(filter, out_program, err);
    }
    if (rc != 0) {
        out_program->size = before;
    }
    return rc;
}
