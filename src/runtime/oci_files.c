#include "runtime/oci_internal.h"

#include "base/file.h"
#include "base/text.h"
#include "runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

// Resolvers read three servers; more are ignored.
#define SERVERS_MAX 3
#define RESOLV_BYTES_MAX (64u << 10)

int oci_write_file(struct text directory, const char *name, mode_t mode, struct text content,
                   struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%.*s/%s", TEXT_FMT(directory), name);
    AUTO(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        return err_sys(err, errno, "creating '%s'", path);
    }
    int rc = fd_write_all(fd, content.data, content.size, err);
    return rc == 0 ? 0 : err_wrap(err, "writing '%s'", path);
}

static size_t find_container(const struct oci_task *task, struct text name)
{
    size_t index = 0;
    while (index < task->task->container_count &&
           !text_equal(task->task->containers[index].definition->name, name)) {
        index++;
    }
    return index;
}

int oci_link_environment(const struct oci_task *task, size_t index, struct text_list *out_variables,
                         struct err *err)
{
    const struct ecs_container_definition *definition = task->task->containers[index].definition;
    AUTO(buf_deinit) struct buf variables = {0};
    for (size_t i = 0; i < definition->links.count; i++) {
        struct text name = {0};
        struct spec_link link = {0};
        spec_link_parse(definition->links.items[i], &name, &link.alias);
        size_t other = find_container(task, name);
        if (other == task->task->container_count ||
            task->task->containers[other].address.data == NULL) {
            return err_set(err, ERR_INVALID,
                           "it links to '%.*s', which has no network of its own; remove the link, "
                           "or disableNetworking there",
                           TEXT_FMT(name));
        }
        link.container = task->task->containers[other].definition;
        link.image = task->task->containers[other].image;
        link.address = task->task->containers[other].address;
        spec_link_environment(&link, definition->name, task->arena, &variables);
    }
    size_t count = variables.size / sizeof(struct text);
    out_variables->items = arena_array(task->arena, count, sizeof(struct text));
    out_variables->count = count;
    if (count > 0) {
        memcpy(out_variables->items, variables.data, variables.size);
    }
    return 0;
}

// As Docker: by the alias, the name, and the host name.
static void write_links(const struct oci_task *task, size_t index, struct buf *out)
{
    const struct text_list *links = &task->task->containers[index].definition->links;
    for (size_t i = 0; i < links->count; i++) {
        struct text name = {0};
        struct text alias = {0};
        spec_link_parse(links->items[i], &name, &alias);
        size_t other = find_container(task, name);
        if (other == task->task->container_count) {
            continue; // refused with its variables
        }
        struct text hostname = oci_hostname(task->task, other, task->arena);
        buf_format(out, "%.*s\t%.*s", TEXT_FMT(task->task->containers[other].address),
                   TEXT_FMT(alias));
        if (!text_equal(alias, name)) {
            buf_format(out, " %.*s", TEXT_FMT(name));
        }
        buf_format(out, " %.*s\n", TEXT_FMT(hostname));
    }
}

static void write_hosts(const struct oci_task *task, size_t index, struct buf *out)
{
    const struct session_eni *eni = task->task->spec->eni;
    struct text hostname = oci_hostname(task->task, index, task->arena);
    const struct ecs_host_entry_list *extra =
        &task->task->containers[index].definition->extra_hosts;
    buf_string(out, "127.0.0.1\tlocalhost\n"
                    "::1\tlocalhost ip6-localhost ip6-loopback\n"
                    "fe00::0\tip6-localnet\n"
                    "ff00::0\tip6-mcastprefix\n"
                    "ff02::1\tip6-allnodes\n"
                    "ff02::2\tip6-allrouters\n");
    struct text address = task->task->containers[index].address;
    if (eni != NULL || address.data != NULL) {
        buf_format(out, "%.*s\t%.*s\n", TEXT_FMT(eni != NULL ? eni->address : address),
                   TEXT_FMT(hostname));
    } else {
        // Programs expect their own name to resolve, also where there is no address.
        buf_format(out, "127.0.1.1\t%.*s\n", TEXT_FMT(hostname));
    }
    write_links(task, index, out);
    for (size_t i = 0; i < extra->count; i++) {
        buf_format(out, "%.*s\t%.*s\n", TEXT_FMT(extra->items[i].ip_address),
                   TEXT_FMT(extra->items[i].hostname));
    }
}

void oci_resolv_servers(struct text content, struct text_list *out_servers, struct arena *arena)
{
    struct text_list list = {.items = arena_array(arena, SERVERS_MAX, sizeof(struct text))};
    while (content.data != NULL && list.count < SERVERS_MAX) {
        struct text line = text_trim(text_cut(&content, '\n'));
        if (!text_starts(line, TEXT("nameserver"))) {
            continue;
        }
        struct text server = text_trim(text_slice(line, sizeof("nameserver") - 1, line.size));
        if (!text_empty(server) && !text_starts(server, TEXT("127.")) && !text_is(server, "::1")) {
            list.items[list.count++] = arena_text(arena, server);
        }
    }
    *out_servers = list;
}

// A resolver of the host's own on loopback cannot be reached from another network namespace; where
// it is systemd's, that keeps a list of the servers behind it.
static struct text_list host_servers(struct arena *arena)
{
    static const char *const paths[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};
    struct text_list servers = {0};
    for (size_t i = 0; i < ARRAY_LEN(paths) && servers.count == 0; i++) {
        AUTO(buf_deinit) struct buf content = {0};
        struct err ignored = {0};
        if (file_read(AT_FDCWD, paths[i], RESOLV_BYTES_MAX, &content, &ignored) == 0) {
            oci_resolv_servers(buf_view(&content), &servers, arena);
        }
    }
    return servers;
}

static void write_resolv(const struct oci_task *task, size_t index, struct buf *out)
{
    const struct ecs_container_definition *definition = task->task->containers[index].definition;
    const struct session_eni *eni = task->task->spec->eni;
    struct text_list servers = definition->dns_servers;
    if (servers.count == 0 && eni != NULL) {
        servers = eni->domain_name_servers;
    }
    if (servers.count == 0) {
        servers = host_servers(task->arena);
    }
    for (size_t i = 0; i < servers.count; i++) {
        buf_format(out, "nameserver %.*s\n", TEXT_FMT(servers.items[i]));
    }
    for (size_t i = 0; i < definition->dns_search_domains.count; i++) {
        buf_format(out, "%s%.*s", i == 0 ? "search " : " ",
                   TEXT_FMT(definition->dns_search_domains.items[i]));
    }
    if (definition->dns_search_domains.count > 0) {
        buf_byte(out, '\n');
    }
}

int oci_files_write(const struct oci_task *task, size_t index, struct text directory,
                    struct err *err)
{
    AUTO(buf_deinit) struct buf content = {0};
    write_hosts(task, index, &content);
    int rc = oci_write_file(directory, "hosts", 0644, buf_view(&content), err);
    if (rc != 0) {
        return rc;
    }
    buf_reset(&content);
    buf_format(&content, "%.*s\n", TEXT_FMT(oci_hostname(task->task, index, task->arena)));
    rc = oci_write_file(directory, "hostname", 0644, buf_view(&content), err);
    if (rc != 0) {
        return rc;
    }
    buf_reset(&content);
    write_resolv(task, index, &content);
    return oci_write_file(directory, "resolv.conf", 0644, buf_view(&content), err);
}
