#include "base/alloc.h"
#include "base/file.h"
#include "net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Rules as nftables text, each table replaced in one transaction, so that running again after a
 * crash or an upgrade leaves exactly what this version wants. What changes with every task is in
 * net_filter_element.c.
 */

#define DESCRIPTORS 64 // that other threads may take meanwhile, and the library's own

static struct nft_ctx *context_new(void)
{
    struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
    if (context == NULL) {
        base_out_of_memory(0);
    }
    nft_ctx_buffer_error(context);
    nft_ctx_buffer_output(context);
    return context;
}

// A context holds a megabyte of what it knows of the ruleset, and this runs in many threads.
static void context_free(struct nft_ctx *context)
{
    nft_ctx_free(context);
    alloc_trim();
}

static int run(struct nft_ctx *context, const struct buf *commands, const char *what,
               struct err *err)
{
    if (nft_run_cmd_from_buffer(context, commands->data) == 0) {
        return 0;
    }
    const char *text = nft_ctx_get_error_buffer(context);
    size_t size = text == NULL ? 0 : strcspn(text, "\n");
    return err_set(err, ERR_SYS, "%s: %.*s", what, (int)MIN(size, (size_t)300),
                   text == NULL ? "" : text);
}

/** Commands for a thread of their own. */
struct commands {
    const struct buf *text;
    const char *what;
    struct err *err;
    int rc;
};

static void *run_commands(void *context)
{
    struct commands *commands = context;
    struct nft_ctx *nft = context_new();
    commands->rc = run(nft, commands->text, commands->what, commands->err);
    context_free(nft);
    return NULL;
}

// A program with so many connections loses a task by this, and not itself.
static int check_descriptors(const char *what, struct err *err)
{
    AUTO(fd_close) int fd = open("/", O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(err, errno, "%s", what);
    }
    if (fd >= FD_HIGH - DESCRIPTORS) {
        return err_set(err, ERR_BUSY,
                       "%s: the packet filter's library needs descriptors below %d, and "
                       "connections have nearly all of them",
                       what, FD_HIGH);
    }
    return 0;
}

// Libnftables leaves half a megabyte of stack touched, and as much memory with the thread that
// calls it. Callers are many threads that live long, so each call gets a short-lived one, which is
// in its caller's network namespace.
static int run_alone(const struct buf *text, const char *what, struct err *err)
{
    int rc = check_descriptors(what, err);
    if (rc != 0) {
        return rc;
    }
    struct commands commands = {.text = text, .what = what, .err = err};
    pthread_t thread;
    int number = pthread_create(&thread, NULL, run_commands, &commands);
    if (number != 0) {
        return err_sys(err, number, "starting a thread");
    }
    pthread_join(thread, NULL);
    return commands.rc;
}

// Declaring before deleting makes deleting succeed whether or not the table was there.
static void replace_table(struct buf *commands, const char *instance)
{
    buf_format(commands, "table ip berth-%s\ndelete table ip berth-%s\n", instance, instance);
}

// ---- chains of others --------------------------------------------------------------------

// Docker and many firewalls drop what is forwarded unless a rule of their own table accepts it; an
// accept in our table does not count there. These are the chains that such rules belong into:
// Docker's for its users, else the one that drops.
static const char *const foreign_chains[] = {"DOCKER-USER", "FORWARD"};

static bool chain_exists(struct nft_ctx *context, const char *chain, bool only_if_it_drops)
{
    AUTO(buf_deinit) struct buf command = {0};
    struct err ignored;
    buf_format(&command, "list chain ip filter %s\n", chain);
    if (run(context, &command, "listing", &ignored) != 0) {
        return false;
    }
    const char *text = nft_ctx_get_output_buffer(context);
    return !only_if_it_drops || (text != NULL && strstr(text, "policy drop") != NULL);
}

static void accept_in_foreign_chain(struct nft_ctx *context, const char *instance,
                                    struct buf *commands)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign_chains); i++) {
        const char *chain = foreign_chains[i];
        if (chain_exists(context, chain, strcmp(chain, "FORWARD") == 0)) {
            buf_format(commands,
                       "insert rule ip filter %s iifname \"bt%s*\" counter accept comment "
                       "\"berth-%s\"\n"
                       "insert rule ip filter %s oifname \"bt%s*\" counter accept comment "
                       "\"berth-%s\"\n",
                       chain, instance, instance, chain, instance, instance);
            return;
        }
    }
}

// Rules of a chain that bear our comment, as commands that delete them by handle.
static void delete_marked(struct nft_ctx *context, const char *instance, const char *chain,
                          struct buf *commands)
{
    AUTO(buf_deinit) struct buf command = {0};
    struct err ignored;
    buf_format(&command, "list chain ip filter %s\n", chain);
    nft_ctx_output_set_flags(context, NFT_CTX_OUTPUT_HANDLE);
    int rc = run(context, &command, "listing", &ignored);
    nft_ctx_output_set_flags(context, 0);
    char mark[40];
    snprintf(mark, sizeof(mark), "comment \"berth-%s\"", instance);
    struct text rest = text_of(rc == 0 ? nft_ctx_get_output_buffer(context) : NULL);
    while (rest.data != NULL) {
        struct text line = text_cut(&rest, '\n');
        const char *found = memmem(line.data, line.size, mark, strlen(mark));
        size_t at = text_find_last(line, ' ');
        uint64_t handle = 0;
        if (found != NULL && at != SIZE_MAX &&
            text_to_u64(text_slice(line, at + 1, line.size), &handle) == 0) {
            buf_format(commands, "delete rule ip filter %s handle %llu\n", chain,
                       (unsigned long long)handle);
        }
    }
}

static void delete_all_marked(struct nft_ctx *context, const char *instance, struct buf *commands)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign_chains); i++) {
        delete_marked(context, instance, foreign_chains[i], commands);
    }
}

// ---- ours --------------------------------------------------------------------------------

static void add_address(struct buf *commands, uint32_t address)
{
    char text[16];
    net_format_address(address, text);
    buf_string(commands, text);
}

// The elements of one protocol's map.
static void forward_elements(const struct net_forward *forwards, size_t count, bool udp,
                             const char *instance, struct buf *commands)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t n = 0; forwards[i].udp == udp && n < forwards[i].count; n++) {
            if (!any) {
                buf_format(commands, "add element ip berth-%s %s_ports { ", instance,
                           udp ? "udp" : "tcp");
            }
            buf_format(commands, "%s%u : ", any ? ", " : "", forwards[i].host_port + n);
            add_address(commands, forwards[i].address);
            buf_format(commands, " . %u", forwards[i].container_port + n);
            any = true;
        }
    }
    if (any) {
        buf_string(commands, " }\n");
    }
}

int net_filter_host(const struct net_filter_host *host, struct err *err)
{
    const char *instance = host->instance;
    struct nft_ctx *context = context_new();
    AUTO(buf_deinit) struct buf commands = {0};
    delete_all_marked(context, instance, &commands);
    accept_in_foreign_chain(context, instance, &commands);
    replace_table(&commands, instance);
    buf_format(&commands,
               "table ip berth-%s {\n"
               "  set transit { type ipv4_addr; }\n"
               "  map tcp_ports { type inet_service : ipv4_addr . inet_service; }\n"
               "  map udp_ports { type inet_service : ipv4_addr . inet_service; }\n"
               // For 127.0.0.1:PORT the bridge network's link routes loopback addresses; nothing
               // may come in from there that bears one.
               "  chain guard {\n"
               "    type filter hook prerouting priority -300; policy accept;\n"
               "    iifname \"bt%s*\" ip daddr 127.0.0.0/8 drop\n"
               "    iifname \"bt%s*\" ip saddr 127.0.0.0/8 drop\n"
               "  }\n"
               "  chain prerouting {\n"
               "    type nat hook prerouting priority -100; policy accept;\n"
               "    fib daddr type local dnat ip to tcp dport map @tcp_ports\n"
               "    fib daddr type local dnat ip to udp dport map @udp_ports\n"
               "  }\n"
               "  chain output {\n"
               "    type nat hook output priority -100; policy accept;\n"
               "    fib daddr type local dnat ip to tcp dport map @tcp_ports\n"
               "    fib daddr type local dnat ip to udp dport map @udp_ports\n"
               "  }\n",
               instance, instance, instance);
    buf_format(&commands,
               "  chain postrouting {\n"
               "    type nat hook postrouting priority 100; policy accept;\n"
               "    ip saddr @transit oifname != \"bt*\" masquerade\n"
               // A container that asks for a port of the host which leads back to where it came
               // from, and the host itself, which asks from 127.0.0.1.
               "    ip saddr @transit oifname \"bt%s*\" ct status dnat masquerade\n"
               "    ip saddr 127.0.0.0/8 oifname \"bt%s*\" masquerade\n"
               "  }\n"
               // No VPC meets another through the host, and nobody beyond the host begins a
               // conversation with a task, but through a port of the host that leads to it.
               "  chain forward {\n"
               "    type filter hook forward priority 0; policy accept;\n"
               "    iifname \"bt%s*\" ct status dnat accept\n"
               "    oifname \"bt%s*\" ct status dnat accept\n"
               "    iifname \"bt*\" oifname \"bt%s*\" drop\n"
               "    iifname \"bt%s*\" oifname \"bt*\" drop\n"
               "    oifname \"bt%s*\" ct state established,related accept\n"
               "    oifname \"bt%s*\" drop\n"
               "  }\n"
               "}\n",
               instance, instance, instance, instance, instance, instance, instance, instance);
    for (size_t i = 0; i < host->transit_count; i++) {
        buf_format(&commands, "add element ip berth-%s transit { ", instance);
        add_address(&commands, host->transit[i]);
        buf_string(&commands, " }\n");
    }
    forward_elements(host->forwards, host->forward_count, false, instance, &commands);
    forward_elements(host->forwards, host->forward_count, true, instance, &commands);
    int rc = run(context, &commands, "setting up the host's packet filter", err);
    context_free(context);
    return rc;
}

int net_filter_router(const char *instance, struct net_range cidr, struct err *err)
{
    char address[16];
    net_format_address(cidr.address, address);
    AUTO(buf_deinit) struct buf commands = {0};
    replace_table(&commands, instance);
    buf_format(&commands,
               "table ip berth-%s {\n"
               "  chain postrouting {\n"
               "    type nat hook postrouting priority 100; policy accept;\n"
               "    oifname \"" NET_UPLINK "\" ip saddr %s/%u masquerade\n"
               "  }\n"
               "  chain forward {\n"
               "    type filter hook forward priority 0; policy accept;\n"
               "    oifname \"" NET_UPLINK "\" ip saddr != %s/%u drop\n"
               "    iifname \"" NET_UPLINK "\" ip daddr != %s/%u drop\n"
               "  }\n"
               "}\n",
               instance, address, cidr.prefix, address, cidr.prefix, address, cidr.prefix);
    return run_alone(&commands, "setting up a router's packet filter", err);
}

static void peer_elements(const char *instance, const struct net_peers *peers, struct buf *commands)
{
    if (peers->count < 2) {
        return;
    }
    buf_format(commands, "add element ip berth-%s peers { ", instance);
    bool any = false;
    for (uint32_t i = 0; i < peers->count; i++) {
        for (uint32_t k = 0; k < peers->count; k++) {
            if (i == k) {
                continue;
            }
            buf_string(commands, any ? ", " : "");
            add_address(commands, peers->first + i);
            buf_string(commands, " . ");
            add_address(commands, peers->first + k);
            any = true;
        }
    }
    buf_string(commands, " }\n");
}

int net_filter_bridge(const char *instance, struct net_range cidr, uint32_t host,
                      const struct net_peers *peers, size_t count, struct err *err)
{
    char address[16];
    char behind[16];
    net_format_address(cidr.address, address);
    net_format_address(host, behind);
    AUTO(buf_deinit) struct buf commands = {0};
    replace_table(&commands, instance);
    buf_format(&commands,
               "table ip berth-%s {\n"
               "  set peers { type ipv4_addr . ipv4_addr; }\n"
               // As on Docker's bridge, the gateway is the host.
               "  chain prerouting {\n"
               "    type nat hook prerouting priority -100; policy accept;\n"
               "    iifname != \"" NET_UPLINK "\" fib daddr type local dnat to %s\n"
               "  }\n"
               "  chain postrouting {\n"
               "    type nat hook postrouting priority 100; policy accept;\n"
               "    oifname \"" NET_UPLINK "\" ip saddr %s/%u masquerade\n"
               "  }\n"
               "  chain forward {\n"
               "    type filter hook forward priority 0; policy accept;\n"
               "    oifname \"" NET_UPLINK "\" ip saddr != %s/%u drop\n"
               "    oifname \"" NET_UPLINK "\" accept\n"
               "    iifname \"" NET_UPLINK "\" ip daddr != %s/%u drop\n"
               "    iifname \"" NET_UPLINK "\" accept\n"
               "    ip saddr . ip daddr @peers accept\n"
               "    drop\n"
               "  }\n"
               "}\n",
               instance, behind, address, cidr.prefix, address, cidr.prefix, address, cidr.prefix);
    for (size_t i = 0; i < count; i++) {
        peer_elements(instance, &peers[i], &commands);
    }
    return run_alone(&commands, "setting up the bridge network's packet filter", err);
}

int net_filter_remove(const char *instance, struct err *err)
{
    struct nft_ctx *context = context_new();
    AUTO(buf_deinit) struct buf commands = {0};
    delete_all_marked(context, instance, &commands);
    replace_table(&commands, instance);
    int rc = run(context, &commands, "removing the host's packet filter", err);
    context_free(context);
    return rc;
}
