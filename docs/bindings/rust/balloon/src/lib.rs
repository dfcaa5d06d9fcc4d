//! Memory ballooning for virtual machine monitors: the device, the page map and the pool of
//! libballoon, safe to use.
//!
//! Sizes and page numbers are in pages of 4 KiB, times in nanoseconds of any clock that does not go
//! back. What functions do is said in the headers, under the names of the C functions; structs of
//! results are those of [`sys`], and so is all that is not here (other transports, the driver of
//! guests, discards on Linux): see [`Device::as_ptr`].
//!
//! Objects may move to another thread, and have one user at a time.
//!
//! What an [`Action`] borrows from its device ends with the next call on that:
//!
//! ```
//! # use balloon::{Action, Device, DeviceOptions, Region};
//! # let ram = Region { first: 0, count: 1024, granule: 1 };
//! # let mut device = Device::new(&[ram], &DeviceOptions::default()).unwrap();
//! while let Some(action) = device.poll(0) {
//!     if let Action::Discard(runs) = action {
//!         assert!(!runs.is_empty());
//!     }
//! }
//! device.set_target(16, 0).unwrap();
//! ```
//!
//! so that runs cannot be used later:
//!
//! ```compile_fail,E0499
//! # use balloon::{Action, Device, DeviceOptions, Region};
//! # let ram = Region { first: 0, count: 1024, granule: 1 };
//! # let mut device = Device::new(&[ram], &DeviceOptions::default()).unwrap();
//! let action = device.poll(0);
//! device.set_target(16, 0).unwrap();
//! if let Some(Action::Discard(runs)) = action {
//!     assert!(!runs.is_empty());
//! }
//! ```

mod device;
mod pool;
mod tracker;

pub use balloon_sys as sys;
pub use device::{Action, Buffer, Device, DeviceOptions};
pub use pool::{Change, GuestLimits, Policy, Pool, PoolOptions, Sample, Verdict, why_text};
pub use sys::{
    balloon_range as Range, balloon_region as Region, balloon_run as Run, balloon_tally as Tally,
    balloon_virtio_span as Span,
};
pub use tracker::{PageMap, Runs, Set, Tracker};

use std::ffi::CStr;
use std::os::raw::c_char;

/// Never, as a deadline.
pub const NEVER: u64 = u64::MAX;

/// Why a call failed; see `balloon_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller passed something that the function does not accept.
    Invalid,
    /// A page or count lies outside of guest memory.
    Range,
    /// The guest sent nonsense. It was counted; carry on.
    Protocol,
    /// No memory, or no room.
    NoSpace,
    /// Not in this state: no driver, feature not negotiated.
    State,
    /// Poll first, then try again.
    Busy,
    /// Cannot be done here.
    Unsupported,
    /// A status that this crate does not know.
    Other(sys::balloon_status),
}

impl Error {
    fn status(self) -> sys::balloon_status {
        match self {
            Error::Invalid => sys::BALLOON_ERR_INVALID,
            Error::Range => sys::BALLOON_ERR_RANGE,
            Error::Protocol => sys::BALLOON_ERR_PROTOCOL,
            Error::NoSpace => sys::BALLOON_ERR_NOSPACE,
            Error::State => sys::BALLOON_ERR_STATE,
            Error::Busy => sys::BALLOON_ERR_BUSY,
            Error::Unsupported => sys::BALLOON_ERR_UNSUPPORTED,
            Error::Other(status) => status,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: any number is fine.
        to.write_str(text(unsafe { sys::balloon_status_text(self.status()) }))
    }
}

impl std::error::Error for Error {}

fn check(status: sys::balloon_status) -> Result<(), Error> {
    Err(match status {
        sys::BALLOON_OK => return Ok(()),
        sys::BALLOON_ERR_INVALID => Error::Invalid,
        sys::BALLOON_ERR_RANGE => Error::Range,
        sys::BALLOON_ERR_PROTOCOL => Error::Protocol,
        sys::BALLOON_ERR_NOSPACE => Error::NoSpace,
        sys::BALLOON_ERR_STATE => Error::State,
        sys::BALLOON_ERR_BUSY => Error::Busy,
        sys::BALLOON_ERR_UNSUPPORTED => Error::Unsupported,
        other => Error::Other(other),
    })
}

/// A static string of the library.
fn text(words: *const c_char) -> &'static str {
    if words.is_null() {
        return "";
    }
    // SAFETY: the library's texts are static and end with 0.
    unsafe { CStr::from_ptr(words) }.to_str().unwrap_or("")
}

/// Version of the library that is linked.
pub fn version() -> &'static str {
    // SAFETY: no arguments.
    text(unsafe { sys::balloon_version() })
}

/// What a function of the library fills in.
fn filled<T: Default>(fill: impl FnOnce(&mut T)) -> T {
    let mut made = T::default();
    fill(&mut made);
    made
}

/// An array of the library's.
///
/// # Safety
/// There are so many, and for 'a; or first is null.
unsafe fn slice<'a, T>(first: *const T, count: u32) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(first, count as usize)
}
