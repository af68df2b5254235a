#include "cli/commands.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Each check answers in one line: what was looked at, how it is, and what to do about it. Nothing
 * is changed on the host.
 */

enum finding { FINE, WEAK, LACKING };

struct report {
    size_t lacking;
    const char *data_dir;
};

static void tell(struct report *report, enum finding finding, const char *what, const char *how)
{
    static const char *const marks[] = {"ok    ", "weak  ", "lacks "};
    printf("%s %s: %s\n", marks[finding], what, how);
    report->lacking += finding == LACKING ? 1 : 0;
}

static bool in_path(const char *program)
{
    struct text rest = text_of(getenv("PATH"));
    while (rest.data != NULL) {
        struct text directory = text_cut(&rest, ':');
        AUTO(alloc_string) char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), program);
        if (access(path, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static void check_user(struct report *report)
{
    if (geteuid() == 0) {
        tell(report, FINE, "user", "root");
    } else {
        tell(report, LACKING, "user", "containers need root for namespaces and mounts; use sudo");
    }
}

static void check_runtime(struct report *report)
{
    if (in_path("crun")) {
        tell(report, FINE, "OCI runtime", "crun");
    } else if (in_path("runc")) {
        tell(report, WEAK, "OCI runtime", "runc only, which starts slower; apt-get install crun");
    } else {
        tell(report, LACKING, "OCI runtime", "neither crun nor runc; apt-get install crun");
    }
}

static void check_cgroups(struct report *report)
{
    if (access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0) {
        tell(report, FINE, "cgroups", "v2");
    } else if (access("/sys/fs/cgroup/memory", R_OK) == 0) {
        bool hybrid = access("/sys/fs/cgroup/unified", R_OK) == 0;
        tell(report, FINE, "cgroups", hybrid ? "v1 controllers beside an empty v2" : "v1");
    } else {
        tell(report, LACKING, "cgroups",
             "not mounted: mount -t cgroup2 none /sys/fs/cgroup (systemd does this)");
    }
}

static void check_filesystem(struct report *report, const char *name, const char *module)
{
    AUTO(buf_deinit) struct buf list = {0};
    struct err err;
    if (file_read(AT_FDCWD, "/proc/filesystems", 65536, &list, &err) != 0) {
        tell(report, LACKING, name, err.text);
        return;
    }
    AUTO(alloc_string) char *line = alloc_format("\t%s\n", name);
    if (strstr(list.data, line) != NULL) {
        tell(report, FINE, name, "there");
    } else {
        AUTO(alloc_string)
        char *advice =
            alloc_format("not loaded yet: modprobe %s (loaded on demand on most hosts)", module);
        tell(report, WEAK, name, advice);
    }
}

// Namespaces are tried in a child, so that this process keeps its own.
static void check_namespaces(struct report *report)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) == 0
                  ? 0
                  : errno);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) {
        tell(report, LACKING, "namespaces", "could not be tried");
    } else if (WEXITSTATUS(status) == 0) {
        tell(report, FINE, "namespaces", "network, mount, pid, uts, ipc");
    } else {
        AUTO(alloc_string)
        char *why = alloc_format("%s; inside a container, run it privileged",
                                 strerror(WEXITSTATUS(status)));
        tell(report, LACKING, "namespaces", why);
    }
}

static void check_forwarding(struct report *report)
{
    AUTO(buf_deinit) struct buf value = {0};
    struct err err;
    if (file_read(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &value, &err) != 0) {
        tell(report, LACKING, "IPv4 forwarding", err.text);
    } else {
        tell(report, FINE, "IPv4 forwarding",
             value.data[0] == '1' ? "on" : "off now; berth switches it on for outward traffic");
    }
}

static void check_files(struct report *report)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    AUTO(alloc_string) char *how = alloc_format("%llu at most", (unsigned long long)limit.rlim_max);
    tell(report, limit.rlim_max >= 4096 ? FINE : WEAK, "open files", how);
}

static void check_disk(struct report *report)
{
    // The directory may not be there before the first start: ask for the nearest parent.
    AUTO(alloc_string) char *path = alloc_string(report->data_dir);
    struct statvfs disk;
    while (statvfs(path, &disk) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path) {
            return;
        }
        *slash = '\0';
    }
    uint64_t free_mib = ((uint64_t)disk.f_bavail * disk.f_frsize) >> 20;
    uint64_t total_mib = ((uint64_t)disk.f_blocks * disk.f_frsize) >> 20;
    uint64_t reserve_mib = MIN(total_mib / 20, (uint64_t)1024); // as agent/garbage.h has it
    bool full = free_mib < reserve_mib;
    AUTO(alloc_string)
    char *how = alloc_format("%llu MiB free at %s%s", (unsigned long long)free_mib, path,
                             full ? "; a node here takes no new tasks: make room, or give it "
                                    "less to keep free with --disk-reserve-mib"
                                  : "");
    tell(report, full ? LACKING : free_mib >= 2048 ? FINE : WEAK, "disk", how);
}

static void check_aws(struct report *report)
{
    if (in_path("aws")) {
        tell(report, FINE, "AWS CLI", "there");
    } else {
        tell(report, WEAK, "AWS CLI", "not there; `berth aws` needs it: apt-get install awscli");
    }
}

int cli_doctor(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'}, {0}};
    const char *data_dir = NULL;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option != 'd') {
            return CLI_USAGE;
        }
        data_dir = optarg;
    }
    struct report report = {.data_dir = cli_data_dir(data_dir)};
    check_user(&report);
    check_runtime(&report);
    check_cgroups(&report);
    check_filesystem(&report, "overlay", "overlay");
    check_namespaces(&report);
    check_forwarding(&report);
    check_files(&report);
    check_disk(&report);
    check_aws(&report);
    if (report.lacking > 0) {
        printf("%zu things are missing; Berth cannot run tasks here until they are there\n",
               report.lacking);
        return CLI_FAILED;
    }
    printf("this host can run tasks\n");
    return 0;
}
