#include "runtime/user.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_BYTES_MAX (1u << 20)
#define PATH_BYTES 4096

static int open_in_root(int root_fd, const char *path, int flags)
{
    return file_open_inside(root_fd, path, flags, RESOLVE_IN_ROOT);
}

// A table that is missing reads as an empty one: an image may have neither.
static int read_table(int root_fd, const char *path, struct buf *out, struct err *err)
{
    // Not blocking: an image could put a pipe there.
    AUTO(fd_close) int fd = open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK);
    struct stat status;
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                   ? 0
                   : err_sys(err, errno, "opening '%s' of the image", path);
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return 0;
    }
    for (;;) {
        ssize_t got = read(fd, buf_reserve(out, PATH_BYTES), PATH_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_sys(err, errno, "reading '%s' of the image", path);
        }
        out->size += (size_t)got;
        if (got == 0) {
            return 0;
        }
        if (out->size > TABLE_BYTES_MAX) {
            return err_set(err, ERR_NO_ROOM, "'%s' of the image is over %u bytes", path,
                           TABLE_BYTES_MAX);
        }
    }
}

static bool number(struct text text, uint32_t *out_number)
{
    uint64_t value = 0;
    if (text_to_u64(text, &value) != 0 || value >= UINT32_MAX) {
        return false;
    }
    *out_number = (uint32_t)value;
    return true;
}

// name:password:uid:gid:comment:home:shell
struct passwd_line {
    struct text name;
    uint32_t uid;
    uint32_t gid;
    struct text home;
};

static bool parse_passwd(struct text line, struct passwd_line *out)
{
    struct text fields[7] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(fields) && line.data != NULL; i++) {
        fields[i] = text_cut(&line, ':');
    }
    out->name = fields[0];
    out->home = fields[5];
    return number(fields[2], &out->uid) && number(fields[3], &out->gid);
}

// An entry matches by name, or by number when the name is one.
static bool find_user(struct text table, struct text wanted, struct passwd_line *out)
{
    uint32_t uid = 0;
    bool numeric = number(wanted, &uid);
    while (table.data != NULL) {
        struct passwd_line line = {0};
        if (parse_passwd(text_cut(&table, '\n'), &line) &&
            (text_equal(line.name, wanted) || (numeric && line.uid == uid))) {
            *out = line;
            return true;
        }
    }
    return false;
}

// name:password:gid:member,member
static bool parse_group(struct text line, struct text *out_name, uint32_t *out_gid,
                        struct text *out_members)
{
    struct text fields[4] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(fields) && line.data != NULL; i++) {
        fields[i] = text_cut(&line, ':');
    }
    *out_name = fields[0];
    *out_members = fields[3];
    return number(fields[2], out_gid);
}

static bool find_group(struct text table, struct text wanted, uint32_t *out_gid)
{
    uint32_t gid = 0;
    bool numeric = number(wanted, &gid);
    while (table.data != NULL) {
        struct text name;
        struct text members;
        uint32_t found = 0;
        if (parse_group(text_cut(&table, '\n'), &name, &found, &members) &&
            (text_equal(name, wanted) || (numeric && found == gid))) {
            *out_gid = found;
            return true;
        }
    }
    *out_gid = gid;
    return numeric;
}

static bool is_member(struct text members, struct text user)
{
    while (members.data != NULL) {
        if (text_equal(text_cut(&members, ','), user)) {
            return true;
        }
    }
    return false;
}

static void find_memberships(struct text table, struct text name, struct arena *arena,
                             struct user *user)
{
    user->groups = arena_array(arena, USER_GROUPS_MAX, sizeof(*user->groups));
    while (table.data != NULL && user->group_count < USER_GROUPS_MAX) {
        struct text group;
        struct text members;
        uint32_t gid = 0;
        if (parse_group(text_cut(&table, '\n'), &group, &gid, &members) &&
            is_member(members, name)) {
            user->groups[user->group_count++] = gid;
        }
    }
}

int user_resolve(int root_fd, struct text user, struct arena *arena, struct user *out_user,
                 struct err *err)
{
    AUTO(buf_deinit) struct buf passwd = {0};
    AUTO(buf_deinit) struct buf groups = {0};
    int rc = read_table(root_fd, "/etc/passwd", &passwd, err);
    if (rc == 0) {
        rc = read_table(root_fd, "/etc/group", &groups, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct text group = user;
    struct text name = user.data == NULL ? (struct text){0} : text_cut(&group, ':');
    if (text_empty(name)) {
        name = TEXT("0");
    }
    struct user result = {.home = TEXT("/")};
    struct passwd_line line = {0};
    if (find_user(buf_view(&passwd), name, &line)) {
        result.uid = line.uid;
        result.gid = line.gid;
        result.home = text_empty(line.home) ? TEXT("/") : arena_text(arena, line.home);
    } else if (!number(name, &result.uid)) {
        return err_set(err, ERR_NOT_FOUND, "the image has no user '%.*s' in /etc/passwd",
                       TEXT_FMT(name));
    }
    if (!text_empty(group)) {
        if (!find_group(buf_view(&groups), group, &result.gid)) {
            return err_set(err, ERR_NOT_FOUND, "the image has no group '%.*s' in /etc/group",
                           TEXT_FMT(group));
        }
    } else if (!text_empty(line.name)) {
        find_memberships(buf_view(&groups), line.name, arena, &result);
    }
    *out_user = result;
    return 0;
}

int user_make_directory(int root_fd, struct text path, struct err *err)
{
    char so_far[PATH_BYTES] = "/";
    size_t used = 0;
    AUTO(fd_close) int at_fd = open_in_root(root_fd, "/", O_PATH | O_DIRECTORY);
    if (at_fd < 0) {
        return err_sys(err, errno, "opening the container's root");
    }
    struct text rest = path;
    while (rest.data != NULL) {
        struct text part = text_cut(&rest, '/');
        if (part.size == 0) {
            continue;
        }
        int size = snprintf(so_far + used, sizeof(so_far) - used, "/%.*s", TEXT_FMT(part));
        if (size < 0 || (size_t)size >= sizeof(so_far) - used) {
            return err_set(err, ERR_INVALID, "the path '%.*s' is too long", TEXT_FMT(path));
        }
        int fd = open_in_root(root_fd, so_far, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT) {
            IGNORE(mkdirat(at_fd, so_far + used + 1, 0755) != 0, "opening it tells more");
            fd = open_in_root(root_fd, so_far, O_PATH | O_DIRECTORY);
        }
        if (fd < 0) {
            return err_sys(err, errno, "making directory '%s' in the container", so_far);
        }
        fd_close(at_fd);
        at_fd = fd;
        used += (size_t)size;
    }
    return 0;
}
