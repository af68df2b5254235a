#include "endpoint/route.h"

#include "base/text.h"

#define PARTS_MAX 6 // of a path; longer ones lead nowhere

static const struct {
    const char *name;
    enum route_kind kind;
} plain_routes[] = {
    {"", ROUTE_CONTAINER},
    {"task", ROUTE_TASK},
    {"taskWithTags", ROUTE_TASK_WITH_TAGS},
    {"stats", ROUTE_CONTAINER_STATS},
    {"task/stats", ROUTE_TASK_STATS},
};

// `/a/b/` has the parts a and b. @return how many; PARTS_MAX + 1 for too many, 0 for no path
static size_t split(struct text path, struct text *parts)
{
    if (path.size > ROUTE_PATH_MAX || !text_starts(path, TEXT("/"))) {
        return 0;
    }
    struct text rest = text_slice(path, 1, path.size);
    if (text_ends(rest, TEXT("/"))) {
        rest = text_slice(rest, 0, rest.size - 1);
    }
    size_t count = 0;
    while (rest.data != NULL) {
        if (count == PARTS_MAX) {
            return PARTS_MAX + 1;
        }
        parts[count++] = text_cut(&rest, '/');
    }
    return count;
}

// What follows `/v4/ID`.
static struct route endpoint_route(int version, struct text id, const struct text *parts,
                                   size_t count)
{
    struct route route = {.version = version, .id = id};
    struct text first = count > 0 ? parts[0] : TEXT("");
    if (count >= 2 && count <= 3 && text_is(first, "associations")) {
        route.kind = count == 2 ? ROUTE_ASSOCIATIONS : ROUTE_ASSOCIATION;
        route.name = parts[1];
        return route;
    }
    bool stats = count == 2 && text_is(first, "task") && text_is(parts[1], "stats");
    struct text name = stats ? TEXT("task/stats") : first;
    for (size_t i = 0; i < ARRAY_LEN(plain_routes) && (count <= 1 || stats); i++) {
        if (text_is(name, plain_routes[i].name)) {
            route.kind = plain_routes[i].kind;
        }
    }
    return route;
}

// Version 2 knows its caller by where it calls from.
static struct route caller_route(const struct text *parts, size_t count)
{
    struct route route = {.version = 2, .id = count == 2 ? parts[1] : (struct text){0}};
    if (count > 2) {
        return route;
    }
    if (text_is(parts[0], "metadata")) {
        route.kind = count == 1 ? ROUTE_TASK : ROUTE_CONTAINER;
    } else if (text_is(parts[0], "stats")) {
        route.kind = count == 1 ? ROUTE_TASK_STATS : ROUTE_CONTAINER_STATS;
    } else if (text_is(parts[0], "metadataWithTags") && count == 1) {
        route.kind = ROUTE_TASK_WITH_TAGS;
    } else if (text_is(parts[0], "credentials")) {
        route.kind = ROUTE_CREDENTIALS;
    }
    return route;
}

// What follows `/api`.
static struct route agent_route(const struct text *parts, size_t count)
{
    struct route route = {.id = parts[0]};
    if (count == 4 && text_is(parts[1], "task-protection") && text_is(parts[2], "v1") &&
        text_is(parts[3], "state")) {
        route.kind = ROUTE_PROTECTION;
    } else if (count == 5 && text_is(parts[1], "fault") && text_is(parts[2], "v1") &&
               fault_find_kind(parts[3], &route.fault) &&
               fault_find_operation(parts[4], &route.operation)) {
        route.kind = ROUTE_FAULT;
    }
    return route.kind == ROUTE_NONE ? (struct route){.kind = ROUTE_NONE} : route;
}

static struct text parameter(struct text query, const char *name)
{
    while (query.data != NULL) {
        struct text value = text_cut(&query, '&');
        if (text_is(text_cut(&value, '='), name)) {
            return value;
        }
    }
    return (struct text){0};
}

struct route route_parse(struct text path, struct text query)
{
    struct text parts[PARTS_MAX];
    size_t count = split(path, parts);
    struct route none = {.kind = ROUTE_NONE};
    if (count < 2 || count > PARTS_MAX) {
        return none;
    }
    if (text_is(parts[0], "v4") || text_is(parts[0], "v3")) {
        return endpoint_route(text_is(parts[0], "v4") ? 4 : 3, parts[1], parts + 2, count - 2);
    }
    if (text_is(parts[0], "v2")) {
        return caller_route(parts + 1, count - 1);
    }
    if (text_is(parts[0], "v1") && text_is(parts[1], "credentials") && count == 2) {
        return (struct route){
            .kind = ROUTE_CREDENTIALS, .version = 1, .id = parameter(query, "id")};
    }
    return text_is(parts[0], "api") ? agent_route(parts + 1, count - 1) : none;
}
