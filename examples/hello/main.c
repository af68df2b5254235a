/*
 * The smallest service worth running: answers every GET on port 8080 with a greeting that names
 * the task's host name and address. One thread, one connection at a time.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PORT 8080

static void stop(int number)
{
    (void)number;
    _exit(0);
}

static int open_listener(int family, const struct sockaddr *address, socklen_t size)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, address, size) != 0 || listen(fd, 64) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// The address that the caller reached us by.
static void own_address(int fd, char *out, socklen_t size)
{
    struct sockaddr_storage address;
    socklen_t address_size = sizeof(address);
    out[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&address, &address_size) != 0) {
        return;
    }
    if (address.ss_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)&address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six)) {
            inet_ntop(AF_INET, &six->s6_addr[12], out, size);
        } else {
            inet_ntop(AF_INET6, six, out, size);
        }
    } else {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&address)->sin_addr, out, size);
    }
}

static void serve(int fd)
{
    const struct timeval limit = {.tv_sec = 5};
    char request[4096];
    size_t have = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    for (;;) {
        ssize_t got = recv(fd, request + have, sizeof(request) - 1 - have, 0);
        if (got <= 0) {
            return;
        }
        have += (size_t)got;
        request[have] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            break;
        }
        if (have + 1 == sizeof(request)) {
            return;
        }
    }
    char host[256] = "";
    char address[INET6_ADDRSTRLEN];
    gethostname(host, sizeof(host) - 1);
    own_address(fd, address, sizeof(address));
    char body[512];
    int body_size = snprintf(body, sizeof(body), "hello from %s at %s\n", host, address);
    char answer[1024];
    int size = snprintf(answer, sizeof(answer),
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
                        "Connection: close\r\n\r\n%s",
                        body_size, body);
    if (send(fd, answer, (size_t)size, MSG_NOSIGNAL) == size) {
        printf("hello: answered %.*s\n", (int)strcspn(request, "\r\n"), request);
        fflush(stdout);
    }
}

int main(void)
{
    // The first process of a container gets only the signals it asks for.
    const struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    const struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    const struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int listener = open_listener(AF_INET6, (const struct sockaddr *)&six, sizeof(six));
    if (listener < 0) {
        listener = open_listener(AF_INET, (const struct sockaddr *)&four, sizeof(four));
    }
    if (listener < 0) {
        perror("hello: cannot listen on port 8080");
        return 1;
    }
    printf("hello: listening on port %d\n", PORT);
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(fd);
            shutdown(fd, SHUT_WR);
            close(fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            perror("hello: accept");
            return 1;
        }
    }
}
