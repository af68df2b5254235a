#include "runtime/config_internal.h"

#include "base/text.h"
#include "runtime/config.h"

#include <errno.h>
#include <sys/utsname.h>

// Which system calls a container may make: Docker's default profile, profiles/seccomp/default.json
// of github.com/moby/moby. What is not listed fails with EPERM. Names that a kernel or libseccomp
// does not know are passed over by the OCI runtimes.

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
    "getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 "
    "getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority "
    "getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage "
    "getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr "
    "inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy "
    "io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc "
    "kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 "
    "lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat "
    "lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat "
    "mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open "
    "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap "
    "msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep "
    "newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 "
    "pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 "
    "prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 "
    "restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget "
    "semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid "
    "setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid "
    "setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
    "setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid "
    "setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statx symlink "
    "symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate "
    "truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes "
    "vfork vmsplice wait4 waitid waitpid write writev";

// What belongs to machines of one kind; others do not know the names.
static const char of_machines[] =
    "arch_prctl modify_ldt arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint "
    "cacheflush set_tls riscv_flush_icache s390_pci_mmio_read s390_pci_mmio_write "
    "s390_runtime_instr";

struct grant {
    const char *capability;
    const char *calls;
};

// What a capability is for.
static const struct grant grants[] = {
    {"CAP_BPF", "bpf"},
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_PERFMON", "perf_event_open"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
     "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
     "sethostname setns syslog umount umount2 unshare"},
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

/** A call that is allowed when its first argument compares so. */
struct condition {
    const char *call;
    uint64_t value;
    const char *op;
    uint64_t value_two; ///< of a masked comparison
};

// A namespace of a kind that could undo the container's own: flags of clone(2).
#define CLONE_NAMESPACES UINT64_C(0x7e020000)

static const struct condition conditions[] = {
    // Linux, Linux of 32 bits, each also without a randomised layout; and the question what it is.
    {"personality", 0x0, "SCMP_CMP_EQ", 0},
    {"personality", 0x8, "SCMP_CMP_EQ", 0},
    {"personality", 0x20000, "SCMP_CMP_EQ", 0},
    {"personality", 0x20008, "SCMP_CMP_EQ", 0},
    {"personality", 0xffffffff, "SCMP_CMP_EQ", 0},
    // Not AF_VSOCK, which leads to the hypervisor.
    {"socket", 40, "SCMP_CMP_NE", 0},
};
static const struct condition plain_clone = {"clone", CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0};

struct machine {
    const char *name; ///< as uname tells it
    const char *architectures[2];
};

// Each makes the filter larger and the runtime's start longer, by 3 ms: so not x32, which Debian's
// kernels do not have unless they are told to.
static const struct machine machines[] = {
    {"x86_64", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}},
    {"aarch64", {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}},
    {"riscv64", {"SCMP_ARCH_RISCV64"}},
    {"s390x", {"SCMP_ARCH_S390X", "SCMP_ARCH_S390"}},
    {"ppc64le", {"SCMP_ARCH_PPC64LE"}},
};

static void write_architectures(struct buf *out)
{
    struct utsname name;
    config_key(out, "architectures");
    buf_byte(out, '[');
    for (size_t i = 0; uname(&name) == 0 && i < ARRAY_LEN(machines); i++) {
        const struct machine *machine = &machines[i];
        if (!text_is(text_of(name.machine), machine->name)) {
            continue;
        }
        for (size_t k = 0; k < 2 && machine->architectures[k] != NULL; k++) {
            config_comma(out);
            buf_format(out, "\"%s\"", machine->architectures[k]);
        }
    }
    buf_byte(out, ']');
}

static void begin_rule(struct buf *out, const char *action)
{
    config_comma(out);
    buf_format(out, "{\"action\":\"%s\",\"names\":[", action);
}

static void write_names(struct buf *out, const char *calls)
{
    struct text rest = text_of(calls);
    while (rest.data != NULL) {
        struct text name = text_cut(&rest, ' ');
        config_comma(out);
        buf_format(out, "\"%.*s\"", TEXT_FMT(name));
    }
}

static void write_condition(struct buf *out, const struct condition *condition)
{
    begin_rule(out, "SCMP_ACT_ALLOW");
    buf_format(out,
               "\"%s\"],\"args\":[{\"index\":0,\"value\":%llu,\"valueTwo\":%llu,\"op\":\"%s\"}]}",
               condition->call, (unsigned long long)condition->value,
               (unsigned long long)condition->value_two, condition->op);
}

static bool has_capability(struct text_list capabilities, const char *name)
{
    for (size_t i = 0; i < capabilities.count; i++) {
        if (text_is(capabilities.items[i], name)) {
            return true;
        }
    }
    return false;
}

void config_write_seccomp(struct text_list capabilities, struct buf *out)
{
    config_key(out, "seccomp");
    buf_format(out, "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":%d", EPERM);
    write_architectures(out);
    config_key(out, "syscalls");
    buf_byte(out, '[');
    begin_rule(out, "SCMP_ACT_ALLOW");
    write_names(out, ordinary);
    write_names(out, of_machines);
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        if (has_capability(capabilities, grants[i].capability)) {
            write_names(out, grants[i].calls);
        }
    }
    buf_string(out, "]}");
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        write_condition(out, &conditions[i]);
    }
    if (!has_capability(capabilities, "CAP_SYS_ADMIN")) {
        write_condition(out, &plain_clone);
        // Its flags are in memory, where no filter looks: the C library tries clone then.
        begin_rule(out, "SCMP_ACT_ERRNO");
        buf_format(out, "\"clone3\"],\"errnoRet\":%d}", ENOSYS);
    }
    buf_string(out, "]}");
}
