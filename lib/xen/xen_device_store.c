/* The Xen binding of the device, xenstore: keys and the watch in, answers and events out. */
#include <string.h>

#include "xen_device_p.h"

/* What the guest shall see as the size it should have, in pages. */
static uint64_t target_pages(const balloon_device *d)
{
    const struct xen_device_state *x = xen_const(d);
    uint64_t most = x->static_max + x->beyond, target = d->target;

    if (x->aside && x->aside_of == target)
        target += XEN_ASIDE;
    return target < most ? most - target : 0;
}

static bool is_there(const struct xen_device_state *x, balloon_xen_key key)
{
    switch (key) {
    case BALLOON_XEN_KEY_FEATURE_BALLOON:
        return x->feature;
    case BALLOON_XEN_KEY_BALLOON_ACTIVE:
        return x->have_active;
    default:
        return true;
    }
}

/* Video RAM of its own would make Linux and Windows want balloons of different sizes. */
static size_t write_value(const balloon_device *d, balloon_xen_key key, void *text, size_t bytes)
{
    switch (key) {
    case BALLOON_XEN_KEY_TARGET:
        return balloon_xen_write_size(target_pages(d), text, bytes);
    case BALLOON_XEN_KEY_STATIC_MAX:
        return balloon_xen_write_size(xen_const(d)->static_max + xen_const(d)->beyond, text, bytes);
    case BALLOON_XEN_KEY_FEATURE_BALLOON:
        return balloon_xen_write_number(1, text, bytes);
    case BALLOON_XEN_KEY_BALLOON_ACTIVE:
        return balloon_xen_write_number(xen_const(d)->active, text, bytes);
    default:
        return balloon_xen_write_number(0, text, bytes);
    }
}

/* --- in --------------------------------------------------------------------------------------- */

/* Which of the keys here is a request about? Watches are for the target only: the other keys do not
 * change but by the guest's own hand, so that any store serves a watch on them. */
static balloon_xen_key key_of(const balloon_device *d, const balloon_xen_message *message)
{
    uint16_t domain = BALLOON_XEN_DOMAIN_SELF;
    balloon_xen_key key = balloon_xen_find_key(message->path.base, message->path.bytes, &domain);

    if (domain != BALLOON_XEN_DOMAIN_SELF && domain != xen_const(d)->domain)
        return BALLOON_XEN_KEY_NONE;
    switch (message->header.type) {
    case BALLOON_XEN_WATCH:
    case BALLOON_XEN_UNWATCH:
        return key == BALLOON_XEN_KEY_TARGET ? key : BALLOON_XEN_KEY_NONE;
    case BALLOON_XEN_READ:
    case BALLOON_XEN_WRITE:
    case BALLOON_XEN_RM:
        break;
    default:
        return BALLOON_XEN_KEY_NONE;
    }
    switch (key) {
    case BALLOON_XEN_KEY_TARGET:
    case BALLOON_XEN_KEY_STATIC_MAX:
    case BALLOON_XEN_KEY_VIDEORAM:
    case BALLOON_XEN_KEY_FEATURE_BALLOON:
    case BALLOON_XEN_KEY_BALLOON_ACTIVE:
        return key;
    default:
        return BALLOON_XEN_KEY_NONE;
    }
}

static balloon_xen_error set_key(struct xen_device_state *x, balloon_xen_key key, balloon_iov value)
{
    switch (key) {
    case BALLOON_XEN_KEY_FEATURE_BALLOON:
        x->feature = true;
        return BALLOON_XEN_NO_ERROR;
    case BALLOON_XEN_KEY_BALLOON_ACTIVE:
        if (balloon_xen_read_flag(value.base, value.bytes, &x->active) != BALLOON_OK)
            return BALLOON_XEN_EINVAL;
        x->have_active = true;
        return BALLOON_XEN_NO_ERROR;
    default:
        return BALLOON_XEN_EACCES;
    }
}

static balloon_xen_error remove_key(struct xen_device_state *x, balloon_xen_key key)
{
    if (key != BALLOON_XEN_KEY_FEATURE_BALLOON && key != BALLOON_XEN_KEY_BALLOON_ACTIVE)
        return BALLOON_XEN_EACCES;
    if (!is_there(x, key))
        return BALLOON_XEN_ENOENT;
    if (key == BALLOON_XEN_KEY_FEATURE_BALLOON)
        x->feature = false;
    else
        x->have_active = x->active = false;
    return BALLOON_XEN_NO_ERROR;
}

static bool same_watch(const struct xen_device_state *x, const balloon_xen_message *message,
                       bool absolute)
{
    return x->watched && x->absolute == absolute && x->token_bytes == message->token.bytes &&
           memcmp(x->token, message->token.base, x->token_bytes) == 0;
}

/* The first event comes by itself, and makes the guest read the target. */
static balloon_xen_error watch(balloon_device *d, const balloon_xen_message *message,
                               balloon_time_t now)
{
    struct xen_device_state *x = xen_state(d);
    bool absolute = *(const uint8_t *)message->path.base == '/';

    if (message->token.bytes > BALLOON_XEN_TOKEN_BYTES_MAX)
        return BALLOON_XEN_E2BIG;
    if (x->watched)
        return same_watch(x, message, absolute) ? BALLOON_XEN_EEXIST : BALLOON_XEN_ENOSPC;
    x->watched = x->event = true;
    x->absolute = absolute;
    x->token_bytes = (uint8_t)message->token.bytes;
    memset(x->token, 0, sizeof(x->token));
    memcpy(x->token, message->token.base, message->token.bytes);
    bl_xen_attach(d, now);
    return BALLOON_XEN_NO_ERROR;
}

static void forget_watch(struct xen_device_state *x)
{
    x->watched = x->event = x->absolute = false;
    x->token_bytes = 0;
    memset(x->token, 0, sizeof(x->token));
}

static balloon_xen_error unwatch(struct xen_device_state *x, const balloon_xen_message *message)
{
    if (!same_watch(x, message, *(const uint8_t *)message->path.base == '/'))
        return BALLOON_XEN_ENOENT;
    forget_watch(x);
    return BALLOON_XEN_NO_ERROR;
}

/* Sets what a READ that finds its key is answered by. */
static balloon_xen_error serve(balloon_device *d, const balloon_xen_message *message,
                               balloon_xen_key key, balloon_time_t now)
{
    switch (message->header.type) {
    case BALLOON_XEN_READ:
        return is_there(xen_state(d), key) ? BALLOON_XEN_NO_ERROR : BALLOON_XEN_ENOENT;
    case BALLOON_XEN_WATCH:
        return watch(d, message, now);
    case BALLOON_XEN_UNWATCH:
        return unwatch(xen_state(d), message);
    case BALLOON_XEN_WRITE:
        return set_key(xen_state(d), key, message->value);
    default:
        return remove_key(xen_state(d), key);
    }
}

balloon_status balloon_xen_receive(balloon_device *d, const void *bytes, size_t size,
                                   balloon_time_t now)
{
    struct xen_device_state *x = xen_state(d);
    balloon_xen_message message;
    balloon_xen_header header;
    balloon_xen_key key;

    if (!bl_xen_bound(d))
        return BALLOON_ERR_STATE;
    if (balloon_xen_read_request(bytes, size, &message) != BALLOON_OK)
        return BALLOON_ERR_UNSUPPORTED;
    header = message.header;
    if (header.type == BALLOON_XEN_RESET_WATCHES)
        forget_watch(x);
    key = key_of(d, &message);
    if (key == BALLOON_XEN_KEY_NONE)
        return BALLOON_ERR_UNSUPPORTED;
    if (x->answer != XEN_ANSWER_NONE)
        return BALLOON_ERR_BUSY;

    x->error = serve(d, &message, key, now);
    x->answer = x->error != BALLOON_XEN_NO_ERROR  ? XEN_ANSWER_ERROR
                : header.type == BALLOON_XEN_READ ? XEN_ANSWER_VALUE
                                                  : XEN_ANSWER_OKAY;
    x->type = (balloon_xen_message_type)header.type;
    x->id = header.id;
    x->transaction = header.transaction;
    x->key = key;
    /* A key that is not there is nothing unusual, nor is that a guest tries what only some
     * toolstacks let it do. */
    if (x->error == BALLOON_XEN_NO_ERROR ||
        (x->error == BALLOON_XEN_ENOENT && header.type != BALLOON_XEN_UNWATCH))
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* --- out -------------------------------------------------------------------------------------- */

static size_t write_answer(const balloon_device *d, void *buffer, size_t bytes)
{
    const struct xen_device_state *x = xen_const(d);
    uint8_t text[BALLOON_XEN_NUMBER_CHARS_MAX];
    balloon_xen_message message;

    memset(&message, 0, sizeof(message));
    message.header.type = x->answer == XEN_ANSWER_ERROR ? BALLOON_XEN_ERROR : (uint32_t)x->type;
    message.header.id = x->id;
    message.header.transaction = x->transaction;
    message.error = x->error;
    if (x->answer == XEN_ANSWER_VALUE)
        message.value = (balloon_iov){text, write_value(d, x->key, text, sizeof(text))};
    return balloon_xen_write_reply(&message, buffer, bytes);
}

static size_t write_event(const struct xen_device_state *x, void *buffer, size_t bytes)
{
    uint8_t path[BALLOON_XEN_SEND_BYTES];
    balloon_xen_message message;

    memset(&message, 0, sizeof(message));
    message.header.type = BALLOON_XEN_WATCH_EVENT;
    message.path.base = path;
    message.path.bytes = balloon_xen_write_path(x->absolute ? x->domain : BALLOON_XEN_DOMAIN_SELF,
                                                BALLOON_XEN_KEY_TARGET, path, sizeof(path));
    message.token = (balloon_iov){x->token, x->token_bytes};
    return balloon_xen_write_reply(&message, buffer, bytes);
}

balloon_status balloon_xen_write(balloon_device *d, void *buffer, size_t bytes, size_t *used)
{
    struct xen_device_state *x = xen_state(d);

    if (!bl_xen_bound(d))
        return BALLOON_ERR_STATE;
    if (x->answer == XEN_ANSWER_NONE && !x->event) {
        /* What was told is not there any more. */
        x->told = false;
        return BALLOON_ERR_STATE;
    }
    *used = x->answer != XEN_ANSWER_NONE ? write_answer(d, buffer, bytes)
                                         : write_event(x, buffer, bytes);
    if (*used > bytes)
        return BALLOON_ERR_NOSPACE;
    if (x->answer != XEN_ANSWER_NONE)
        x->answer = XEN_ANSWER_NONE;
    else
        x->event = false;
    x->told = false;
    return BALLOON_OK;
}

void balloon_xen_session_get(const balloon_device *d, balloon_xen_session *session)
{
    memset(session, 0, sizeof(*session));
    if (!bl_xen_bound(d))
        return;
    session->watched = xen_const(d)->watched;
    session->feature = xen_const(d)->feature;
    session->active = xen_const(d)->active;
}
