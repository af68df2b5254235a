#include "agent/identity.h"

#include "api/berth.h"
#include "api/node_file.h"
#include "base/file.h"
#include "base/text.h"
#include "client/client.h"
#include "client/token.h"
#include "shape/json.h"

#include <fcntl.h>

#define IDENTITY_BYTES_MAX 65536
#define JOIN_TIMEOUT_MS 15000

int agent_identity_load(const char *data_dir, struct arena *arena,
                        struct agent_identity *out_identity, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/identity.json", data_dir);
    AUTO(buf_deinit) struct buf content = {0};
    int rc = file_read(AT_FDCWD, path, IDENTITY_BYTES_MAX, &content, err);
    if (rc != 0) {
        return rc;
    }
    struct node_file_identity file = {0};
    struct shape_error why = {0};
    if (json_decode(&node_file_identity_shape, buf_view(&content), arena, &file, &why) != 0 ||
        shape_validate(&node_file_identity_shape, &file, &why) != 0) {
        return err_set(err, ERR_CORRUPT, "'%s' is damaged: %s %s", path, why.path, why.text);
    }
    *out_identity = (struct agent_identity){
        .node_id = arena_text(arena, file.node_id),
        .key_id = arena_text(arena, file.access_key_id),
        .secret = arena_text(arena, file.secret_access_key),
        .region = arena_text(arena, file.region),
        .endpoint = arena_text(arena, file.endpoint),
        .ca_file = arena_text(arena, file.ca_file),
    };
    return 0;
}

int agent_identity_store(const char *data_dir, const struct agent_identity *identity,
                         struct text ca_pem, struct err *err)
{
    AUTO(alloc_string) char *path = alloc_format("%s/identity.json", data_dir);
    AUTO(alloc_string) char *ca_path = alloc_format("%s/ca.pem", data_dir);
    int rc = file_make_dirs(data_dir, 0700, err);
    if (rc == 0 && ca_pem.data != NULL) {
        rc = file_replace(AT_FDCWD, ca_path, 0600, ca_pem, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct node_file_identity file = {
        .node_id = identity->node_id,
        .access_key_id = identity->key_id,
        .secret_access_key = identity->secret,
        .region = identity->region,
        .endpoint = identity->endpoint,
        .ca_file = ca_pem.data != NULL ? text_of(ca_path) : identity->ca_file,
    };
    AUTO(buf_deinit) struct buf content = {0};
    json_encode(&node_file_identity_shape, &file, &content);
    buf_byte(&content, '\n');
    return file_keep(AT_FDCWD, path, 0600, buf_view(&content), err);
}

// Ask the server named in a token. The answer is in the arena.
static int ask_to_join(const struct client_token *token, const char *name, struct arena *arena,
                       struct berth_join_node_response *out_response, struct text *out_ca,
                       struct err *err)
{
    const struct client_options options = {
        .endpoint = token->endpoint.data,
        .pinned_ca_sha256 = token->ca_sha256.data,
        .region = "us-east-1", // the call is not signed; the answer names the region
    };
    AUTO(client_free) struct client *client = NULL;
    int rc = client_new(&options, &client, err);
    if (rc != 0) {
        return rc;
    }
    const struct berth_join_node_request request = {
        .token_id = token->token_id,
        .token_secret = token->secret,
        .name = text_of(name),
    };
    rc = client_call_wait(client, &berth_operations[BERTH_OP_JOIN_NODE], &request, JOIN_TIMEOUT_MS,
                          arena, out_response, err);
    if (rc != 0) {
        return err_wrap(err, "joining %s", token->endpoint.data);
    }
    *out_ca = client_server_ca(client, arena);
    return 0;
}

int agent_join(const char *data_dir, const char *token_text, const char *name, struct arena *arena,
               struct agent_identity *out_identity, struct err *err)
{
    struct agent_identity identity = {0};
    int rc = agent_identity_load(data_dir, arena, &identity, err);
    if (rc == 0) {
        return err_set(err, ERR_EXISTS,
                       "this node has joined %s already; remove '%s' to join another server",
                       identity.endpoint.data, data_dir);
    }
    if (rc != ERR_NOT_FOUND) {
        return rc;
    }
    struct client_token token = {0};
    rc = client_token_parse(text_of(token_text), arena, &token, err);
    if (rc != 0) {
        return rc;
    }
    struct berth_join_node_response response = {0};
    struct text ca = {0};
    rc = ask_to_join(&token, name, arena, &response, &ca, err);
    if (rc != 0) {
        return rc;
    }
    identity = (struct agent_identity){
        .node_id = response.node_id,
        .key_id = response.access_key_id,
        .secret = response.secret_access_key,
        .region = response.region,
        .endpoint = token.endpoint,
    };
    rc = agent_identity_store(data_dir, &identity, ca, err);
    if (rc != 0) {
        return err_wrap(err, "storing the node's identity");
    }
    return agent_identity_load(data_dir, arena, out_identity, err);
}
