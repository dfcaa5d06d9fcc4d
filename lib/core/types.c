#include <balloon/types.h>

const char *balloon_status_text(balloon_status status)
{
    switch (status) {
    case BALLOON_OK:
        return "done";
    case BALLOON_ERR_INVALID:
        return "invalid argument";
    case BALLOON_ERR_RANGE:
        return "outside of guest memory";
    case BALLOON_ERR_PROTOCOL:
        return "the peer broke the protocol";
    case BALLOON_ERR_NOSPACE:
        return "not enough memory given";
    case BALLOON_ERR_STATE:
        return "not in this state";
    case BALLOON_ERR_BUSY:
        return "busy, poll first";
    case BALLOON_ERR_UNSUPPORTED:
        return "not supported here";
    case BALLOON_ERR_SYSTEM:
        return "a system call failed";
    }
    return "unknown status";
}
