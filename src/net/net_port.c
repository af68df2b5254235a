#include "base/alloc.h"
#include "base/file.h"
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Ports of the host. Packets for them never reach a socket of the host: rules pass them on before.
 * A socket is bound all the same, so that a port that somebody has is found out, and nobody gets
 * it while a container has it.
 */

// Where ECS's agent looks when the host does not say what it takes for itself.
#define FIRST_DEFAULT 49153
#define LAST_DEFAULT 65535

void net_port_range(uint16_t *out_first, uint16_t *out_last)
{
    *out_first = FIRST_DEFAULT;
    *out_last = LAST_DEFAULT;
    AUTO(buf_deinit) struct buf content = {0};
    struct err ignored;
    if (file_read(AT_FDCWD, "/proc/sys/net/ipv4/ip_local_port_range", 64, &content, &ignored) !=
        0) {
        return;
    }
    struct text rest = text_trim(buf_view(&content));
    uint64_t first = 0;
    uint64_t last = 0;
    if (text_to_u64(text_cut(&rest, '\t'), &first) == 0 &&
        text_to_u64(text_trim(rest), &last) == 0 && first > 0 && first <= last &&
        last <= UINT16_MAX) {
        *out_first = (uint16_t)first;
        *out_last = (uint16_t)last;
    }
}

static int bind_port(bool udp, uint16_t port, int *out_fd, struct err *err)
{
    AUTO(fd_close) int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(err, errno, "opening a socket");
    }
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        int number = errno;
        if (number == EADDRINUSE) {
            return err_set(err, ERR_BUSY, "listen %s4 0.0.0.0:%u: bind: address already in use",
                           udp ? "udp" : "tcp", port);
        }
        return err_sys(err, number, "taking %s port %u of the host", udp ? "udp" : "tcp", port);
    }
    *out_fd = fd_raise(fd); // a range has hundreds
    fd = -1;
    return 0;
}

void net_port_release(struct net_binding *binding)
{
    for (uint32_t i = 0; binding->holders != NULL && i < binding->forward.count; i++) {
        fd_close(binding->holders[i]);
    }
    alloc_free(binding->holders);
    binding->holders = NULL;
}

int net_port_hold(struct net_binding *binding, struct err *err)
{
    const struct net_forward *forward = &binding->forward;
    ASSERT(binding->holders == NULL);
    binding->holders = alloc_array(forward->count, sizeof(*binding->holders));
    memset(binding->holders, 0xff, forward->count * sizeof(*binding->holders));
    for (uint32_t i = 0; i < forward->count; i++) {
        int rc =
            bind_port(forward->udp, (uint16_t)(forward->host_port + i), &binding->holders[i], err);
        if (rc != 0) {
            net_port_release(binding);
            return rc;
        }
    }
    return 0;
}

int net_port_choose(struct net_tasks *tasks, struct net_binding *binding, struct err *err)
{
    struct net_forward *forward = &binding->forward;
    uint32_t total = (uint32_t)tasks->last_port - tasks->first_port + 1;
    for (uint32_t tries = 0; tries < total; tries++) {
        uint32_t port = tasks->next_port;
        tasks->next_port =
            port == tasks->last_port ? tasks->first_port : (uint16_t)(tasks->next_port + 1);
        if (port + forward->count - 1 > tasks->last_port) {
            continue;
        }
        forward->host_port = (uint16_t)port;
        int rc = net_port_hold(binding, err);
        if (rc == 0) {
            // The next one is looked for behind these.
            uint32_t next = port + forward->count;
            tasks->next_port = next > tasks->last_port ? tasks->first_port : (uint16_t)next;
            return 0;
        }
        if (rc != ERR_BUSY) {
            return rc;
        }
    }
    return err_set(err, ERR_NO_ROOM, "no %u %s ports in a row are free of %u to %u of the host",
                   forward->count, forward->udp ? "udp" : "tcp", tasks->first_port,
                   tasks->last_port);
}
