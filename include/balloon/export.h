/** @file
 * @brief Symbol visibility and C++ linkage, used by every public header.
 */
#ifndef BALLOON_EXPORT_H
#define BALLOON_EXPORT_H

#if defined(__GNUC__) || defined(__clang__)
#define BALLOON_API     __attribute__((visibility("default")))
#define BALLOON_CHECKED __attribute__((warn_unused_result))
#else
#define BALLOON_API
#define BALLOON_CHECKED
#endif

#ifdef __cplusplus
#define BALLOON_BEGIN_DECLS extern "C" {
#define BALLOON_END_DECLS   }
#else
#define BALLOON_BEGIN_DECLS
#define BALLOON_END_DECLS
#endif

#endif
