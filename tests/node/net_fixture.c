#include "net_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct net *open_instance(struct host *host, const char *instance, uint32_t pool_size)
{
    char *run_dir = alloc_format("/run/berth-test/%s", instance);
    const struct net_options options = {
        .instance = instance, .run_dir = run_dir, .pool_size = pool_size};
    struct net *net = NULL;
    OK(net_open(&options, &net, &host->err));
    alloc_free(run_dir);
    return net;
}

static int run_child(void (*test)(struct host *host))
{
    struct err err;
    AUTO(fd_close) int socket_fd = -1;
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/run", "tmpfs", 0, NULL) != 0) {
        fprintf(stderr, "cannot make namespaces: %s\n", strerror(errno));
        return SKIPPED;
    }
    if (net_socket_open(&socket_fd, &err) != 0) {
        return 1;
    }
    net_batch_add(&batch, net_message_up(1), "loopback");
    if (net_batch_commit(socket_fd, &batch, 0, &err) != 0) {
        return 1;
    }
    // As much as there is, as in an agent.
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct host host = {.world_fd = -1};
    test(&host);
    arena_deinit(&host.arena);
    return 0;
}

void in_own_host(void (*test)(struct host *host))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(run_child(test));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("SKIPPED: the line before tells what is missing\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- things to make */

static void set_up_link(struct host *host, int socket_fd, const char *name, const char *address)
{
    struct net_link link;
    uint32_t number = 0;
    CHECK(net_parse_address(text_of(address), &number) == 0);
    OK(net_link_get(socket_fd, name, 0, &link, &host->err));
    struct net_batch batch = {0};
    net_batch_add(&batch, net_message_address(link.index, number, 24), "address");
    net_batch_add(&batch, net_message_up(link.index), "up");
    OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
    net_batch_deinit(&batch);
}

int socket_in(struct host *host, int namespace_fd)
{
    int back = -1;
    int socket_fd = -1;
    OK(net_namespace_enter(namespace_fd, &back, &host->err));
    OK(net_socket_open(&socket_fd, &host->err));
    net_namespace_leave(back);
    return socket_fd;
}

void add_route(struct host *host, int socket_fd, const char *range, const char *gateway)
{
    struct net_route_options route = {.type = RTN_UNICAST};
    CHECK(net_parse_range(text_of(range), &route.range) == 0);
    CHECK(net_parse_address(text_of(gateway), &route.gateway) == 0);
    struct net_batch batch = {0};
    net_batch_add(&batch, net_message_route(&route), "route");
    OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
    net_batch_deinit(&batch);
}

// A namespace behind the host: uplink 203.0.113.1 here, world 203.0.113.2 there.
void make_world(struct host *host)
{
    struct net_space world;
    OK(net_space_create(&world, &host->err));
    host->world_fd = world.fd;
    int socket_fd = -1;
    OK(net_socket_open(&socket_fd, &host->err));

    const struct ifinfomsg any = {0};
    struct nl_msg *message = net_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &any, sizeof(any));
    nla_put_string(message, IFLA_IFNAME, "uplink");
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, (void *)(uintptr_t)&any, sizeof(any), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, "world");
    nla_put_u32(message, IFLA_NET_NS_FD, (uint32_t)world.fd);
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    struct net_batch batch = {0};
    net_batch_add(&batch, message, "world");
    OK(net_batch_commit(socket_fd, &batch, 0, &host->err));
    net_batch_deinit(&batch);

    set_up_link(host, socket_fd, "uplink", "203.0.113.1");
    set_up_link(host, world.socket_fd, "world", "203.0.113.2");
    // The world answers whoever asks, and would send into the VPC if the host let it.
    add_route(host, world.socket_fd, "0.0.0.0/0", "203.0.113.1");
    close(world.socket_fd);
    close(socket_fd);
}

/* ---- looking */

// A socket of a namespace; -1 for the host's.
int open_in(struct host *host, int namespace_fd, int type, int protocol)
{
    int back = -1;
    if (namespace_fd >= 0) {
        OK(net_namespace_enter(namespace_fd, &back, &host->err));
    }
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, protocol);
    if (namespace_fd >= 0) {
        net_namespace_leave(back);
    }
    CHECK(fd >= 0);
    return fd;
}

struct sockaddr_in address_of(const char *address, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    CHECK(inet_pton(AF_INET, address, &to.sin_addr) == 1);
    return to;
}

bool readable(int fd, int wait_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, wait_ms) == 1;
}

bool ping(struct host *host, int namespace_fd, const char *address, int wait_ms)
{
    AUTO(fd_close) int fd = open_in(host, namespace_fd, SOCK_RAW, IPPROTO_ICMP);
    static uint16_t sequence;
    sequence++;
    struct icmphdr request = {.type = ICMP_ECHO};
    request.un.echo.id = htons((uint16_t)(getpid() + sequence)); // each a conversation of its own
    request.un.echo.sequence = htons(sequence);
    uint32_t sum = 0;
    uint16_t words[sizeof(request) / 2];
    memcpy(words, &request, sizeof(request));
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        sum += words[i];
    }
    sum = (sum >> 16) + (sum & 0xffff);
    request.checksum = (uint16_t) ~(sum + (sum >> 16));
    struct sockaddr_in to = address_of(address, 0);
    if (sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&to, sizeof(to)) < 0) {
        return false;
    }
    while (readable(fd, wait_ms)) {
        _Alignas(struct iphdr) char packet[256];
        ssize_t size = recv(fd, packet, sizeof(packet), 0);
        size_t head = (size_t)(packet[0] & 15) * 4;
        struct icmphdr reply;
        if (size < (ssize_t)(head + sizeof(reply))) {
            continue;
        }
        memcpy(&reply, packet + head, sizeof(reply));
        if (reply.type == ICMP_ECHOREPLY && reply.un.echo.id == request.un.echo.id &&
            reply.un.echo.sequence == request.un.echo.sequence) {
            return true;
        }
    }
    return false;
}

// Send a datagram to a listener and back. @return who it came from as the listener saw it
struct in_addr exchange(struct host *host, int from_fd, int to_fd, const char *address)
{
    AUTO(fd_close) int listener = open_in(host, to_fd, SOCK_DGRAM, 0);
    AUTO(fd_close) int sender = open_in(host, from_fd, SOCK_DGRAM, 0);
    struct sockaddr_in to = address_of(address, 7777);
    struct sockaddr_in from = {0};
    socklen_t size = sizeof(from);
    char byte = 0;
    CHECK(bind(listener, (struct sockaddr *)&to, sizeof(to)) == 0);
    CHECK(sendto(sender, "q", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1);
    CHECK(readable(listener, WAIT_MS));
    CHECK(recvfrom(listener, &byte, 1, 0, (struct sockaddr *)&from, &size) == 1);
    CHECK(sendto(listener, "a", 1, 0, (struct sockaddr *)&from, size) == 1);
    CHECK(readable(sender, WAIT_MS));
    struct sockaddr_in back = {0};
    size = sizeof(back);
    CHECK(recvfrom(sender, &byte, 1, 0, (struct sockaddr *)&back, &size) == 1);
    CHECK(back.sin_addr.s_addr == to.sin_addr.s_addr);
    return from.sin_addr;
}

size_t count_entries(const char *directory)
{
    DIR *dir = opendir(directory);
    size_t count = 0;
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] == '.' ? 0 : 1;
    }
    closedir(dir);
    return count;
}

size_t count_mounts(const char *below)
{
    struct err err;
    AUTO(buf_deinit) struct buf mounts = {0};
    CHECK(file_read(AT_FDCWD, "/proc/self/mountinfo", 16 << 20, &mounts, &err) == 0);
    size_t count = 0;
    for (const char *at = strstr(mounts.data, below); at != NULL; at = strstr(at + 1, below)) {
        count++;
    }
    return count;
}

size_t count_links(struct host *host)
{
    AUTO(fd_close) int socket_fd = -1;
    struct net_link *links = NULL;
    size_t count = 0;
    OK(net_socket_open(&socket_fd, &host->err));
    OK(net_links(socket_fd, &host->arena, &links, &count, &host->err));
    return count;
}

bool ruleset_names(const char *what)
{
    struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
    nft_ctx_buffer_output(context);
    nft_ctx_buffer_error(context);
    CHECK(nft_run_cmd_from_buffer(context, "list ruleset") == 0);
    bool found = strstr(nft_ctx_get_output_buffer(context), what) != NULL;
    nft_ctx_free(context);
    return found;
}

void run_filter(const char *commands)
{
    struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
    nft_ctx_buffer_error(context);
    CHECK(nft_run_cmd_from_buffer(context, commands) == 0);
    nft_ctx_free(context);
}

// The kernel removes namespaces in the background; here is where it has come to an end.
bool gone_soon(struct host *host, size_t links)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    for (int i = 0; i < 6000; i++) {
        if (count_links(host) == links) {
            return true;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}
