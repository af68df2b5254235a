#include "server/listen.h"

#include "base/file.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 1024 // a burst of a thousand nodes that come back at once

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse(const char *text, uint16_t port, union address *out, socklen_t *out_size)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        *out_size = sizeof(out->v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        *out_size = sizeof(out->v6);
        return true;
    }
    return false;
}

bool listen_is_loopback(const char *address)
{
    union address parsed;
    socklen_t size = 0;
    if (!parse(address, 0, &parsed, &size)) {
        return false;
    }
    if (parsed.any.sa_family == AF_INET) {
        return ntohl(parsed.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return IN6_IS_ADDR_LOOPBACK(&parsed.v6.sin6_addr);
}

bool listen_is_any(const char *address)
{
    union address parsed;
    socklen_t size = 0;
    if (!parse(address, 0, &parsed, &size)) {
        return false;
    }
    return parsed.any.sa_family == AF_INET ? parsed.v4.sin_addr.s_addr == INADDR_ANY
                                           : IN6_IS_ADDR_UNSPECIFIED(&parsed.v6.sin6_addr);
}

int listen_open(const struct server_listen *listen_at, int *out_fd, struct err *err)
{
    union address address;
    socklen_t size = 0;
    if (!parse(listen_at->address, listen_at->port, &address, &size)) {
        return err_set(err, ERR_INVALID, "'%s' is not an IP address to listen on",
                       listen_at->address);
    }
    AUTO(fd_close)
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0) {
        return err_sys(err, errno, "opening a socket for %s", listen_at->address);
    }
    // Otherwise a restart has to wait for connections of the last one to time out. IPv6 sockets
    // take IPv6 only, so that a listener for each can be open on the same port.
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (address.any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)) {
        return err_sys(err, errno, "preparing a socket for %s", listen_at->address);
    }
    if (bind(fd, &address.any, size) != 0 || listen(fd, BACKLOG) != 0) {
        int number = errno;
        if (number == EADDRINUSE) {
            return err_set(err, ERR_BUSY,
                           "%s port %u is in use by another program: choose another with --listen",
                           listen_at->address, listen_at->port);
        }
        return err_sys(err, number, "listening on %s port %u", listen_at->address, listen_at->port);
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

char *listen_url(const struct server_listen *listen_at, int fd, const char *advertise)
{
    union address address = {0};
    socklen_t size = sizeof(address);
    int rc = getsockname(fd, &address.any, &size);
    ASSERT(rc == 0);
    uint16_t port =
        ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    bool other = listen_is_any(listen_at->address) && advertise != NULL;
    const char *host = other ? advertise : listen_at->address;
    bool brackets = strchr(host, ':') != NULL;
    return alloc_format("%s://%s%s%s:%u", listen_at->tls ? "https" : "http", brackets ? "[" : "",
                        host, brackets ? "]" : "", port);
}

char *listen_outer_address(void)
{
    uv_interface_address_t *addresses = NULL;
    int count = 0;
    if (uv_interface_addresses(&addresses, &count) != 0) {
        return NULL;
    }
    char *found = NULL;
    for (int i = 0; i < count && found == NULL; i++) {
        char name[INET6_ADDRSTRLEN];
        if (!addresses[i].is_internal && addresses[i].address.address4.sin_family == AF_INET &&
            uv_ip4_name(&addresses[i].address.address4, name, sizeof(name)) == 0) {
            found = alloc_string(name);
        }
    }
    uv_free_interface_addresses(addresses, count);
    return found;
}
