#include "base/clock.h"
#include "base/log.h"
#include "server/server_internal.h"

/*
 * The server's certificate, renewed while the server runs: one that runs for years must not end
 * with its certificate. pki.c says when it is due, long before its end, so a failure has months to
 * be noticed in.
 */

#define CHECK_MS (3600u * 1000)

static int renew(struct server *server, struct err *err)
{
    bool renewed = false;
    int rc = pki_renew(server->options.pki, clock_wall_ms(), &renewed, err);
    if (rc != 0) {
        return rc;
    }
    server->certificate_pending |= renewed;
    if (!server->certificate_pending) {
        return 0;
    }
    rc = http_renew(server->http, err);
    if (rc == 0) {
        rc = server_sessions_renew(server->sessions, err);
    }
    if (rc == 0) {
        server->certificate_pending = false;
        LOG(INFO, "the server's certificate is renewed: new connections see it",
            LOG_I64("ends_at_ms", pki_expires_at_ms(server->options.pki)));
    }
    return rc;
}

void server_check_certificate(struct server *server)
{
    if (server->options.pki == NULL) {
        return;
    }
    struct err err = {0};
    if (renew(server, &err) != 0) {
        LOG(ERROR, "the server's certificate is due and cannot be renewed: it is tried again",
            LOG_STR("reason", err.text),
            LOG_I64("ends_at_ms", pki_expires_at_ms(server->options.pki)));
    }
}

static void on_timer(uv_timer_t *timer)
{
    server_check_certificate(CONTAINER_OF(timer, struct server, certificate_timer));
}

void certificate_start(struct server *server)
{
    if (server->options.pki == NULL) {
        return;
    }
    int rc = uv_timer_init(server->options.loop, &server->certificate_timer);
    ASSERT(rc == 0);
    uint32_t given_ms = server->options.certificate_check_ms;
    uint64_t period_ms = given_ms == 0 ? CHECK_MS : given_ms;
    uv_timer_start(&server->certificate_timer, on_timer, period_ms, period_ms);
    server->certificate_open = true;
}

void certificate_stop(struct server *server)
{
    if (server->certificate_open) {
        server->certificate_open = false;
        uv_close((uv_handle_t *)&server->certificate_timer, NULL);
    }
}
