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

/** Size of a task's id, and of the name of credentials, which looks like a UUID. */
#define ROLE_TASK_CHARS 32
#define ROLE_ID_CHARS 36

/**
 * Name the credentials of a task for an agent that gives them to whoever names them: what only who
 * has the key can tell from the task's id, and always the same.
 *
 * @param task_id    ROLE_TASK_CHARS hex digits
 * @param role_type  of the message that carries them
 */
void role_credentials_id(struct text signing_key, struct text task_id, struct text role_type,
                         char out_id[ROLE_ID_CHARS + 1]);

/** The other way round. @return 0, or ERR_INVALID for what does not look like such a name; another
 *  type's name, or an invented one, gives the id of no task */
MUST_CHECK int role_credentials_task(struct text signing_key, struct text id, struct text role_type,
                                     char out_task_id[ROLE_TASK_CHARS + 1]);

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
