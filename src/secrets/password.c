#include "secrets/secrets_internal.h"

#include "base/text.h"

/*
 * GetRandomPassword.
 */

#define PASSWORD_CHARS 32
#define CLASS_COUNT 5

// As AWS names them. A space counts as a class of its own.
static const char lowercase[] = "abcdefghijklmnopqrstuvwxyz";
static const char uppercase[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char digits[] = "0123456789";
static const char punctuation[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/** Characters of one class that a password may have. */
struct password_class {
    char chars[40];
    size_t count;
};

static void fill(struct password_class *class, bool excluded, const char *chars,
                 struct text without)
{
    for (size_t i = 0; !excluded && chars[i] != '\0'; i++) {
        if (text_find(without, chars[i]) == SIZE_MAX) {
            class->chars[class->count++] = chars[i];
        }
    }
}

// A number below `below`, each as likely as the next one.
static size_t draw(struct core_call *call, size_t below)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % below;
    uint64_t bits = core_random(call);
    while (bits >= limit) {
        bits = core_random(call);
    }
    return (size_t)(bits % below);
}

static char draw_char(struct core_call *call, const struct password_class *classes, size_t total)
{
    size_t at = draw(call, total);
    size_t i = 0;
    while (at >= classes[i].count) {
        at -= classes[i].count;
        i++;
    }
    return classes[i].chars[at];
}

int secret_random_password(struct core_call *call, void *state, const void *request, void *response)
{
    (void)state;
    const struct secretsmanager_get_random_password_request *in = request;
    struct secretsmanager_get_random_password_response *out = response;
    struct text without = in->exclude_characters;
    struct password_class classes[CLASS_COUNT] = {0};
    fill(&classes[0], in->exclude_lowercase, lowercase, without);
    fill(&classes[1], in->exclude_uppercase, uppercase, without);
    fill(&classes[2], in->exclude_numbers, digits, without);
    fill(&classes[3], in->exclude_punctuation, punctuation, without);
    fill(&classes[4], !in->include_space, " ", without);

    size_t size = in->has_password_length ? (size_t)in->password_length : PASSWORD_CHARS;
    bool each = !in->has_require_each_included_type || in->require_each_included_type;
    size_t total = 0;
    size_t needed = 0;
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        total += classes[i].count;
        needed += each && classes[i].count > 0 ? 1 : 0;
    }
    if (total == 0) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "Nothing is left to make a password of: all characters are excluded.");
    }
    if (needed > size) {
        return core_fault(call, &secretsmanager_error_invalid_parameter_exception,
                          "A password of %zu characters cannot have one of each of the %zu "
                          "included types.",
                          size, needed);
    }
    char *password = arena_alloc(call->arena, size);
    size_t at = 0;
    for (size_t i = 0; each && i < CLASS_COUNT; i++) {
        if (classes[i].count > 0) {
            password[at++] = draw_char(call, &classes[i], classes[i].count);
        }
    }
    while (at < size) {
        password[at++] = draw_char(call, classes, total);
    }
    // Those that must be there stand at the front until now.
    for (size_t i = size - 1; i > 0; i--) {
        size_t other = draw(call, i + 1);
        char swapped = password[i];
        password[i] = password[other];
        password[other] = swapped;
    }
    out->random_password = (struct text){password, size};
    return 0;
}
