// Attempts that ask the kernel directly: newer mounts, clocks, priorities, sockets of every family.

#include "escape.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

// ---- mounts, files and time

int try_mount_attributes(void)
{
    // struct mount_attr: what to set, what to clear (MOUNT_ATTR_RDONLY), propagation, user.
    uint64_t attributes[4] = {0, 1, 0, 0};
    int rc = result(
        syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, attributes, sizeof(attributes)));
    return rc == EINVAL ? 0 : rc; // it was looked at: only where it is a mount it can be changed
}

int try_move_mount(void)
{
    // Nowhere: where it is allowed at all the kernel says ENOENT.
    int rc = result(syscall(SYS_move_mount, AT_FDCWD, "/no/such", AT_FDCWD, "/no/such", 0));
    return rc == ENOENT ? 0 : rc;
}

int try_io_uring(void)
{
    struct io_uring_params parameters = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 1, &parameters);
    int rc = result(fd);
    close(fd);
    return rc;
}

int try_fanotify(void)
{
    // Of a whole file system, whoever opens a file.
    int fd = fanotify_init(FAN_CLASS_CONTENT, O_RDONLY);
    int rc = result(fd);
    close(fd);
    return rc;
}

int try_swap(void)
{
    int rc = result(swapon("/no/such", 0));
    return rc == ENOENT ? 0 : rc;
}

int try_accounting(void)
{
    int rc = result(acct("/no/such"));
    return rc == ENOENT ? 0 : rc;
}

int try_clock_rate(void)
{
    // Set to what it is.
    struct timex now = {0};
    if (adjtimex(&now) < 0) {
        return errno;
    }
    now.modes = ADJ_FREQUENCY;
    return result(adjtimex(&now));
}

int try_priority(void)
{
    return result(setpriority(PRIO_PROCESS, 0, -20));
}

int try_realtime(void)
{
    const struct sched_param parameters = {.sched_priority = 1};
    return result(sched_setscheduler(0, SCHED_FIFO, &parameters));
}

int try_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return errno;
    }
    limit.rlim_max += 1;
    return result(setrlimit(RLIMIT_NOFILE, &limit));
}

int try_kexec_file(void)
{
    int rc = result(syscall(SYS_kexec_file_load, -1, -1, 0, "", 0));
    return rc == EBADF ? 0 : rc;
}

int try_process_compare(void)
{
    return result(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 0));
}

// ---- files that tell of the host

// Whether a folder shows anything, or a file does.
static int shows(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return errno;
    }
    if (!S_ISDIR(status.st_mode)) {
        return reads(path);
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    char entries[4096];
    long got = fd < 0 ? -1 : syscall(SYS_getdents64, fd, entries, sizeof(entries));
    int rc = got < 0 ? errno : 0;
    close(fd);
    // Two short entries are "." and "..".
    return rc != 0 ? rc : got > 2 * 24 ? 0 : ENODATA;
}

int try_firmware(void)
{
    return shows("/sys/firmware");
}

int try_interrupts(void)
{
    return shows("/proc/interrupts");
}

int try_powercap(void)
{
    return shows("/sys/devices/virtual/powercap");
}

int try_thermal(void)
{
    return shows("/sys/devices/system/cpu/cpu0/thermal_throttle");
}

int try_vmcore(void)
{
    return shows("/proc/vmcore");
}

int try_debug(void)
{
    return shows("/sys/kernel/debug");
}

int try_security(void)
{
    return shows("/sys/kernel/security");
}

// ---- sockets

static int opens_socket(int family, int type, int protocol)
{
    int fd = socket(family, type, protocol);
    int rc = result(fd);
    close(fd);
    return rc;
}

int try_crypto_sockets(void)
{
    return opens_socket(AF_ALG, SOCK_SEQPACKET, 0);
}

int try_hypervisor_sockets(void)
{
    return opens_socket(AF_VSOCK, SOCK_STREAM, 0);
}

/** A request of rtnetlink for an IPv4 address of loopback. */
struct address_request {
    struct nlmsghdr header;
    struct ifaddrmsg body;
    struct rtattr attribute;
    struct in_addr address;
};

// @return the answer's error number
static int ask_netlink(int fd, struct address_request *request)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } answer;
    if (send(fd, request, sizeof(*request), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0) {
        return errno;
    }
    return answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
}

int try_netlink_address(void)
{
    struct address_request request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = RTM_NEWADDR,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
        .body = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = if_nametoindex("lo")},
        .attribute = {.rta_type = IFA_LOCAL, .rta_len = RTA_LENGTH(sizeof(struct in_addr))},
        .address = {.s_addr = htonl(0x7f090909)},
    };
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (fd < 0) {
        return errno;
    }
    int rc = ask_netlink(fd, &request);
    if (rc == 0) {
        request.header.nlmsg_type = RTM_DELADDR;
        request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        ask_netlink(fd, &request);
    }
    close(fd);
    return rc;
}

// To hear what the kernel audits, of everybody.
int try_netlink_audit(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int rc = fd < 0 ? errno : result(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
    close(fd);
    return rc;
}

// To hear what the packet filter tells.
int try_netlink_filter(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int rc = fd < 0 ? errno : result(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
    close(fd);
    return rc;
}

// A socket of a program of the host that has a name and no file.
int try_abstract_host(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s",
                        argument("ABSTRACT_HOST"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc =
        result(connect(fd, (const struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)));
    close(fd);
    return rc;
}
