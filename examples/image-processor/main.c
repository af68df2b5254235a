/*
 * An image service for the examples: GET /image/WIDTHxHEIGHT gives a gradient as PNG, made once
 * and kept in the Redis beside it (the containers of a task share localhost). GET /health is what
 * the task definition's health check asks. Without a Redis it works all the same.
 *
 * One file, linked statically against the C library and zlib, so that the image needs nothing
 * else. A fixed number of threads with fixed buffers: nothing here allocates or grows.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define PORT 8080
#define REDIS_PORT 6379
#define THREADS 4
#define SIDE_MAX 1024
#define REQUEST_BYTES 8192
#define RAW_BYTES (SIDE_MAX * (1 + 3 * SIDE_MAX))
#define PNG_BYTES (RAW_BYTES + RAW_BYTES / 100 + 4096)
#define KEEP_SECONDS "3600"

/** Everything one thread needs for a request. */
struct worker {
    pthread_t thread;
    int listener;
    int redis; ///< connection, -1 for none
    char request[REQUEST_BYTES];
    unsigned char raw[RAW_BYTES];
    unsigned char png[PNG_BYTES];
    size_t png_size;
};

static struct worker workers[THREADS];
static atomic_uint_fast64_t served;
static atomic_uint_fast64_t from_cache;

/* ---- bytes in and out */

static bool send_all(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t done = send(fd, from, size, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        from += done;
        size -= (size_t)done;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t size)
{
    char *to = bytes;
    while (size > 0) {
        ssize_t got = recv(fd, to, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to += got;
        size -= (size_t)got;
    }
    return true;
}

static void limit_time(int fd, time_t seconds)
{
    const struct timeval limit = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* ---- Redis, as much of its protocol as two commands need */

static void redis_drop(struct worker *worker)
{
    if (worker->redis >= 0) {
        close(worker->redis);
        worker->redis = -1;
    }
}

static bool redis_connect(struct worker *worker)
{
    if (worker->redis >= 0) {
        return true;
    }
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(REDIS_PORT),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    limit_time(fd, 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return false;
    }
    worker->redis = fd;
    return true;
}

// One line of an answer, without its end.
static bool redis_line(struct worker *worker, char *line, size_t size)
{
    for (size_t at = 0; at + 1 < size; at++) {
        if (!receive_all(worker->redis, &line[at], 1)) {
            return false;
        }
        if (line[at] == '\n') {
            line[at > 0 ? at - 1 : 0] = '\0';
            return true;
        }
    }
    return false;
}

// Fetch a value into the worker's PNG buffer. @return whether it was there
static bool redis_get(struct worker *worker, const char *key)
{
    char text[128];
    int size = snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
    if (!redis_connect(worker)) {
        return false;
    }
    if (!send_all(worker->redis, text, (size_t)size) || !redis_line(worker, text, sizeof(text)) ||
        text[0] != '$') {
        redis_drop(worker);
        return false;
    }
    long bytes = -1;
    if (sscanf(text + 1, "%8ld", &bytes) != 1 || bytes < 0) {
        return false;
    }
    char end[2];
    if ((size_t)bytes > sizeof(worker->png) ||
        !receive_all(worker->redis, worker->png, (size_t)bytes) ||
        !receive_all(worker->redis, end, sizeof(end))) {
        redis_drop(worker);
        return false;
    }
    worker->png_size = (size_t)bytes;
    return true;
}

static void redis_keep(struct worker *worker, const char *key)
{
    char text[128];
    // SET key value EX seconds: the value stands in the middle.
    int size = snprintf(text, sizeof(text), "*5\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n",
                        strlen(key), key, worker->png_size);
    static const char tail[] = "\r\n$2\r\nEX\r\n$4\r\n" KEEP_SECONDS "\r\n";
    if (!redis_connect(worker)) {
        return;
    }
    if (!send_all(worker->redis, text, (size_t)size) ||
        !send_all(worker->redis, worker->png, worker->png_size) ||
        !send_all(worker->redis, tail, sizeof(tail) - 1) ||
        !redis_line(worker, text, sizeof(text)) || text[0] != '+') {
        redis_drop(worker);
    }
}

/* ---- pictures */

static void put_u32(unsigned char *to, uint32_t value)
{
    to[0] = (unsigned char)(value >> 24);
    to[1] = (unsigned char)(value >> 16);
    to[2] = (unsigned char)(value >> 8);
    to[3] = (unsigned char)value;
}

static size_t put_chunk(unsigned char *to, const char *kind, size_t size)
{
    put_u32(to, (uint32_t)size);
    for (size_t i = 0; i < 4; i++) {
        to[4 + i] = (unsigned char)kind[i];
    }
    put_u32(to + 8 + size, (uint32_t)crc32(0, to + 4, (uInt)(size + 4)));
    return size + 12;
}

static void paint(struct worker *worker, uint32_t width, uint32_t height)
{
    unsigned char *at = worker->raw;
    for (uint32_t y = 0; y < height; y++) {
        *at++ = 0; // no filter on this line
        for (uint32_t x = 0; x < width; x++) {
            *at++ = (unsigned char)(255 * x / width);
            *at++ = (unsigned char)(255 * y / height);
            *at++ = (unsigned char)(255 - 255 * x / width);
        }
    }
}

static bool make_png(struct worker *worker, uint32_t width, uint32_t height)
{
    static const unsigned char signature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    paint(worker, width, height);
    unsigned char *at = worker->png;
    for (size_t i = 0; i < sizeof(signature); i++) {
        *at++ = signature[i];
    }
    put_u32(at + 8, width);
    put_u32(at + 12, height);
    at[16] = 8; // bits per channel
    at[17] = 2; // red, green, blue
    at[18] = at[19] = at[20] = 0;
    at += put_chunk(at, "IHDR", 13);
    uLongf size = sizeof(worker->png) - 128;
    if (compress2(at + 8, &size, worker->raw, (uLong)height * (1 + 3 * width), 6) != Z_OK) {
        return false;
    }
    at += put_chunk(at, "IDAT", size);
    at += put_chunk(at, "IEND", 0);
    worker->png_size = (size_t)(at - worker->png);
    return true;
}

/* ---- HTTP */

static bool reply(int fd, const char *status, const char *type, const void *body, size_t size)
{
    char head[256];
    int head_size = snprintf(head, sizeof(head),
                             "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                             status, type, size);
    return send_all(fd, head, (size_t)head_size) && send_all(fd, body, size);
}

static bool reply_text(int fd, const char *status, const char *text)
{
    return reply(fd, status, "text/plain; charset=utf-8", text, strlen(text));
}

static bool reply_stats(struct worker *worker, int fd)
{
    char text[160];
    snprintf(text, sizeof(text), "{\"served\":%llu,\"fromCache\":%llu,\"redis\":%s}\n",
             (unsigned long long)atomic_load(&served), (unsigned long long)atomic_load(&from_cache),
             redis_connect(worker) ? "true" : "false");
    return reply(fd, "200 OK", "application/json", text, strlen(text));
}

static bool reply_image(struct worker *worker, int fd, uint32_t width, uint32_t height)
{
    char key[64];
    snprintf(key, sizeof(key), "image:%ux%u", width, height);
    if (redis_get(worker, key)) {
        atomic_fetch_add(&from_cache, 1);
    } else {
        if (!make_png(worker, width, height)) {
            return reply_text(fd, "500 Internal Server Error", "cannot make the image\n");
        }
        redis_keep(worker, key);
    }
    atomic_fetch_add(&served, 1);
    return reply(fd, "200 OK", "image/png", worker->png, worker->png_size);
}

// "/image/640x480", or "/image?width=640&height=480"; nothing else behind it.
static bool parse_size(const char *path, uint32_t *width, uint32_t *height)
{
    int end = 0;
    if (sscanf(path, "/image/%5ux%5u%n", width, height, &end) == 2 && path[end] == '\0') {
        return true;
    }
    end = 0;
    return sscanf(path, "/image?width=%5u&height=%5u%n", width, height, &end) == 2 &&
           path[end] == '\0';
}

static bool answer(struct worker *worker, int fd, const char *path)
{
    uint32_t width = 320;
    uint32_t height = 200;
    if (strcmp(path, "/health") == 0) {
        return reply_text(fd, "200 OK", "ok\n");
    }
    if (strcmp(path, "/stats") == 0) {
        return reply_stats(worker, fd);
    }
    if (strcmp(path, "/") == 0 || strcmp(path, "/image") == 0) {
        return reply_image(worker, fd, width, height);
    }
    if (!parse_size(path, &width, &height)) {
        return reply_text(fd, "404 Not Found", "GET /image/WIDTHxHEIGHT, /stats or /health\n");
    }
    if (width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX) {
        return reply_text(fd, "400 Bad Request", "a side has 1 to 1024 pixels\n");
    }
    return reply_image(worker, fd, width, height);
}

// Read up to the end of a request's head. @return its size, 0 when there is none
static size_t read_head(struct worker *worker, int fd, size_t have)
{
    for (;;) {
        worker->request[have] = '\0';
        const char *end = strstr(worker->request, "\r\n\r\n");
        if (end != NULL) {
            return (size_t)(end - worker->request) + 4;
        }
        if (have + 1 == sizeof(worker->request)) {
            return 0;
        }
        ssize_t got = recv(fd, worker->request + have, sizeof(worker->request) - 1 - have, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return 0;
        }
        have += (size_t)got;
    }
}

static void serve(struct worker *worker, int fd)
{
    limit_time(fd, 10);
    for (;;) {
        size_t head = read_head(worker, fd, 0);
        if (head == 0) {
            return;
        }
        bool last = strcasestr(worker->request, "\r\nConnection: close") != NULL;
        char path[256];
        bool ok = sscanf(worker->request, "GET %255s HTTP/1.", path) == 1
                      ? answer(worker, fd, path)
                      : reply_text(fd, "405 Method Not Allowed", "GET only\n") && false;
        // What was sent ahead of our answer is dropped with the connection: nobody pipelines.
        if (!ok || last || worker->request[head] != '\0') {
            return;
        }
    }
}

static void *work(void *context)
{
    struct worker *worker = context;
    for (;;) {
        int fd = accept4(worker->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        serve(worker, fd);
        shutdown(fd, SHUT_RDWR);
        close(fd);
    }
    return NULL;
}

static int listen_on(int family, const struct sockaddr *address, socklen_t size)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, address, size) != 0 || listen(fd, 128) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// On both families where there are both: `localhost` may mean either.
static int open_listener(void)
{
    const struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
    const struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = listen_on(AF_INET6, (const struct sockaddr *)&six, sizeof(six));
    return fd >= 0 ? fd : listen_on(AF_INET, (const struct sockaddr *)&four, sizeof(four));
}

int main(void)
{
    // The first process of a container gets only the signals it asks for.
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);

    int listener = open_listener();
    if (listener < 0) {
        perror("image-processor: cannot listen on port 8080");
        return 1;
    }
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].listener = listener;
        workers[i].redis = -1;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            fprintf(stderr, "image-processor: cannot start a thread\n");
            return 1;
        }
    }
    printf("image-processor: listening on port %d\n", PORT);
    fflush(stdout);
    int number = 0;
    sigwait(&stop, &number);
    printf("image-processor: %s, served %llu images\n", strsignal(number),
           (unsigned long long)atomic_load(&served));
    fflush(stdout);
    _exit(0);
}
