#pragma once

#include "server/session_internal.h"

/*
 * Sessions of Amazon's own agent: what the engine says, put into the words of its protocol.
 *
 * The engine speaks to every agent alike (api/internal/session.api). On its way out to an agent of
 * Amazon's a message becomes that of api/internal/acs.api; what an agent of Amazon's knows nothing
 * of is not sent. Credentials are minted here, as a task needs them together with itself.
 */

/**
 * Send a message of the engine's to a session that is not Berth's agent's.
 *
 * @return whether the session takes it; false also for what that agent has no word for
 */
bool acs_compat_send(struct session *session, const char *type, const struct shape_type *shape,
                     const void *message);

/** The agent has credentials, and names them by the id that acs_compat_send gave them: tell the
 *  engine. */
void acs_compat_credentials_ack(struct session *session, struct text credentials_id);

/** Append the body of a refusal of a session as that agent reads it: {"NAME": "message"}. */
void acs_compat_refusal(const struct refusal *refusal, struct buf *out);
