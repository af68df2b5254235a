#include "task/join_internal.h"

#include "base/alloc.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int join_limits(const struct supervisor_process *process, struct err *err)
{
    for (size_t i = 0; i < process->limits.count; i++) {
        const struct supervisor_process_limit *limit = &process->limits.items[i];
        const struct rlimit value = {.rlim_cur = (rlim_t)limit->soft,
                                     .rlim_max = (rlim_t)limit->hard};
        if (setrlimit((__rlimit_resource_t)limit->resource, &value) != 0) {
            return err_sys(err, errno, "setrlimit %d", (int)limit->resource);
        }
    }
    return 0;
}

static int drop_bounding(uint64_t kept, struct err *err)
{
    for (unsigned long i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        if ((i >= 64 || (kept >> i & 1) == 0) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) {
            return err_sys(err, errno, "dropping capability %lu", i);
        }
    }
    return 0;
}

static int set_filter(struct text program, struct err *err)
{
    if (program.data == NULL) {
        return 0;
    }
    size_t count = program.size / sizeof(struct sock_filter);
    struct sock_filter *copy = alloc_array(count, sizeof(*copy)); // where it is aligned
    memcpy(copy, program.data, count * sizeof(*copy));
    const struct sock_fprog filter = {.len = (unsigned short)count, .filter = copy};
    int rc = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0
                 ? 0
                 : err_sys(err, errno, "setting the filter of system calls");
    alloc_free(copy);
    return rc;
}

static int set_user(const struct supervisor_process *process, struct err *err)
{
    gid_t *groups = alloc_array(process->groups.count, sizeof(*groups));
    for (size_t i = 0; i < process->groups.count; i++) {
        groups[i] = (gid_t)process->groups.items[i];
    }
    gid_t gid = (gid_t)process->gid;
    uid_t uid = (uid_t)process->uid;
    bool set = setgroups(process->groups.count, groups) == 0 &&
               prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresgid(gid, gid, gid) == 0 &&
               setresuid(uid, uid, uid) == 0 && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0;
    int number = errno;
    alloc_free(groups);
    return set ? 0 : err_sys(err, number, "becoming user %u:%u", (unsigned)uid, (unsigned)gid);
}

static int set_capabilities(uint64_t bits, struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = (uint32_t)bits, .permitted = (uint32_t)bits},
        {.effective = (uint32_t)(bits >> 32), .permitted = (uint32_t)(bits >> 32)},
    };
    if (syscall(SYS_capset, &header, sets) != 0) {
        return err_sys(err, errno, "setting capabilities");
    }
    // None are inheritable, so that these are none already; a kernel without them says so.
    IGNORE(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0, "there are none");
    return 0;
}

int join_rights(const struct supervisor_process *process, struct err *err)
{
    uint64_t capabilities = (uint64_t)process->capabilities;
    int rc = drop_bounding(capabilities, err);
    // Without no_new_privs setting the filter takes a capability, which it is in time for here.
    // What follows is nothing that the filter refuses.
    if (rc == 0 && !process->no_new_privileges) {
        rc = set_filter(process->filter, err);
    }
    if (rc == 0 && process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        rc = err_sys(err, errno, "setting no_new_privs");
    }
    if (rc == 0) {
        rc = set_user(process, err);
    }
    if (rc == 0) {
        rc = set_capabilities(capabilities, err);
    }
    if (rc == 0 && process->no_new_privileges) {
        rc = set_filter(process->filter, err);
    }
    return rc;
}
