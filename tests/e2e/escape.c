/*
 * What a program in a container tries that wants out of it, one attempt for each name.
 *
 *   escape NAME [ARGUMENT...]...   prints `NAME held ERRNO` or `NAME done` for each
 *
 * An attempt that the kernel lets through is taken back where it changes anything. Arguments that
 * a test chooses come in the environment. Built without libraries, so that it runs in any image.
 */
#include "escape.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/perf_event.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *argument(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "escape: %s is not set\n", name);
        exit(2);
    }
    return value;
}

/* ---- mounts and namespaces */

static int try_mount(void)
{
    mkdir("/tmp/m", 0700);
    int rc = mount("none", "/tmp/m", "tmpfs", 0, NULL);
    umount("/tmp/m");
    return result(rc);
}

static int try_mount_proc(void)
{
    mkdir("/tmp/m", 0700);
    int rc = mount("proc", "/tmp/m", "proc", 0, NULL);
    umount("/tmp/m");
    return result(rc);
}

static int try_remount_proc_sys(void)
{
    return result(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int try_unmask(void)
{
    return result(umount2("/proc/kcore", MNT_DETACH));
}

static int try_fsopen(void)
{
    return result(syscall(SYS_fsopen, "tmpfs", 0));
}

static int try_open_tree(void)
{
    return result(syscall(SYS_open_tree, AT_FDCWD, "/", 1));
}

static int try_pivot_root(void)
{
    return result(syscall(SYS_pivot_root, ".", "."));
}

static int in_child(int flags)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(unshare(flags) == 0 ? 0 : errno);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int try_unshare_user(void)
{
    return in_child(CLONE_NEWUSER);
}

static int try_unshare_mount(void)
{
    return in_child(CLONE_NEWNS);
}

static int try_unshare_network(void)
{
    return in_child(CLONE_NEWNET);
}

static int try_clone_user(void)
{
    int pid = (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) {
        _exit(0);
    }
    int rc = result(pid);
    waitpid(pid, NULL, 0);
    return rc;
}

static int try_clone3_user(void)
{
    uint64_t arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    int pid = (int)syscall(SYS_clone3, arguments, sizeof(arguments));
    if (pid == 0) {
        _exit(0);
    }
    int rc = result(pid);
    waitpid(pid, NULL, 0);
    return rc;
}

static int try_setns(void)
{
    int fd = open("/proc/self/ns/mnt", O_RDONLY);
    return fd < 0 ? errno : result(setns(fd, CLONE_NEWNS));
}

static int try_chroot_out(void)
{
    // The old way out of a chroot: a working directory above the root. Nothing is above here.
    struct stat before;
    struct stat after;
    mkdir("/tmp/c", 0700);
    if (stat("/", &before) != 0 || chroot("/tmp/c") != 0) {
        return errno;
    }
    for (int i = 0; i < 64; i++) {
        if (chdir("..") != 0) {
            break;
        }
    }
    if (stat(".", &after) != 0 || chroot(".") != 0) {
        return errno;
    }
    bool same = before.st_ino == after.st_ino && before.st_dev == after.st_dev;
    return same ? EXDEV : 0;
}

/* ---- the kernel */

static int try_keyctl(void)
{
    return result(syscall(SYS_keyctl, 0, -4, 1, 0, 0));
}

static int try_add_key(void)
{
    return result(syscall(SYS_add_key, "user", "berth-escape", "x", 1, -2));
}

static int try_bpf(void)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return result(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int try_perf(void)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK};
    // Of every process on a processor.
    return result(syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0));
}

static int try_load_module(void)
{
    // No module: where it is allowed at all the kernel says ENOEXEC.
    int rc = result(syscall(SYS_init_module, "not a module", 12, ""));
    return rc == ENOEXEC ? 0 : rc;
}

static int try_load_module_file(void)
{
    int fd = open("/proc/self/exe", O_RDONLY);
    int rc = result(syscall(SYS_finit_module, fd, "", 0));
    return rc == ENOEXEC ? 0 : rc;
}

static int try_delete_module(void)
{
    int rc = result(syscall(SYS_delete_module, "berth_no_such", O_NONBLOCK));
    return rc == ENOENT ? 0 : rc;
}

static int try_kexec(void)
{
    // With no segments it would unload an image that nobody has loaded.
    return result(syscall(SYS_kexec_load, 0, 0, NULL, 0));
}

static int try_reboot(void)
{
    // Only whether Ctrl-Alt-Del is told to init; in a pid namespace of its own the kernel refuses.
    return result(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
}

static int try_handle(void)
{
    // As "shocker" did: the root of the file system below, by its number alone.
    struct {
        struct file_handle header;
        uint32_t inode[2];
    } handle = {{.handle_bytes = 8, .handle_type = 1}, {2, 0}};
    int fd = open("/etc/hosts", O_RDONLY);
    return result(open_by_handle_at(fd, &handle.header, O_RDONLY));
}

static int try_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return result(clock_settime(CLOCK_REALTIME, &now));
}

static int try_kernel_log(void)
{
    return result(syscall(SYS_syslog, 10, NULL, 0)) != 0
               ? result(syscall(SYS_syslog, 3, (char[64]){0}, 64))
               : result(syscall(SYS_syslog, 3, (char[64]){0}, 64));
}

static int try_ports(void)
{
#ifdef SYS_iopl
    return result(syscall(SYS_iopl, 3));
#else
    return ENOSYS;
#endif
}

static int try_userfault(void)
{
    return result(syscall(SYS_userfaultfd, 0));
}

static int try_hostname(void)
{
    char name[256];
    gethostname(name, sizeof(name));
    return result(sethostname(name, strlen(name)));
}

/* ---- devices and files of the kernel */

static int open_node(mode_t type, unsigned major_number, unsigned minor_number, int flags)
{
    unlink("/tmp/node");
    if (mknod("/tmp/node", type | 0600, makedev(major_number, minor_number)) != 0) {
        return errno;
    }
    int fd = open("/tmp/node", flags | O_NONBLOCK);
    int rc = result(fd);
    close(fd);
    unlink("/tmp/node");
    return rc;
}

static int try_disk(void)
{
    unsigned numbers[2] = {0};
    if (sscanf(argument("DISK"), "%u:%u", &numbers[0], &numbers[1]) != 2) {
        return ENODEV;
    }
    return open_node(S_IFBLK, numbers[0], numbers[1], O_RDONLY);
}

static int try_mem(void)
{
    return open_node(S_IFCHR, 1, 1, O_RDONLY);
}

static int try_port(void)
{
    return open_node(S_IFCHR, 1, 4, O_RDONLY);
}

static int try_kmsg(void)
{
    return open_node(S_IFCHR, 1, 11, O_RDONLY);
}

static int try_loop_control(void)
{
    return open_node(S_IFCHR, 10, 237, O_RDWR);
}

static int try_tun(void)
{
    return open_node(S_IFCHR, 10, 200, O_RDWR);
}

static int try_fuse(void)
{
    return open_node(S_IFCHR, 10, 229, O_RDWR);
}

static int try_terminal(void)
{
    return open_node(S_IFCHR, 4, 1, O_RDONLY);
}

static int writes(const char *path)
{
    int fd = open(path, O_WRONLY);
    int rc = result(fd);
    close(fd);
    return rc;
}

static int try_core_pattern(void)
{
    return writes("/proc/sys/kernel/core_pattern");
}

static int try_modprobe(void)
{
    return writes("/proc/sys/kernel/hotplug") == ENOENT ? writes("/proc/sys/vm/overcommit_memory")
                                                        : writes("/proc/sys/kernel/hotplug");
}

static int try_binfmt(void)
{
    return writes("/proc/sys/fs/file-max");
}

static int try_sysrq(void)
{
    return writes("/proc/sysrq-trigger");
}

static int try_irq(void)
{
    return writes("/proc/irq/default_smp_affinity");
}

static int try_uevent_helper(void)
{
    return writes("/sys/kernel/uevent_helper") == ENOENT ? writes("/sys/kernel/mm/ksm/run")
                                                         : writes("/sys/kernel/uevent_helper");
}

// Whether a masked file tells anything.
int reads(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) {
        return errno;
    }
    ssize_t got = read(fd, &byte, 1);
    int rc = got < 0 ? errno : got == 0 ? ENODATA : 0;
    close(fd);
    return rc;
}

static int try_kcore(void)
{
    return reads("/proc/kcore");
}

static int try_keys(void)
{
    return reads("/proc/keys");
}

static int try_timers(void)
{
    return reads("/proc/timer_list");
}

static int try_oom_protection(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    int rc = fd < 0 ? errno : result(write(fd, "-1000", 5));
    close(fd);
    return rc;
}

// Control groups: v1 has a folder for each controller, v2 has the files at once.
static int writes_group(const char *v1, const char *v2)
{
    return access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0 ? writes(v2) : writes(v1);
}

static int try_release_agent(void)
{
    return writes_group("/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs");
}

static int try_notify_on_release(void)
{
    return writes_group("/sys/fs/cgroup/memory/notify_on_release",
                        "/sys/fs/cgroup/cgroup.subtree_control");
}

static int try_devices_allow(void)
{
    return writes_group("/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/cgroup.type");
}

static int try_memory_limit(void)
{
    return writes_group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max");
}

static int try_pids_limit(void)
{
    return writes_group("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max");
}

static int try_new_group(void)
{
    bool v2 = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0;
    const char *path = v2 ? "/sys/fs/cgroup/escape" : "/sys/fs/cgroup/memory/escape";
    int rc = result(mkdir(path, 0755));
    rmdir(path);
    return rc;
}

/* ---- other processes */

static int try_ptrace_first(void)
{
    int rc = result(ptrace(PTRACE_ATTACH, atoi(argument("TARGET")), NULL, NULL));
    if (rc == 0) {
        waitpid(atoi(argument("TARGET")), NULL, __WALL);
        ptrace(PTRACE_DETACH, atoi(argument("TARGET")), NULL, NULL);
    }
    return rc;
}

static int of_target(const char *what, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%s/%s", argument("TARGET"), what);
    int fd = open(path, flags);
    int rc = result(fd);
    close(fd);
    return rc;
}

static int try_target_root(void)
{
    return of_target("root/etc", O_RDONLY | O_DIRECTORY);
}

static int try_target_memory(void)
{
    return of_target("mem", O_RDWR);
}

static int try_target_environment(void)
{
    return of_target("environ", O_RDONLY);
}

static int try_target_namespace(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%s/ns/net", argument("TARGET"));
    int fd = open(path, O_RDONLY);
    return fd < 0 ? errno : result(setns(fd, 0));
}

static int try_target_descriptor(void)
{
    int fd = (int)syscall(SYS_pidfd_open, atoi(argument("TARGET")), 0);
    return fd < 0 ? errno : result(syscall(SYS_pidfd_getfd, fd, 0, 0));
}

// CVE-2019-5736: the runtime's own program, while it comes into the container (for a health check),
// by its /proc entry. A copy that the runtime made of itself in memory is sealed; only a file
// counts.
static int try_overwrite_runtime(void)
{
    char path[64];
    char own[64];
    char target[4096];
    int rc = ENOENT;
    int seen = ENOENT;
    time_t end = time(NULL) + 5;
    snprintf(own, sizeof(own), "%d", (int)getpid());
    while (time(NULL) < end && rc != 0) {
        for (int pid = 2; pid < 200 && rc != 0; pid++) {
            snprintf(path, sizeof(path), "/proc/%d/exe", pid);
            ssize_t size = readlink(path, target, sizeof(target) - 1);
            if (size <= 0) {
                // It does not even say what it is: the runtime, while it keeps itself unseen.
                seen = errno == EACCES ? EACCES : seen;
                continue;
            }
            target[size] = '\0';
            if (strstr(target, "escape") != NULL || strstr(target, "busybox") != NULL ||
                strncmp(target, "/bin/", 5) == 0) {
                continue;
            }
            int fd = open(path, O_WRONLY);
            rc = result(fd);
            if (rc == 0) {
                fprintf(stderr, "escape: could write '%s'\n", target);
                rc = strstr(target, "memfd") != NULL ? ETXTBSY : 0;
            }
            close(fd);
            seen = rc;
        }
    }
    return rc == 0 ? 0 : seen;
}

/* ---- files and sockets of the host */

static int try_host_file(void)
{
    struct stat status;
    return result(stat(argument("HOST_FILE"), &status));
}

static int try_host_file_by_root(void)
{
    char path[4096];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/1/root/../../../..%s", argument("HOST_FILE"));
    return result(stat(path, &status));
}

static int try_host_file_by_cwd(void)
{
    char path[4096];
    struct stat status;
    snprintf(path, sizeof(path), "/proc/self/cwd/../../../../../../..%s", argument("HOST_FILE"));
    return result(stat(path, &status));
}

// A descriptor of the host that was left open leads out by "..".
static int try_descriptors(void)
{
    char path[4096];
    struct stat status;
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d/../../../../../../../..%s", fd,
                 argument("HOST_FILE"));
        if (stat(path, &status) == 0) {
            return 0;
        }
        // What is open besides the three is somebody else's.
        if (fd > 2 && fcntl(fd, F_GETFD) >= 0) {
            return 0;
        }
    }
    return EBADF;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int rc = result(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
    close(fd);
    return rc;
}

static int try_supervisor_socket(void)
{
    return connect_unix(argument("SUPERVISOR_SOCKET"));
}

static int try_docker_socket(void)
{
    return connect_unix("/var/run/docker.sock");
}

// Of the abstract ones, which have no file and belong to the network namespace, any of Berth's.
static int try_abstract_sockets(void)
{
    char line[512];
    FILE *file = fopen("/proc/net/unix", "r");
    bool found = false;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        found = found || (strstr(line, " @") != NULL && strstr(line, "berth") != NULL);
    }
    return found ? 0 : ENOENT;
}

/* ---- the network */

static int connect_to(const char *name)
{
    char text[64];
    struct sockaddr_in address = {.sin_family = AF_INET};
    snprintf(text, sizeof(text), "%s", argument(name));
    char *port = strchr(text, ':');
    if (port == NULL) {
        return EINVAL;
    }
    *port++ = '\0';
    inet_pton(AF_INET, text, &address.sin_addr);
    address.sin_port = htons((uint16_t)atoi(port));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int rc = result(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (rc == EINPROGRESS) {
        socklen_t size = sizeof(rc);
        rc = poll(&ready, 1, 1500) == 1
                 ? (getsockopt(fd, SOL_SOCKET, SO_ERROR, &rc, &size) == 0 ? rc : errno)
                 : ETIMEDOUT;
    }
    close(fd);
    return rc;
}

static int try_host_loopback(void)
{
    return connect_to("HOST_LOOPBACK");
}

static int try_host_loopback_by_gateway(void)
{
    return connect_to("GATEWAY");
}

static int try_other_network(void)
{
    return connect_to("OTHER_NETWORK");
}

static int try_other_agent_port(void)
{
    return connect_to("OTHER_AGENT");
}

static int try_network_admin(void)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof(request.ifr_name), "lo");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int rc = ioctl(fd, SIOCGIFFLAGS, &request);
    rc = rc == 0 ? ioctl(fd, SIOCSIFFLAGS, &request) : rc;
    int number = result(rc);
    close(fd);
    return number;
}

/** A socket for frames, with the interface's own hardware address. */
struct wire {
    int fd;
    struct sockaddr_ll to;
    uint8_t own[6];
};

static int wire_open(struct wire *wire)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof(request.ifr_name), "eth0");
    wire->fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    if (wire->fd < 0 || ioctl(wire->fd, SIOCGIFHWADDR, &request) != 0) {
        return errno;
    }
    memcpy(wire->own, request.ifr_hwaddr.sa_data, 6);
    if (ioctl(wire->fd, SIOCGIFINDEX, &request) != 0) {
        return errno;
    }
    wire->to = (struct sockaddr_ll){
        .sll_family = AF_PACKET, .sll_ifindex = request.ifr_ifindex, .sll_halen = 6};
    return 0;
}

static void wire_send(struct wire *wire, const void *bytes, size_t size)
{
    if (sendto(wire->fd, bytes, size, 0, (const struct sockaddr *)&wire->to, sizeof(wire->to)) <
        0) {
        perror("escape: sending a frame");
    }
}

// "I am VICTIM", to everybody, as an answer and as a question.
static int try_claim_address(void)
{
    struct wire wire;
    int rc = wire_open(&wire);
    if (rc != 0) {
        return rc;
    }
    struct in_addr victim;
    inet_pton(AF_INET, argument("VICTIM"), &victim);
    struct {
        struct ether_header ether;
        struct arphdr arp;
        uint8_t sender_mac[6];
        uint32_t sender;
        uint8_t target_mac[6];
        uint32_t target;
    } __attribute__((packed)) frame = {
        .ether = {.ether_type = htons(ETH_P_ARP)},
        .arp = {.ar_hrd = htons(ARPHRD_ETHER), .ar_pro = htons(ETH_P_IP), .ar_hln = 6, .ar_pln = 4},
        .sender = victim.s_addr,
        .target = victim.s_addr,
    };
    memset(frame.ether.ether_dhost, 0xff, 6);
    memset(frame.target_mac, 0xff, 6);
    memcpy(frame.ether.ether_shost, wire.own, 6);
    memcpy(frame.sender_mac, wire.own, 6);
    for (int i = 0; i < 10; i++) {
        frame.arp.ar_op = htons(i % 2 == 0 ? ARPOP_REPLY : ARPOP_REQUEST);
        wire_send(&wire, &frame, sizeof(frame));
    }
    close(wire.fd);
    return 0; // whether anybody believed it is seen elsewhere
}

static uint16_t checksum(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < size; i += 2) {
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

// A datagram from SPOOFED_FROM to SPOOFED_TO (both ADDRESS:PORT), by frames to the hardware address
// SPOOFED_MAC, so that no routing table of ours has a say.
static int try_spoofed_datagram(void)
{
    struct wire wire;
    int rc = wire_open(&wire);
    if (rc != 0) {
        return rc;
    }
    char from[64];
    char to[64];
    snprintf(from, sizeof(from), "%s", argument("SPOOFED_FROM"));
    snprintf(to, sizeof(to), "%s", argument("SPOOFED_TO"));
    char *from_port = strchr(from, ':');
    char *to_port = strchr(to, ':');
    if (from_port == NULL || to_port == NULL) {
        return EINVAL;
    }
    *from_port++ = '\0';
    *to_port++ = '\0';
    struct {
        struct ether_header ether;
        struct iphdr ip;
        struct udphdr udp;
        char payload[8];
    } __attribute__((packed)) frame = {
        .ether = {.ether_type = htons(ETH_P_IP)},
        .ip = {.version = 4,
               .ihl = 5,
               .ttl = 64,
               .protocol = IPPROTO_UDP,
               .tot_len = htons(sizeof(frame) - sizeof(frame.ether))},
        .udp = {.source = htons((uint16_t)atoi(from_port)),
                .dest = htons((uint16_t)atoi(to_port)),
                .len = htons(sizeof(frame.udp) + sizeof(frame.payload))},
        .payload = "spoofed",
    };
    uint32_t addresses[2];
    inet_pton(AF_INET, from, &addresses[0]);
    inet_pton(AF_INET, to, &addresses[1]);
    frame.ip.saddr = addresses[0];
    frame.ip.daddr = addresses[1];
    frame.ip.check = htons(checksum(&frame.ip, sizeof(frame.ip)));
    unsigned mac[6];
    if (sscanf(argument("SPOOFED_MAC"), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3],
               &mac[4], &mac[5]) != 6) {
        return EINVAL;
    }
    for (size_t i = 0; i < 6; i++) {
        frame.ether.ether_dhost[i] = (uint8_t)mac[i];
    }
    memcpy(frame.ether.ether_shost, wire.own, 6);
    for (int i = 0; i < 5; i++) {
        wire_send(&wire, &frame, sizeof(frame));
        usleep(50000);
    }
    close(wire.fd);
    return 0;
}

// A datagram to each of the addresses in BROADCAST, port 7001, which says whom it is for.
static int try_broadcast(void)
{
    char text[256];
    char *state = NULL;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    snprintf(text, sizeof(text), "%s", argument("BROADCAST"));
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) != 0) {
        return errno;
    }
    for (char *name = strtok_r(text, " ", &state); name != NULL;
         name = strtok_r(NULL, " ", &state)) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7001)};
        char payload[64];
        int size = snprintf(payload, sizeof(payload), "to %s", name);
        inet_pton(AF_INET, name, &to.sin_addr);
        if (sendto(fd, payload, (size_t)size, 0, (const struct sockaddr *)&to, sizeof(to)) < 0) {
            return errno;
        }
    }
    close(fd);
    return 0;
}

// Not an attempt: says on a line each what comes to UDP port 7001, for as long as it runs.
static int hear(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7001)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return errno;
    }
    puts("listening");
    fflush(stdout);
    char text[64];
    ssize_t got = 0;
    while ((got = recv(fd, text, sizeof(text) - 1, 0)) >= 0) {
        text[got] = '\0';
        printf("heard %s\n", text);
        fflush(stdout);
    }
    return errno;
}

/* ---- */

static const struct {
    const char *name;
    int (*run)(void);
} attempts[] = {
    {"mount", try_mount},
    {"mount-proc", try_mount_proc},
    {"remount-proc-sys", try_remount_proc_sys},
    {"unmask", try_unmask},
    {"fsopen", try_fsopen},
    {"open-tree", try_open_tree},
    {"pivot-root", try_pivot_root},
    {"unshare-user", try_unshare_user},
    {"unshare-mount", try_unshare_mount},
    {"unshare-network", try_unshare_network},
    {"clone-user", try_clone_user},
    {"clone3-user", try_clone3_user},
    {"setns", try_setns},
    {"chroot-out", try_chroot_out},
    {"keyctl", try_keyctl},
    {"add-key", try_add_key},
    {"bpf", try_bpf},
    {"perf", try_perf},
    {"load-module", try_load_module},
    {"load-module-file", try_load_module_file},
    {"delete-module", try_delete_module},
    {"kexec", try_kexec},
    {"reboot", try_reboot},
    {"handle", try_handle},
    {"clock", try_clock},
    {"kernel-log", try_kernel_log},
    {"ports", try_ports},
    {"userfault", try_userfault},
    {"hostname", try_hostname},
    {"disk", try_disk},
    {"mem", try_mem},
    {"port", try_port},
    {"kmsg", try_kmsg},
    {"loop-control", try_loop_control},
    {"tun", try_tun},
    {"fuse", try_fuse},
    {"terminal", try_terminal},
    {"core-pattern", try_core_pattern},
    {"kernel-memory-settings", try_modprobe},
    {"file-settings", try_binfmt},
    {"sysrq", try_sysrq},
    {"irq", try_irq},
    {"uevent-helper", try_uevent_helper},
    {"kcore", try_kcore},
    {"keys", try_keys},
    {"timers", try_timers},
    {"oom-protection", try_oom_protection},
    {"release-agent", try_release_agent},
    {"notify-on-release", try_notify_on_release},
    {"devices-allow", try_devices_allow},
    {"memory-limit", try_memory_limit},
    {"pids-limit", try_pids_limit},
    {"new-group", try_new_group},
    {"target-ptrace", try_ptrace_first},
    {"target-root", try_target_root},
    {"target-memory", try_target_memory},
    {"target-environment", try_target_environment},
    {"target-namespace", try_target_namespace},
    {"target-descriptor", try_target_descriptor},
    {"overwrite-runtime", try_overwrite_runtime},
    {"host-file", try_host_file},
    {"host-file-by-root", try_host_file_by_root},
    {"host-file-by-cwd", try_host_file_by_cwd},
    {"descriptors", try_descriptors},
    {"supervisor-socket", try_supervisor_socket},
    {"docker-socket", try_docker_socket},
    {"abstract-sockets", try_abstract_sockets},
    {"host-loopback", try_host_loopback},
    {"host-loopback-by-gateway", try_host_loopback_by_gateway},
    {"other-network", try_other_network},
    {"other-agent-port", try_other_agent_port},
    {"network-admin", try_network_admin},
    {"mount-attributes", try_mount_attributes},
    {"move-mount", try_move_mount},
    {"io-uring", try_io_uring},
    {"fanotify", try_fanotify},
    {"swap", try_swap},
    {"accounting", try_accounting},
    {"clock-rate", try_clock_rate},
    {"priority", try_priority},
    {"realtime", try_realtime},
    {"limits", try_limits},
    {"kexec-file", try_kexec_file},
    {"process-compare", try_process_compare},
    {"crypto-sockets", try_crypto_sockets},
    {"hypervisor-sockets", try_hypervisor_sockets},
    {"netlink-address", try_netlink_address},
    {"netlink-audit", try_netlink_audit},
    {"netlink-filter", try_netlink_filter},
    {"abstract-host", try_abstract_host},
    {"firmware", try_firmware},
    {"interrupts", try_interrupts},
    {"powercap", try_powercap},
    {"thermal", try_thermal},
    {"vmcore", try_vmcore},
    {"debug", try_debug},
    {"security", try_security},
    {"watch", try_watch},
    {"race", try_race},
    {"claim-address", try_claim_address},
    {"spoofed-datagram", try_spoofed_datagram},
    {"broadcast", try_broadcast},
    {"hear", hear},
};

static void attempt(const char *name)
{
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        if (strcmp(attempts[i].name, name) != 0) {
            continue;
        }
        // In a process of its own, so that what one changes of itself is not the next one's.
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            int rc = attempts[i].run();
            printf("%s %s %s\n", name, rc == 0 ? "done" : "held",
                   rc == 0 ? "" : strerrorname_np(rc));
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (status != 0) {
            printf("%s broken %d\n", name, status);
        }
        return;
    }
    printf("%s unknown\n", name);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        attempt(argv[i]);
    }
    return 0;
}
