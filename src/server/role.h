#pragma once

#include "api/identity_record.h"
#include "api/session.h"
#include "base/alloc.h"
#include "base/err.h"

/*
 * Credentials of tasks' roles: minted, and known again, from one secret of the region's.
 *
 * Nothing is stored for them. A session token holds for whom it stands and until when, signed with
 * HMAC-SHA256; the secret key is another HMAC of the same content. So every server of a region
 * knows the credentials that any of them minted, and a restart forgets none.
 */

/** The type of message that carries them. */
#define ROLE_MESSAGE "IAMRoleCredentialsMessage"
/** How long they live, as on ECS; new ones come long before: see TASK_CREDENTIALS_RENEW_MS. */
#define ROLE_LIFE_MS (6 * 3600 * INT64_C(1000))

/**
 * Mint credentials for the task and role that a message names; they are in the arena.
 *
 * Their account is the task's, whatever the role's ARN says.
 */
struct session_role_credentials *
role_mint(struct text signing_key, const struct session_iam_role_credentials_message *message,
          int64_t now_ms, struct arena *arena);

/**
 * Read a session token.
 *
 * @param out_session  for whom it stands; whether it has expired is for the caller to see
 * @param out_secret   the secret key that goes with it
 * @return 0, or ERR_DENIED when it was not minted with this key
 */
MUST_CHECK int role_verify(struct text signing_key, struct text token, struct arena *arena,
                           struct identity_record_role_session *out_session,
                           struct text *out_secret);
