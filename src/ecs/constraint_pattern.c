#include "ecs/constraint_internal.h"

#include "base/text.h"

#include <string.h>

// ---- compiling ----------------------------------------------------------------------------

static void add_byte(struct constraint_atom *atom, unsigned char byte)
{
    atom->bytes[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static void add_range(struct constraint_atom *atom, unsigned char from, unsigned char to)
{
    for (unsigned byte = from; byte <= to; byte++) {
        add_byte(atom, (unsigned char)byte);
    }
}

static void invert(struct constraint_atom *atom)
{
    for (size_t i = 0; i < ARRAY_LEN(atom->bytes); i++) {
        atom->bytes[i] = ~atom->bytes[i];
    }
}

// What follows a backslash: a class, or the character itself.
static void add_escape(struct constraint_atom *atom, char letter)
{
    switch (letter) {
    case 'd':
        add_range(atom, '0', '9');
        break;
    case 'w':
        add_range(atom, '0', '9');
        add_range(atom, 'a', 'z');
        add_range(atom, 'A', 'Z');
        add_byte(atom, '_');
        break;
    case 's':
        add_byte(atom, ' ');
        add_range(atom, '\t', '\r');
        break;
    default:
        add_byte(atom, (unsigned char)letter);
        break;
    }
}

// Read a class from behind its bracket. @return the place behind it, or SIZE_MAX
static size_t read_class(struct text text, size_t at, struct constraint_atom *atom)
{
    bool negated = at < text.size && text.data[at] == '^';
    at += negated ? 1 : 0;
    size_t first = at;
    while (at < text.size && (text.data[at] != ']' || at == first)) {
        unsigned char from = (unsigned char)text.data[at];
        if (from == '\\') {
            if (at + 1 >= text.size) {
                return SIZE_MAX;
            }
            add_escape(atom, text.data[at + 1]);
            at += 2;
            continue;
        }
        bool range = at + 2 < text.size && text.data[at + 1] == '-' && text.data[at + 2] != ']';
        unsigned char to = range ? (unsigned char)text.data[at + 2] : from;
        if (to < from) {
            return SIZE_MAX;
        }
        add_range(atom, from, to);
        at += range ? 3 : 1;
    }
    if (at >= text.size) {
        return SIZE_MAX;
    }
    if (negated) {
        invert(atom);
    }
    return at + 1;
}

// Read one character or class. @return the place behind it, or SIZE_MAX when it is none
static size_t read_atom(struct text text, size_t at, struct constraint_atom *atom)
{
    char byte = text.data[at];
    switch (byte) {
    case '.':
        invert(atom);
        return at + 1;
    case '[':
        return read_class(text, at + 1, atom);
    case '\\':
        if (at + 1 >= text.size) {
            return SIZE_MAX;
        }
        add_escape(atom, text.data[at + 1]);
        return at + 2;
    case '*':
    case '+':
    case '?':
    case '(':
    case ')':
    case '{':
    case '}':
        return SIZE_MAX;
    default:
        add_byte(atom, (unsigned char)byte);
        return at + 1;
    }
}

static size_t read_times(struct text text, size_t at, struct constraint_atom *atom)
{
    if (at >= text.size) {
        return at;
    }
    char byte = text.data[at];
    atom->optional = byte == '*' || byte == '?';
    atom->repeats = byte == '*' || byte == '+';
    return atom->optional || atom->repeats ? at + 1 : at;
}

// An alternative always ends with an atom of its own that matches nothing: the place of success.
static void end_alternative(struct constraint_pattern *pattern)
{
    pattern->atoms[pattern->count] = (struct constraint_atom){.last = true};
    pattern->count++;
}

int constraint_pattern_compile(struct text text, struct arena *arena,
                               struct constraint_pattern *out_pattern, struct err *err)
{
    struct constraint_pattern pattern = {
        .atoms = arena_array(arena, CONSTRAINT_PATTERN_MAX, sizeof(*pattern.atoms)),
    };
    size_t at = 0;
    while (at < text.size) {
        if (pattern.count + 2 > CONSTRAINT_PATTERN_MAX) {
            return err_set(err, ERR_INVALID, "a pattern can have at most %d characters",
                           CONSTRAINT_PATTERN_MAX - 2);
        }
        if (text.data[at] == '|') {
            end_alternative(&pattern);
            at++;
            continue;
        }
        if ((text.data[at] == '^' && at == 0) || (text.data[at] == '$' && at + 1 == text.size)) {
            at++; // the whole value is matched anyway
            continue;
        }
        struct constraint_atom atom = {0};
        at = read_atom(text, at, &atom);
        if (at == SIZE_MAX) {
            return err_set(err, ERR_INVALID,
                           "pattern '%.*s' has something other than characters, classes, '.', "
                           "'*', '+', '?' and '|'",
                           TEXT_FMT(text_slice(text, 0, 100)));
        }
        at = read_times(text, at, &atom);
        pattern.atoms[pattern.count] = atom;
        pattern.count++;
    }
    end_alternative(&pattern);
    *out_pattern = pattern;
    return 0;
}

// ---- matching -----------------------------------------------------------------------------

// Places of the pattern that may come next; an optional one lets the place behind it in as well.
static void enter(const struct constraint_pattern *pattern, bool *places, size_t place)
{
    places[place] = true;
    while (pattern->atoms[place].optional) {
        place++;
        places[place] = true;
    }
}

static bool atom_matches(const struct constraint_atom *atom, unsigned char byte)
{
    return (atom->bytes[byte / 64] >> (byte % 64) & 1) != 0;
}

bool constraint_pattern_matches(const struct constraint_pattern *pattern, struct text text)
{
    ASSERT(pattern->count > 0);
    ASSERT(pattern->count <= CONSTRAINT_PATTERN_MAX);
    bool places[CONSTRAINT_PATTERN_MAX] = {false};
    for (size_t i = 0; i < pattern->count; i++) {
        if (i == 0 || pattern->atoms[i - 1].last) {
            enter(pattern, places, i);
        }
    }
    for (size_t at = 0; at < text.size; at++) {
        bool next[CONSTRAINT_PATTERN_MAX] = {false};
        for (size_t i = 0; i < pattern->count; i++) {
            const struct constraint_atom *atom = &pattern->atoms[i];
            if (places[i] && atom_matches(atom, (unsigned char)text.data[at])) {
                enter(pattern, next, i + 1);
                if (atom->repeats) {
                    enter(pattern, next, i);
                }
            }
        }
        memcpy(places, next, sizeof(places));
    }
    for (size_t i = 0; i < pattern->count; i++) {
        if (places[i] && pattern->atoms[i].last) {
            return true;
        }
    }
    return false;
}
