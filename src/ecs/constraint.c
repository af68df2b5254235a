#include "ecs/constraint_internal.h"

#include "base/text.h"

#include <string.h>

enum constraint_relation {
    OPERATOR_EQUAL,
    OPERATOR_NOT_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_EXISTS,
    OPERATOR_NOT_EXISTS,
    OPERATOR_IN,
    OPERATOR_NOT_IN,
    OPERATOR_MATCHES,
    OPERATOR_NOT_MATCHES,
};

enum constraint_kind { STEP_TEST, STEP_AND, STEP_OR, STEP_NOT, STEP_OPEN };

struct constraint_step {
    enum constraint_kind kind;
    enum constraint_subject subject;
    enum constraint_relation relation;
    struct text name; // of an attribute
    struct text *values;
    size_t value_count;
    struct constraint_pattern pattern;
};

// ---- reading ------------------------------------------------------------------------------

struct reader {
    struct text text;
    size_t at;
    struct arena *arena;
    struct err *err;
    struct constraint_step *steps; // output
    size_t count;
    enum constraint_kind waiting[2 * CONSTRAINT_DEPTH_MAX]; // connectives and parentheses
    size_t waiting_count;
    size_t depth;
};

static int complain(struct reader *reader, const char *what)
{
    return err_set(reader->err, ERR_INVALID, "%s at character %zu", what, reader->at + 1);
}

static bool space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->text.size && space(reader->text.data[reader->at])) {
        reader->at++;
    }
}

static struct text rest(const struct reader *reader)
{
    return text_slice(reader->text, reader->at, reader->text.size);
}

static bool take_symbol(struct reader *reader, const char *symbol)
{
    if (!text_starts(rest(reader), text_of(symbol))) {
        return false;
    }
    reader->at += strlen(symbol);
    return true;
}

// Take a word that stands for itself: no part of a longer one.
static bool take_word(struct reader *reader, const char *word)
{
    size_t size = strlen(word);
    struct text ahead = rest(reader);
    if (ahead.size < size || !text_equal_nocase(text_slice(ahead, 0, size), text_of(word))) {
        return false;
    }
    if (ahead.size > size && !space(ahead.data[size]) &&
        text_find(TEXT("()[],'\"!=<>"), ahead.data[size]) == SIZE_MAX) {
        return false;
    }
    reader->at += size;
    return true;
}

static struct text read_until(struct reader *reader, const char *stops)
{
    size_t begin = reader->at;
    while (reader->at < reader->text.size) {
        char byte = reader->text.data[reader->at];
        if (space(byte) || text_find(text_of(stops), byte) != SIZE_MAX ||
            text_starts(rest(reader), TEXT("&&")) || text_starts(rest(reader), TEXT("||"))) {
            break;
        }
        reader->at++;
    }
    return text_slice(reader->text, begin, reader->at);
}

static int read_subject(struct reader *reader, struct constraint_step *step)
{
    static const struct {
        const char *name;
        enum constraint_subject subject;
    } subjects[] = {
        {"agentConnected", CONSTRAINT_AGENT_CONNECTED},  {"agentVersion", CONSTRAINT_AGENT_VERSION},
        {"ec2InstanceId", CONSTRAINT_EC2_INSTANCE_ID},   {"registeredAt", CONSTRAINT_REGISTERED_AT},
        {"runningTasksCount", CONSTRAINT_RUNNING_TASKS}, {"task:group", CONSTRAINT_TASK_GROUP},
    };
    size_t begin = reader->at;
    struct text word = read_until(reader, "()[],'\"!=<>");
    const struct text prefix = TEXT("attribute:");
    if (text_starts(word, prefix) && word.size > prefix.size) {
        step->subject = CONSTRAINT_ATTRIBUTE;
        step->name = text_slice(word, prefix.size, word.size);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (text_is(word, subjects[i].name)) {
            step->subject = subjects[i].subject;
            return 0;
        }
    }
    reader->at = begin;
    return complain(reader, "expected a subject such as attribute:name or task:group");
}

static int read_operator(struct reader *reader, struct constraint_step *step)
{
    // Longer symbols first: `!` begins several, `<` and `>` too.
    static const struct {
        const char *text;
        enum constraint_relation relation;
        bool is_word;
    } operators[] = {
        {"==", OPERATOR_EQUAL, false},
        {"=~", OPERATOR_MATCHES, false},
        {"!=", OPERATOR_NOT_EQUAL, false},
        {"!~", OPERATOR_NOT_MATCHES, false},
        {"!exists", OPERATOR_NOT_EXISTS, true},
        {"!in", OPERATOR_NOT_IN, true},
        {">=", OPERATOR_GREATER_EQUAL, false},
        {"<=", OPERATOR_LESS_EQUAL, false},
        {">", OPERATOR_GREATER, false},
        {"<", OPERATOR_LESS, false},
        {"exists", OPERATOR_EXISTS, true},
        {"in", OPERATOR_IN, true},
        {"equals", OPERATOR_EQUAL, true},
        {"not_equals", OPERATOR_NOT_EQUAL, true},
        {"greater_than_equal", OPERATOR_GREATER_EQUAL, true},
        {"greater_than", OPERATOR_GREATER, true},
        {"less_than_equal", OPERATOR_LESS_EQUAL, true},
        {"less_than", OPERATOR_LESS, true},
        {"not_exists", OPERATOR_NOT_EXISTS, true},
        {"not_in", OPERATOR_NOT_IN, true},
        {"matches", OPERATOR_MATCHES, true},
        {"not_matches", OPERATOR_NOT_MATCHES, true},
    };
    skip_space(reader);
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (operators[i].is_word ? take_word(reader, operators[i].text)
                                 : take_symbol(reader, operators[i].text)) {
            step->relation = operators[i].relation;
            return 0;
        }
    }
    return complain(reader, "expected an operator such as ==, in or exists");
}

static int read_value(struct reader *reader, const char *stops, struct text *out_value)
{
    skip_space(reader);
    struct text ahead = rest(reader);
    if (!text_empty(ahead) && (ahead.data[0] == '\'' || ahead.data[0] == '"')) {
        size_t end = text_find(text_slice(ahead, 1, ahead.size), ahead.data[0]);
        if (end == SIZE_MAX) {
            return complain(reader, "a quotation mark without its second");
        }
        *out_value = text_slice(ahead, 1, 1 + end);
        reader->at += end + 2;
        return 0;
    }
    *out_value = read_until(reader, stops);
    return text_empty(*out_value) ? complain(reader, "expected a value") : 0;
}

static int read_list(struct reader *reader, struct constraint_step *step)
{
    skip_space(reader);
    if (!take_symbol(reader, "[")) {
        return complain(reader, "expected a list in brackets");
    }
    step->values = arena_array(reader->arena, CONSTRAINT_VALUES_MAX, sizeof(*step->values));
    do {
        if (step->value_count == CONSTRAINT_VALUES_MAX) {
            return complain(reader, "too many values in a list");
        }
        int rc = read_value(reader, "()[],'\"", &step->values[step->value_count]);
        if (rc != 0) {
            return rc;
        }
        step->value_count++;
        skip_space(reader);
    } while (take_symbol(reader, ","));
    return take_symbol(reader, "]") ? 0 : complain(reader, "expected , or ]");
}

// ---- which operators ----------------------------------------------------------------------

#define BIT(relation) (1u << (relation))
#define EQUALITY (BIT(OPERATOR_EQUAL) | BIT(OPERATOR_NOT_EQUAL))
#define ORDER                                                                                      \
    (BIT(OPERATOR_GREATER) | BIT(OPERATOR_GREATER_EQUAL) | BIT(OPERATOR_LESS) |                    \
     BIT(OPERATOR_LESS_EQUAL))
#define SETS (BIT(OPERATOR_IN) | BIT(OPERATOR_NOT_IN))
#define PATTERNS (BIT(OPERATOR_MATCHES) | BIT(OPERATOR_NOT_MATCHES))
#define EXISTENCE (BIT(OPERATOR_EXISTS) | BIT(OPERATOR_NOT_EXISTS))

// ECS's table of subjects and their operators.
static int check_operator(struct reader *reader, const struct constraint_step *step)
{
    static const unsigned allowed[] = {
        [CONSTRAINT_AGENT_CONNECTED] = EQUALITY | SETS | PATTERNS,
        [CONSTRAINT_AGENT_VERSION] = EQUALITY | ORDER,
        [CONSTRAINT_ATTRIBUTE] = EQUALITY | ORDER | SETS | PATTERNS | EXISTENCE,
        [CONSTRAINT_EC2_INSTANCE_ID] = EQUALITY | SETS | PATTERNS,
        [CONSTRAINT_REGISTERED_AT] = EQUALITY | ORDER,
        [CONSTRAINT_RUNNING_TASKS] = EQUALITY | ORDER,
        [CONSTRAINT_TASK_GROUP] = EQUALITY | SETS | PATTERNS,
    };
    ASSERT((size_t)step->subject < ARRAY_LEN(allowed));
    return (allowed[step->subject] & BIT(step->relation)) != 0
               ? 0
               : complain(reader, "an operator that this subject does not have, before here,");
}

static int convert_values(struct reader *reader, struct constraint_step *step)
{
    for (size_t i = 0; i < step->value_count; i++) {
        const char *expected =
            constraint_value_read(step->subject, &step->values[i], reader->arena);
        if (expected != NULL) {
            return complain(reader, expected);
        }
    }
    return 0;
}

// ---- parsing ------------------------------------------------------------------------------

static int read_test(struct reader *reader, struct constraint_step *step)
{
    step->kind = STEP_TEST;
    int rc = read_subject(reader, step);
    if (rc == 0) {
        rc = read_operator(reader, step);
    }
    if (rc == 0) {
        rc = check_operator(reader, step);
    }
    if (rc != 0) {
        return rc;
    }
    switch (step->relation) {
    case OPERATOR_EXISTS:
    case OPERATOR_NOT_EXISTS:
        return 0;
    case OPERATOR_IN:
    case OPERATOR_NOT_IN:
        rc = read_list(reader, step);
        break;
    case OPERATOR_MATCHES:
    case OPERATOR_NOT_MATCHES: {
        struct text pattern = {0};
        rc = read_value(reader, "(),'\"", &pattern);
        return rc != 0 ? rc
                       : constraint_pattern_compile(pattern, reader->arena, &step->pattern,
                                                    reader->err);
    }
    case OPERATOR_EQUAL:
    case OPERATOR_NOT_EQUAL:
    case OPERATOR_GREATER:
    case OPERATOR_GREATER_EQUAL:
    case OPERATOR_LESS:
    case OPERATOR_LESS_EQUAL:
        step->values = arena_array(reader->arena, 1, sizeof(*step->values));
        step->value_count = 1;
        rc = read_value(reader, "()[],'\"", &step->values[0]);
        break;
    }
    return rc == 0 ? convert_values(reader, step) : rc;
}

static int emit(struct reader *reader, const struct constraint_step *step)
{
    if (reader->count == CONSTRAINT_STEPS_MAX) {
        return complain(reader, "too many tests");
    }
    reader->steps[reader->count] = *step;
    reader->count++;
    return 0;
}

// Put out connectives that bind at least as much as the next one, down to a parenthesis.
static int settle(struct reader *reader, enum constraint_kind next)
{
    while (reader->waiting_count > 0) {
        enum constraint_kind top = reader->waiting[reader->waiting_count - 1];
        bool binds = top == STEP_NOT || (top == STEP_AND && next != STEP_NOT) ||
                     (top == STEP_OR && next != STEP_AND && next != STEP_NOT);
        if (top == STEP_OPEN || !binds) {
            return 0;
        }
        const struct constraint_step step = {.kind = top};
        int rc = emit(reader, &step);
        if (rc != 0) {
            return rc;
        }
        reader->waiting_count--;
    }
    return 0;
}

static int push(struct reader *reader, enum constraint_kind kind)
{
    if (reader->waiting_count == ARRAY_LEN(reader->waiting)) {
        return complain(reader, "too many levels");
    }
    reader->waiting[reader->waiting_count] = kind;
    reader->waiting_count++;
    return 0;
}

// What may stand in front of a test. @return 0 when the test comes next
static int read_front(struct reader *reader)
{
    for (;;) {
        skip_space(reader);
        enum constraint_kind kind = STEP_OPEN;
        if (take_symbol(reader, "(")) {
            reader->depth++;
        } else if (take_word(reader, "not") || take_symbol(reader, "!")) {
            kind = STEP_NOT;
        } else {
            return 0;
        }
        if (reader->depth > CONSTRAINT_DEPTH_MAX) {
            return complain(reader, "too many parentheses within each other");
        }
        int rc = push(reader, kind);
        if (rc != 0) {
            return rc;
        }
    }
}

static int read_closing(struct reader *reader)
{
    for (skip_space(reader); take_symbol(reader, ")"); skip_space(reader)) {
        int rc = settle(reader, STEP_OPEN);
        if (rc != 0) {
            return rc;
        }
        if (reader->waiting_count == 0) {
            reader->at--;
            return complain(reader, "a parenthesis that was never opened");
        }
        reader->waiting_count--;
        reader->depth--;
    }
    return 0;
}

static int parse(struct reader *reader)
{
    for (;;) {
        struct constraint_step step = {0};
        int rc = read_front(reader);
        if (rc == 0) {
            rc = read_test(reader, &step);
        }
        if (rc == 0) {
            rc = emit(reader, &step);
        }
        if (rc == 0) {
            rc = read_closing(reader);
        }
        if (rc != 0) {
            return rc;
        }
        if (reader->at == reader->text.size) {
            break;
        }
        enum constraint_kind kind = STEP_AND;
        if (take_word(reader, "or") || take_symbol(reader, "||")) {
            kind = STEP_OR;
        } else if (!take_word(reader, "and") && !take_symbol(reader, "&&")) {
            return complain(reader, "expected and, or, or the end");
        }
        rc = settle(reader, kind);
        if (rc == 0) {
            rc = push(reader, kind);
        }
        if (rc != 0) {
            return rc;
        }
    }
    int rc = settle(reader, STEP_OPEN);
    if (rc != 0) {
        return rc;
    }
    return reader->waiting_count == 0 ? 0 : complain(reader, "a parenthesis that is not closed");
}

int constraint_parse(struct text text, struct arena *arena, struct constraint *out_constraint,
                     struct err *err)
{
    if (text.size > CONSTRAINT_CHARS_MAX) {
        return err_set(err, ERR_INVALID, "an expression can have at most %d characters",
                       CONSTRAINT_CHARS_MAX);
    }
    struct reader reader = {
        .text = text,
        .arena = arena,
        .err = err,
        .steps = arena_array(arena, CONSTRAINT_STEPS_MAX, sizeof(struct constraint_step)),
    };
    int rc = parse(&reader);
    if (rc != 0) {
        return rc;
    }
    *out_constraint = (struct constraint){reader.steps, reader.count};
    return 0;
}

// ---- evaluating ---------------------------------------------------------------------------

static bool among(struct text value, const struct constraint_step *step)
{
    for (size_t i = 0; i < step->value_count; i++) {
        if (constraint_value_equal(step->subject, value, step->values[i])) {
            return true;
        }
    }
    return false;
}

// Whether one value passes; of a negated operator, whether it passes the plain one.
static bool passes(const struct constraint_step *step, struct text value)
{
    switch (step->relation) {
    case OPERATOR_EQUAL:
    case OPERATOR_NOT_EQUAL:
    case OPERATOR_IN:
    case OPERATOR_NOT_IN:
        return among(value, step);
    case OPERATOR_GREATER:
        return constraint_value_compare(step->subject, value, step->values[0]) > 0;
    case OPERATOR_GREATER_EQUAL:
        return constraint_value_compare(step->subject, value, step->values[0]) >= 0;
    case OPERATOR_LESS:
        return constraint_value_compare(step->subject, value, step->values[0]) < 0;
    case OPERATOR_LESS_EQUAL:
        return constraint_value_compare(step->subject, value, step->values[0]) <= 0;
    case OPERATOR_MATCHES:
    case OPERATOR_NOT_MATCHES:
        return constraint_pattern_matches(&step->pattern, value);
    case OPERATOR_EXISTS:
    case OPERATOR_NOT_EXISTS:
        break;
    }
    return true;
}

static bool test_holds(const struct constraint_step *step, const struct constraint_view *view)
{
    bool any = false;
    struct text value = {0};
    for (size_t i = 0; !any && view->value(view->context, step->subject, step->name, i, &value);
         i++) {
        any = passes(step, value);
    }
    bool negated = step->relation == OPERATOR_NOT_EQUAL || step->relation == OPERATOR_NOT_IN ||
                   step->relation == OPERATOR_NOT_MATCHES || step->relation == OPERATOR_NOT_EXISTS;
    return any != negated;
}

bool constraint_holds(const struct constraint *constraint, const struct constraint_view *view)
{
    bool stack[CONSTRAINT_STEPS_MAX];
    size_t top = 0;
    for (size_t i = 0; i < constraint->count; i++) {
        const struct constraint_step *step = &constraint->steps[i];
        switch (step->kind) {
        case STEP_TEST:
            ASSERT(top < ARRAY_LEN(stack));
            stack[top] = test_holds(step, view);
            top++;
            break;
        case STEP_NOT:
            ASSERT(top >= 1);
            stack[top - 1] = !stack[top - 1];
            break;
        case STEP_AND:
        case STEP_OR:
        case STEP_OPEN:
            ASSERT(top >= 2);
            top--;
            stack[top - 1] = step->kind == STEP_AND ? stack[top - 1] && stack[top]
                                                    : stack[top - 1] || stack[top];
            break;
        }
    }
    ASSERT(top == 1);
    return stack[0];
}

bool constraint_asks(const struct constraint *constraint, enum constraint_subject subject)
{
    for (size_t i = 0; i < constraint->count; i++) {
        if (constraint->steps[i].kind == STEP_TEST && constraint->steps[i].subject == subject) {
            return true;
        }
    }
    return false;
}
