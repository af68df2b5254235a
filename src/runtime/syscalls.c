#include "runtime/syscalls.h"

#include "base/text.h"
#include "runtime/config_internal.h"
#include "runtime/syscalls_internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/utsname.h>

// Docker's default profile: seccomp/default.json of github.com/moby/profiles, as of 2026-05-06
// (3c28324). What is not listed fails with EPERM. Names that a kernel or libseccomp does not know
// are passed over.

// What programs do.
static const char ordinary[] =
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown "
    "chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
    "clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect "
    "copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old "
    "epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit "
    "exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod "
    "fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr "
    "flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate "
    "ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat "
    "get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid "
    "geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid "
    "getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage "
    "getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat "
    "inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy "
    "io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get "
    "ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown "
    "lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek "
    "lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create "
    "memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect "
    "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock "
    "munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause "
    "pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll "
    "ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv "
    "process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead "
    "readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages "
    "removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction "
    "rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min "
    "sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
    "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam "
    "sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop "
    "semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list "
    "set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 "
    "setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 "
    "setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 "
    "setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount "
    "statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create "
    "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 "
    "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times "
    "tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat "
    "utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

// What belongs to machines of one kind; others do not know the names.
static const char of_machines[] =
    "arch_prctl modify_ldt arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint "
    "cacheflush set_tls riscv_flush_icache s390_pci_mmio_read s390_pci_mmio_write "
    "s390_runtime_instr riscv_hwprobe swapcontext";

struct grant {
    const char *capability;
    const char *calls;
};

// What a capability is for. The place of each is its bit in a set of grants.
static const struct grant grants[] = {
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
     "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
     "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount "
     "umount2 unshare"},
    {"CAP_BPF", "bpf"},
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_PERFMON", "perf_event_open"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "delete_module finit_module init_module"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
    {"CAP_SYS_RAWIO", "ioperm iopl"},
    {"CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
};
#define GRANT_SYS_ADMIN 1u

_Static_assert(ARRAY_LEN(grants) <= 32, "a set of grants is a word");

static const struct syscalls_entry conditions[] = {
    // Linux, Linux of 32 bits, each also without a randomised layout; and the question what it is.
    {"personality", 0, SYSCALLS_EQ, 0, 0x0, 0},
    {"personality", 0, SYSCALLS_EQ, 0, 0x8, 0},
    {"personality", 0, SYSCALLS_EQ, 0, 0x20000, 0},
    {"personality", 0, SYSCALLS_EQ, 0, 0x20008, 0},
    {"personality", 0, SYSCALLS_EQ, 0, 0xffffffff, 0},
    // Not AF_ALG, a wide way into the kernel, and not AF_VSOCK, which leads to the hypervisor.
    {"socket", 0, SYSCALLS_LT, 0, AF_ALG, 0},
    {"socket", 0, SYSCALLS_EQ, 0, AF_NFC, 0},
    {"socket", 0, SYSCALLS_GT, 0, AF_VSOCK, 0},
};
_Static_assert(AF_ALG + 1 == AF_NFC && AF_NFC + 1 == AF_VSOCK, "one family is between the two");

// A namespace of a kind that could undo the container's own: flags of clone(2).
#define CLONE_NAMESPACES UINT64_C(0x7e020000)

struct machine {
    const char *name; ///< as uname tells it
    const char *architectures[SYSCALLS_ARCHITECTURES_MAX];
    uint32_t clone_flags; ///< which argument of clone(2) they are
};

static const struct machine machines[] = {
    {"x86_64", {"X86_64", "X86", "X32"}, 0},
    {"aarch64", {"AARCH64", "ARM"}, 0},
    {"riscv64", {"RISCV64"}, 0},
    {"s390x", {"S390X", "S390"}, 1},
    {"ppc64le", {"PPC64LE"}, 0},
};

static const struct machine *find_machine(void)
{
    static const struct machine unknown = {0};
    struct utsname name;
    for (size_t i = 0; uname(&name) == 0 && i < ARRAY_LEN(machines); i++) {
        if (text_is(text_of(name.machine), machines[i].name)) {
            return &machines[i];
        }
    }
    return &unknown;
}

uint32_t syscalls_grants(struct text_list capabilities)
{
    uint32_t granted = 0;
    for (size_t i = 0; i < capabilities.count; i++) {
        for (size_t k = 0; k < ARRAY_LEN(grants); k++) {
            granted |= (uint32_t)text_is(capabilities.items[i], grants[k].capability) << k;
        }
    }
    return granted;
}

static void add(struct syscalls_profile *profile, struct syscalls_entry entry)
{
    ASSERT(profile->count < SYSCALLS_ENTRIES_MAX);
    profile->entries[profile->count++] = entry;
}

void syscalls_profile(uint32_t granted, struct syscalls_profile *out_profile)
{
    const struct machine *machine = find_machine();
    *out_profile = (struct syscalls_profile){0};
    for (size_t i = 0; i < ARRAY_LEN(machine->architectures); i++) {
        out_profile->architectures[i] = machine->architectures[i];
    }
    add(out_profile, (struct syscalls_entry){.calls = ordinary});
    add(out_profile, (struct syscalls_entry){.calls = of_machines});
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        if ((granted >> i & 1) != 0) {
            add(out_profile, (struct syscalls_entry){.calls = grants[i].calls});
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        add(out_profile, conditions[i]);
    }
    if ((granted & GRANT_SYS_ADMIN) == 0) {
        add(out_profile, (struct syscalls_entry){.calls = "clone",
                                                 .compare = SYSCALLS_MASKED_EQ,
                                                 .argument = machine->clone_flags,
                                                 .value = CLONE_NAMESPACES});
        // Its flags are in memory, where no filter looks: the C library tries clone then.
        add(out_profile, (struct syscalls_entry){.calls = "clone3", .refusal = ENOSYS});
    }
}

// ---- as JSON ------------------------------------------------------------------------------

static void write_architectures(const struct syscalls_profile *profile, struct buf *out)
{
    config_key(out, "architectures");
    buf_byte(out, '[');
    for (size_t i = 0; i < SYSCALLS_ARCHITECTURES_MAX && profile->architectures[i] != NULL; i++) {
        config_comma(out);
        buf_format(out, "\"SCMP_ARCH_%s\"", profile->architectures[i]);
    }
    buf_byte(out, ']');
}

static void write_names(const char *calls, struct buf *out)
{
    struct text rest = text_of(calls);
    config_key(out, "names");
    buf_byte(out, '[');
    while (rest.data != NULL) {
        struct text name = text_cut(&rest, ' ');
        config_comma(out);
        buf_format(out, "\"%.*s\"", TEXT_FMT(name));
    }
    buf_byte(out, ']');
}

static void write_entry(const struct syscalls_entry *entry, struct buf *out)
{
    static const char *const operators[] = {
        [SYSCALLS_EQ] = "EQ",
        [SYSCALLS_LT] = "LT",
        [SYSCALLS_GT] = "GT",
        [SYSCALLS_MASKED_EQ] = "MASKED_EQ",
    };
    config_comma(out);
    buf_byte(out, '{');
    write_names(entry->calls, out);
    if (entry->refusal == 0) {
        buf_string(out, ",\"action\":\"SCMP_ACT_ALLOW\"");
    } else {
        buf_format(out, ",\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":%d", entry->refusal);
    }
    if (entry->compare != SYSCALLS_ANY) {
        buf_format(out,
                   ",\"args\":[{\"index\":%u,\"value\":%llu,\"valueTwo\":%llu,"
                   "\"op\":\"SCMP_CMP_%s\"}]",
                   entry->argument, (unsigned long long)entry->value,
                   (unsigned long long)entry->value_two, operators[entry->compare]);
    }
    buf_byte(out, '}');
}

void syscalls_write(uint32_t granted, struct buf *out)
{
    struct syscalls_profile profile;
    syscalls_profile(granted, &profile);
    config_key(out, "seccomp");
    buf_format(out, "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":%d", EPERM);
    write_architectures(&profile, out);
    config_key(out, "syscalls");
    buf_byte(out, '[');
    for (size_t i = 0; i < profile.count; i++) {
        write_entry(&profile.entries[i], out);
    }
    buf_string(out, "]}");
}
