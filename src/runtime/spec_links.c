#include "base/text.h"
#include "runtime/spec.h"

#include <string.h>

// Links: a container that knows another of its task by name, as Docker's legacy links do it.

// Of one range of ports in the environment: more would be a long way beyond what a process gets.
#define LINK_PORTS_MAX 64

void spec_link_parse(struct text link, struct text *out_name, struct text *out_alias)
{
    struct text rest = link;
    *out_name = text_cut(&rest, ':');
    *out_alias = text_empty(rest) ? *out_name : rest;
}

int spec_port_range(struct text range, uint16_t *out_first, uint16_t *out_last)
{
    struct text rest = range;
    uint64_t first = 0;
    uint64_t last = 0;
    if (text_to_u64(text_cut(&rest, '-'), &first) != 0 || text_to_u64(rest, &last) != 0 ||
        first < 1 || first > last || last > UINT16_MAX) {
        return ERR_INVALID;
    }
    *out_first = (uint16_t)first;
    *out_last = (uint16_t)last;
    return 0;
}

void spec_links_depend(const struct ecs_container_definition *definition, struct arena *arena,
                       struct supervisor_dependency_list *dependencies)
{
    struct supervisor_dependency_list all = {
        .items =
            arena_array(arena, dependencies->count + definition->links.count, sizeof(*all.items)),
        .count = dependencies->count,
    };
    if (all.count > 0) {
        memcpy(all.items, dependencies->items, all.count * sizeof(*all.items));
    }
    for (size_t i = 0; i < definition->links.count; i++) {
        struct text name = {0};
        struct text alias = {0};
        spec_link_parse(definition->links.items[i], &name, &alias);
        size_t at = 0;
        while (at < all.count && !text_equal(all.items[at].container, name)) {
            at++;
        }
        // Whoever waits for more of it than its start waits for that as well.
        if (at == all.count) {
            all.items[all.count++] = (struct supervisor_dependency){
                .container = name, .condition = SUPERVISOR_CONDITION_START};
        }
    }
    *dependencies = all;
}

// ---- variables ----------------------------------------------------------------------------

/** Where variables go, and how they begin. */
struct variables {
    struct text prefix; ///< the alias in capitals
    struct text address;
    struct arena *arena;
    struct buf *out;
};

static void add(const struct variables *variables, struct text variable)
{
    buf_add(variables->out, &variable, sizeof(variable));
}

static struct text capitals(struct text name, struct arena *arena)
{
    char *upper = arena_alloc(arena, name.size + 1);
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        upper[i] = byte == '-' ? '_' : byte >= 'a' && byte <= 'z' ? (char)(byte - 'a' + 'A') : byte;
    }
    upper[name.size] = '\0';
    return (struct text){upper, name.size};
}

static void add_port(const struct variables *to, uint32_t port, bool udp)
{
    const char *protocol = udp ? "udp" : "tcp";
    struct text start =
        arena_format(to->arena, "%.*s_PORT_%u_%s", TEXT_FMT(to->prefix), port, udp ? "UDP" : "TCP");
    add(to, arena_format(to->arena, "%.*s=%s://%.*s:%u", TEXT_FMT(start), protocol,
                         TEXT_FMT(to->address), port));
    add(to, arena_format(to->arena, "%.*s_ADDR=%.*s", TEXT_FMT(start), TEXT_FMT(to->address)));
    add(to, arena_format(to->arena, "%.*s_PORT=%u", TEXT_FMT(start), port));
    add(to, arena_format(to->arena, "%.*s_PROTO=%s", TEXT_FMT(start), protocol));
}

static void mapping_ports(const struct ecs_port_mapping *mapping, uint16_t *out_first,
                          uint16_t *out_last)
{
    *out_first = (uint16_t)mapping->container_port;
    *out_last = (uint16_t)mapping->container_port;
    if (!text_empty(mapping->container_port_range)) {
        IGNORE(spec_port_range(mapping->container_port_range, out_first, out_last),
               "the definition was checked");
    }
}

static void add_ports(const struct variables *to, const struct ecs_port_mapping_list *mappings)
{
    uint32_t lowest = 0;
    bool lowest_udp = false;
    for (size_t i = 0; i < mappings->count; i++) {
        bool udp = mappings->items[i].protocol == ECS_TRANSPORT_PROTOCOL_UDP;
        uint16_t first = 0;
        uint16_t last = 0;
        mapping_ports(&mappings->items[i], &first, &last);
        for (uint32_t port = first; port <= last && port - first < LINK_PORTS_MAX; port++) {
            add_port(to, port, udp);
        }
        // Docker's default port: the lowest, and TCP before UDP.
        if (lowest == 0 || first < lowest || (first == lowest && !udp)) {
            lowest = first;
            lowest_udp = udp;
        }
    }
    if (lowest != 0) {
        add(to, arena_format(to->arena, "%.*s_PORT=%s://%.*s:%u", TEXT_FMT(to->prefix),
                             lowest_udp ? "udp" : "tcp", TEXT_FMT(to->address), lowest));
    }
}

void spec_link_environment(const struct spec_link *link, struct text own_name, struct arena *arena,
                           struct buf *out)
{
    const struct variables to = {.prefix = capitals(link->alias, arena),
                                 .address = link->address,
                                 .arena = arena,
                                 .out = out};
    add(&to, arena_format(arena, "%.*s_NAME=/%.*s/%.*s", TEXT_FMT(to.prefix), TEXT_FMT(own_name),
                          TEXT_FMT(link->alias)));
    add_ports(&to, &link->container->port_mappings);
    for (size_t i = 0; i < link->image->environment.count; i++) {
        struct text variable = link->image->environment.items[i];
        // Docker leaves these two out as well: they say nothing of the other container.
        if (!text_starts(variable, TEXT("PATH=")) && !text_starts(variable, TEXT("HOME="))) {
            add(&to, arena_format(arena, "%.*s_ENV_%.*s", TEXT_FMT(to.prefix), TEXT_FMT(variable)));
        }
    }
    for (size_t i = 0; i < link->container->environment.count; i++) {
        const struct ecs_key_value_pair *pair = &link->container->environment.items[i];
        if (!text_is(pair->name, "PATH") && !text_is(pair->name, "HOME")) {
            add(&to, arena_format(arena, "%.*s_ENV_%.*s=%.*s", TEXT_FMT(to.prefix),
                                  TEXT_FMT(pair->name), TEXT_FMT(pair->value)));
        }
    }
}
