#include "image/image_internal.h"

#include <string.h>

/*
 * References as Docker's reference grammar has them: [domain/]path[:tag][@digest]. The first
 * component is a domain only when it has a dot, a colon or a capital, or is `localhost`.
 */

#define REPOSITORY_MAX 255 // Docker's limit of domain and path together
#define TAG_MAX 128
#define NAME_FILE_MAX 200 // leaves room below NAME_MAX

static bool is_lower(char byte)
{
    return byte >= 'a' && byte <= 'z';
}

static bool is_upper(char byte)
{
    return byte >= 'A' && byte <= 'Z';
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(char byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f');
}

static bool all_hex(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_hex(text.data[i])) {
            return false;
        }
    }
    return true;
}

bool image_is_digest(struct text text)
{
    const struct text prefix = TEXT("sha256:");
    return text_starts(text, prefix) && text.size == prefix.size + 64 &&
           all_hex(text_slice(text, prefix.size, text.size));
}

struct text image_digest_hex(struct text digest)
{
    const struct text prefix = TEXT("sha256:");
    return text_slice(digest, prefix.size, digest.size);
}

// Runs of letters and digits, separated by one dot, one or two underscores, or any dashes.
static bool component_valid(struct text text)
{
    size_t at = 0;
    for (;;) {
        size_t start = at;
        while (at < text.size && (is_lower(text.data[at]) || is_digit(text.data[at]))) {
            at++;
        }
        if (at == start) {
            return false;
        }
        if (at == text.size) {
            return true;
        }
        char separator = text.data[at];
        start = at;
        while (at < text.size && text.data[at] == separator) {
            at++;
        }
        size_t most = separator == '.' ? 1 : separator == '_' ? 2 : separator == '-' ? SIZE_MAX : 0;
        if (at - start > most) {
            return false;
        }
    }
}

static bool path_valid(struct text path)
{
    struct text rest = path;
    while (rest.data != NULL) {
        if (!component_valid(text_cut(&rest, '/'))) {
            return false;
        }
    }
    return true;
}

static bool label_valid(struct text label)
{
    for (size_t i = 0; i < label.size; i++) {
        char byte = label.data[i];
        bool inside = i > 0 && i + 1 < label.size;
        if (!is_lower(byte) && !is_upper(byte) && !is_digit(byte) && !(byte == '-' && inside)) {
            return false;
        }
    }
    return label.size > 0;
}

static bool host_valid(struct text host)
{
    if (host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']') {
        for (size_t i = 1; i + 1 < host.size; i++) {
            char byte = host.data[i];
            if (!is_hex(byte) && !(byte >= 'A' && byte <= 'F') && byte != ':') {
                return false;
            }
        }
        return true;
    }
    struct text rest = host;
    while (rest.data != NULL) {
        if (!label_valid(text_cut(&rest, '.'))) {
            return false;
        }
    }
    return true;
}

static bool domain_valid(struct text domain)
{
    size_t colon = text_find_last(domain, ':');
    size_t bracket = text_find_last(domain, ']');
    if (colon == SIZE_MAX || (bracket != SIZE_MAX && bracket > colon)) {
        return host_valid(domain);
    }
    struct text port = text_slice(domain, colon + 1, domain.size);
    for (size_t i = 0; i < port.size; i++) {
        if (!is_digit(port.data[i])) {
            return false;
        }
    }
    return port.size > 0 && host_valid(text_slice(domain, 0, colon));
}

static bool tag_valid(struct text tag)
{
    for (size_t i = 0; i < tag.size; i++) {
        char byte = tag.data[i];
        bool word = is_lower(byte) || is_upper(byte) || is_digit(byte) || byte == '_';
        if (!word && !(i > 0 && (byte == '.' || byte == '-'))) {
            return false;
        }
    }
    return tag.size > 0 && tag.size <= TAG_MAX;
}

static bool looks_like_domain(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (byte == '.' || byte == ':' || is_upper(byte)) {
            return true;
        }
    }
    return text_is(text, "localhost");
}

// Cut `@digest` and `:tag` off the end of *rest.
static int cut_suffixes(struct text *rest, struct image_reference *reference)
{
    size_t at = text_find(*rest, '@');
    if (at != SIZE_MAX) {
        reference->digest = text_slice(*rest, at + 1, rest->size);
        if (!image_is_digest(reference->digest)) {
            return ERR_INVALID;
        }
        *rest = text_slice(*rest, 0, at);
    }
    size_t colon = text_find_last(*rest, ':');
    size_t slash = text_find_last(*rest, '/');
    if (colon != SIZE_MAX && (slash == SIZE_MAX || colon > slash)) {
        reference->tag = text_slice(*rest, colon + 1, rest->size);
        if (!tag_valid(reference->tag)) {
            return ERR_INVALID;
        }
        *rest = text_slice(*rest, 0, colon);
    }
    return 0;
}

int image_reference_parse(struct text text, struct arena *arena, struct image_reference *out)
{
    if (text_empty(text) || text.size > IMAGE_REFERENCE_MAX) {
        return ERR_INVALID;
    }
    struct image_reference reference = {0};
    struct text path = text;
    int rc = cut_suffixes(&path, &reference);
    if (rc != 0) {
        return rc;
    }
    struct text domain = TEXT("docker.io");
    size_t slash = text_find(path, '/');
    if (slash != SIZE_MAX && looks_like_domain(text_slice(path, 0, slash))) {
        domain = text_slice(path, 0, slash);
        path = text_slice(path, slash + 1, path.size);
    } else if (slash == SIZE_MAX && path.size == 64 && all_hex(path)) {
        return ERR_INVALID; // Docker keeps these apart: they are image ids
    }
    if (text_is(domain, "index.docker.io")) {
        domain = TEXT("docker.io");
    }
    if (!domain_valid(domain) || !path_valid(path)) {
        return ERR_INVALID;
    }
    bool official = text_is(domain, "docker.io") && text_find(path, '/') == SIZE_MAX;
    reference.repository = arena_format(arena, "%.*s/%s%.*s", TEXT_FMT(domain),
                                        official ? "library/" : "", TEXT_FMT(path));
    if (reference.repository.size > REPOSITORY_MAX) {
        return ERR_INVALID;
    }
    reference.tag = arena_text(arena, reference.tag);
    reference.digest = arena_text(arena, reference.digest);
    *out = reference;
    return 0;
}

struct text image_reference_text(const struct image_reference *reference, struct arena *arena)
{
    struct text tag = reference->tag;
    if (tag.data == NULL && reference->digest.data == NULL) {
        tag = TEXT("latest");
    }
    return arena_format(arena, "%.*s%s%.*s%s%.*s", TEXT_FMT(reference->repository),
                        tag.data == NULL ? "" : ":", TEXT_FMT(tag),
                        reference->digest.data == NULL ? "" : "@", TEXT_FMT(reference->digest));
}

int image_normalise(struct text text, struct arena *arena, struct text *out_name)
{
    struct image_reference reference;
    int rc = image_reference_parse(text, arena, &reference);
    if (rc != 0) {
        return rc;
    }
    *out_name = image_reference_text(&reference, arena);
    return 0;
}

struct text image_name_file(struct text name, struct arena *arena)
{
    if (name.size > NAME_FILE_MAX) {
        char hex[IMAGE_HEX_SIZE];
        image_hash(name, hex);
        return arena_format(arena, "=%s", hex);
    }
    // Neither `+` nor `=` occurs in a reference, so different names have different files.
    char *bytes = arena_alloc(arena, name.size + 1);
    for (size_t i = 0; i < name.size; i++) {
        char byte = name.data[i];
        bytes[i] = byte;
        if (byte == '/') {
            bytes[i] = '+';
        } else if (byte == ':') {
            bytes[i] = '=';
        }
    }
    return (struct text){bytes, name.size};
}
