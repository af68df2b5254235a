#include "client/websocket_url.h"

static bool cut_scheme(struct text *text, bool *out_tls)
{
    static const struct {
        struct text scheme;
        bool tls;
    } schemes[] = {{{"http://", 7}, false},
                   {{"ws://", 5}, false},
                   {{"https://", 8}, true},
                   {{"wss://", 6}, true}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (text_starts(*text, schemes[i].scheme)) {
            *text = text_slice(*text, schemes[i].scheme.size, text->size);
            *out_tls = schemes[i].tls;
            return true;
        }
    }
    return false;
}

bool websocket_url_parse(struct text text, struct websocket_url *out_url)
{
    struct websocket_url url = {0};
    if (!cut_scheme(&text, &url.tls)) {
        return false;
    }
    size_t slash = text_find(text, '/');
    url.authority = text_slice(text, 0, slash);
    url.path = slash == SIZE_MAX ? TEXT("/") : text_slice(text, slash, text.size);
    url.host = url.authority;
    uint64_t port = url.tls ? 443 : 80;
    size_t colon = text_find_last(url.authority, ':');
    size_t bracket = text_find_last(url.authority, ']');
    if (colon != SIZE_MAX && (bracket == SIZE_MAX || colon > bracket)) {
        url.host = text_slice(url.authority, 0, colon);
        if (text_to_u64(text_slice(url.authority, colon + 1, url.authority.size), &port) != 0) {
            return false;
        }
    }
    if (text_starts(url.host, TEXT("[")) && text_ends(url.host, TEXT("]"))) {
        url.host = text_slice(url.host, 1, url.host.size - 1);
    }
    url.port = (uint16_t)port;
    *out_url = url;
    return !text_empty(url.host) && port > 0 && port <= UINT16_MAX;
}
