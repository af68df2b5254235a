#include "net/net_internal.h"
#include "net/net_nft.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <stdio.h>

/*
 * What comes and goes with tasks of the bridge network: elements of the sets and maps that
 * net_filter.c makes, which has the same in text. Not by the library for it: that reads all
 * before each change, which takes it megabytes and longer with each task.
 */

#define ELEMENTS_MAX 512 // of a message to the kernel, which takes some 200 KiB at a time

/** Elements of one kind on their way. */
struct elements {
    struct net_nft nft;
    int fd;
    char table[16];
    bool add; ///< or delete
    const char *what;
    size_t count; ///< collected
};

static int elements_init(struct elements *elements, const char *instance, bool add,
                         const char *what, struct err *err)
{
    *elements = (struct elements){.fd = -1, .add = add, .what = what};
    snprintf(elements->table, sizeof(elements->table), "berth-%.8s", instance);
    return net_nft_open(&elements->fd, err);
}

static void elements_deinit(struct elements *elements)
{
    net_nft_deinit(&elements->nft);
    fd_close(elements->fd);
}

AUTO_VALUE(struct elements, elements_deinit)

static int send_elements(struct elements *elements, struct err *err)
{
    int number = 0;
    int rc = net_nft_commit(elements->fd, &elements->nft, &number, err);
    net_nft_deinit(&elements->nft);
    elements->nft = (struct net_nft){0};
    elements->count = 0;
    return rc == 0 && number != 0 ? err_sys(err, number, "%s", elements->what) : rc;
}

static int put_element(struct elements *elements, const char *set,
                       const struct net_nft_element *element, struct err *err)
{
    const struct net_nft_table table = {NFPROTO_IPV4, elements->table};
    net_nft_element(&elements->nft, &table, set, elements->add, element);
    elements->count++;
    return elements->count < ELEMENTS_MAX ? 0 : send_elements(elements, err);
}

/** Where a port leads to: the parts of a concatenation begin at multiples of four bytes. */
struct port_target {
    uint32_t address;
    uint16_t port;
    uint16_t padding;
};
_Static_assert(sizeof(struct port_target) == 8, "as the kernel has ipv4_addr . inet_service");

static int put_forward(struct elements *elements, const struct net_forward *forward,
                       struct err *err)
{
    int rc = 0;
    for (uint32_t n = 0; rc == 0 && n < forward->count; n++) {
        const uint16_t port = htons((uint16_t)(forward->host_port + n));
        const struct port_target target = {
            .address = htonl(forward->address),
            .port = htons((uint16_t)(forward->container_port + n)),
        };
        const struct net_nft_element element = {
            .key = &port, .key_size = sizeof(port), .data = &target, .data_size = sizeof(target)};
        rc = put_element(elements, forward->udp ? "udp_ports" : "tcp_ports", &element, err);
    }
    return rc;
}

int net_filter_forward(const char *instance, bool add, const struct net_forward *forwards,
                       size_t count, struct err *err)
{
    AUTO(elements_deinit) struct elements elements;
    int rc = elements_init(&elements, instance, add, "passing ports of the host on", err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = put_forward(&elements, &forwards[i], err);
    }
    return rc == 0 ? send_elements(&elements, err) : rc;
}

int net_filter_peers(const char *instance, bool add, const struct net_peers *peers, struct err *err)
{
    AUTO(elements_deinit) struct elements elements;
    int rc = elements_init(&elements, instance, add, "letting containers meet", err);
    for (uint32_t i = 0; i < peers->count; i++) {
        for (uint32_t k = 0; rc == 0 && k < peers->count; k++) {
            const uint32_t pair[2] = {htonl(peers->first + i), htonl(peers->first + k)};
            rc = i == k
                     ? 0
                     : put_element(&elements, "peers",
                                   &(struct net_nft_element){.key = pair, .key_size = sizeof(pair)},
                                   err);
        }
    }
    return rc == 0 ? send_elements(&elements, err) : rc;
}
