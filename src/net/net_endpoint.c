#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The address at which a task finds its agent.
 *
 * It is the same in every namespace, so those that are made ahead have it already: see net_pool.c.
 *
 * It is an address of the namespace's own loopback, so packets for it never leave the namespace,
 * and the socket takes only what came over loopback: a neighbour that sends packets for it to the
 * task's interface finds nothing there. Containers may have port 80 for themselves, on every
 * address, so the socket has another one and the kernel exchanges the two. That needs no connection
 * tracking, which would cost every packet of the task.
 */

#define LOOPBACK_INDEX 1 // of every namespace
#define LOOPBACK_NAME "lo"
#define BACKLOG 64 // of connections that the agent, while it is busy, has not accepted

static int add_address(uint32_t address, struct err *err)
{
    AUTO(fd_close) int socket_fd = -1;
    int rc = net_socket_open(&socket_fd, err);
    if (rc != 0) {
        return rc;
    }
    AUTO(net_batch_deinit) struct net_batch batch = {0};
    net_batch_add(&batch, net_message_address(LOOPBACK_INDEX, address, 32),
                  "adding the address of the task's endpoints");
    return net_batch_commit(socket_fd, &batch, EEXIST, err);
}

static uint32_t endpoint_address(void)
{
    uint32_t address = 0;
    int rc = net_parse_address(TEXT(NET_ENDPOINT_ADDRESS), &address);
    ASSERT(rc == 0);
    return address;
}

int net_endpoint_prepare(struct err *err)
{
    uint32_t address = endpoint_address();
    // In this order: where the address is, the rules are, too.
    int rc = net_filter_endpoint(address, err);
    return rc == 0 ? add_address(address, err) : rc;
}

static int open_socket(uint32_t address, int *out_fd, struct err *err)
{
    AUTO(fd_close)
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_sys(err, errno, "opening a socket");
    }
    const int on = 1;
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons(NET_ENDPOINT_PORT),
                                   .sin_addr.s_addr = htonl(address)};
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, LOOPBACK_NAME, sizeof(LOOPBACK_NAME)) != 0) {
        return err_sys(err, errno, "setting a socket up");
    }
    if (bind(fd, (const struct sockaddr *)(const void *)&at, sizeof(at)) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int number = errno;
        char text[16];
        net_format_address(address, text);
        return number == EADDRNOTAVAIL
                   ? err_set(err, ERR_NOT_FOUND, "nothing has the address %s", text)
                   : err_sys(err, number, "listening on %s port %d", text, NET_ENDPOINT_PORT);
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

static int listen_here(int *out_fd, struct err *err)
{
    int rc = open_socket(endpoint_address(), out_fd, err);
    if (rc == ERR_NOT_FOUND) {
        rc = net_endpoint_prepare(err);
        rc = rc == 0 ? open_socket(endpoint_address(), out_fd, err) : rc;
    }
    return rc;
}

int net_endpoint_listen(struct text path, int *out_fd, struct err *err)
{
    AUTO(alloc_string) char *name = alloc_format("%.*s", TEXT_FMT(path));
    AUTO(fd_close) int namespace_fd = open(name, O_RDONLY | O_CLOEXEC);
    if (namespace_fd < 0) {
        return err_sys(err, errno, "opening namespace '%s'", name);
    }
    int back = -1;
    int rc = net_namespace_enter(namespace_fd, &back, err);
    if (rc != 0) {
        return rc;
    }
    rc = listen_here(out_fd, err);
    net_namespace_leave(back);
    return rc == 0 ? 0 : err_wrap(err, "in namespace '%s'", name);
}

int net_endpoint_listen_here(uint32_t address, int *out_fd, struct err *err)
{
    ASSERT(address >> 24 == 127);
    return open_socket(address, out_fd, err);
}
