#pragma once

#include "base/alloc.h"
#include "net/net_internal.h"

#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

/*
 * What the tests of the node's networks share: real namespaces. Each test runs in a child with a
 * network and mounts of its own, which play the host; a failed CHECK ends the child and tells the
 * line. Some tests add a namespace that plays the world beyond the host.
 */

/** Fail with the condition. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define SKIPPED 77
#define WAIT_MS 60000  // for what must arrive; it does within microseconds
#define SILENCE_MS 300 // for what must not

/** A test's host. */
struct host {
    struct net *net;
    struct arena arena;
    struct err err;
    int world_fd; ///< namespace; -1 for none
};

/** Fail with what the host's error tells. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        int ok_rc = (call);                                                                        \
        if (ok_rc != 0) {                                                                          \
            fprintf(stderr, "%s:%d: %d: %s\n", __FILE__, __LINE__, ok_rc, host->err.text);         \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/** Run a test in a child that is a host of its own; skip it without root. */
void in_own_host(void (*test)(struct host *host));

/** Open an instance with its run directory below /run/berth-test, and no bridge network. */
struct net *open_instance(struct host *host, const char *instance, uint32_t pool_size);

/** A netlink socket of a namespace. */
int socket_in(struct host *host, int namespace_fd);

/** Add a route in the namespace of a netlink socket. */
void add_route(struct host *host, int socket_fd, const char *range, const char *gateway);

/** A namespace behind the host: uplink 203.0.113.1 here, world 203.0.113.2 there. */
void make_world(struct host *host);

/** A socket of a namespace; -1 for the host's. */
int open_in(struct host *host, int namespace_fd, int type, int protocol);

/** An address and port to connect or bind to. */
struct sockaddr_in address_of(const char *address, uint16_t port);

/** @return whether there is something to read within the time */
bool readable(int fd, int wait_ms);

/** @return whether an address answers a ping that a namespace sends; -1 for the host */
bool ping(struct host *host, int namespace_fd, const char *address, int wait_ms);

/** Send a datagram to a listener and back. @return who it came from as the listener saw it */
struct in_addr exchange(struct host *host, int from_fd, int to_fd, const char *address);

/** @return how many files a directory has; 0 when there is none */
size_t count_entries(const char *directory);

/** @return how many mounts have this in their line */
size_t count_mounts(const char *below);

/** @return how many links the host has */
size_t count_links(struct host *host);

/** The kernel removes namespaces in the background. @return whether it came to so many links */
bool gone_soon(struct host *host, size_t links);

/** @return whether the host's packet filter has these words in it */
bool ruleset_names(const char *what);

/** Run commands of nft. */
void run_filter(const char *commands);
