#include <balloon/balloon.h>

/* bindgen reads no macros with casts in them. */
static const uint32_t BALLOON_FEATURE_MUST_TELL = BALLOON_F_MUST_TELL;
static const uint32_t BALLOON_FEATURE_STATS = BALLOON_F_STATS;
static const uint32_t BALLOON_FEATURE_DEFLATE_ON_OOM = BALLOON_F_DEFLATE_ON_OOM;
static const uint32_t BALLOON_FEATURE_HINTING = BALLOON_F_HINTING;
static const uint32_t BALLOON_FEATURE_POISON = BALLOON_F_POISON;
static const uint32_t BALLOON_FEATURE_REPORTING = BALLOON_F_REPORTING;
static const uint32_t BALLOON_FEATURE_DEFAULT = BALLOON_F_DEFAULT;
static const uint32_t BALLOON_FEATURE_NONE = BALLOON_F_NONE;
