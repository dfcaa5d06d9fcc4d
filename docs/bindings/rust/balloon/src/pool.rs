//! Many guests on one host: `balloon/pool.h`, `balloon/host.h`.

use crate::{check, filled, sys, text, Device, Error};
use std::ffi::CString;
use std::ptr::{self, NonNull};

/// A change of a guest's target.
pub use sys::balloon_change as Change;

/// A built-in policy, with its default knobs.
#[derive(Clone, Copy)]
pub struct Policy(&'static sys::balloon_policy);

// SAFETY: a constant table.
unsafe impl Send for Policy {}
unsafe impl Sync for Policy {}

impl Policy {
    /// By its name, for example "waterline".
    pub fn named(name: &str) -> Option<Policy> {
        let name = CString::new(name).ok()?;
        // SAFETY: a string that ends with 0; what is returned is a static table or NULL.
        unsafe { sys::balloon_policy_find(name.as_ptr()).as_ref() }.map(Policy)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        text(self.0.name)
    }
}

/// How a pool is set up. Times of 0, and a reserve of 0, mean the default.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct PoolOptions {
    pub max_guests: u32,
    pub pages: u64,
    pub reserve: u64,
    pub policy: Policy,
    pub stale_after: u64,
    pub boot_grace: u64,
    pub inactive_after: u64,
    pub retry_after: u64,
}

impl PoolOptions {
    /// With defaults for the rest.
    pub fn new(max_guests: u32, pages: u64, policy: Policy) -> Self {
        PoolOptions {
            max_guests,
            pages,
            reserve: 0,
            policy,
            stale_after: 0,
            boot_grace: 0,
            inactive_after: 0,
            retry_after: 0,
        }
    }
}

/// A guest, in pages; 0 shares mean 1000.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct GuestLimits {
    pub min: u64,
    pub max: u64,
    pub current: u64,
    pub shares: u32,
    pub priority: u32,
}

impl GuestLimits {
    #[allow(clippy::needless_update)] // A later version has more fields.
    fn c(&self) -> sys::balloon_pool_guest {
        sys::balloon_pool_guest {
            size: std::mem::size_of::<sys::balloon_pool_guest>(),
            min: self.min,
            max: self.max,
            current: self.current,
            shares: self.shares,
            priority: self.priority,
            ..Default::default()
        }
    }
}

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everybody has, or will have, what the policy wishes.
    Ok,
    /// Some wait for memory.
    Degraded,
    /// Even all that can be taken is not enough.
    Short,
}

/// Statistics of a guest.
#[derive(Clone, Copy)]
pub struct Sample(pub(crate) sys::balloon_sample);

impl Sample {
    /// None yet, taken at this time.
    pub fn at(time: u64) -> Self {
        Sample(sys::balloon_sample { time, ..Default::default() })
    }

    /// With this one (`sys::BALLOON_STAT_*`).
    pub fn with(mut self, stat: sys::balloon_stat, value: u64) -> Self {
        // SAFETY: any number is fine.
        unsafe { sys::balloon_sample_set(&mut self.0, stat, value) }
        self
    }

    /// This one, if the guest sent it.
    pub fn get(&self, stat: sys::balloon_stat) -> Option<u64> {
        let mut value = 0;
        // SAFETY: any number is fine.
        unsafe { sys::balloon_sample_get(&self.0, stat, &mut value) }.then(|| value)
    }

    /// When it arrived.
    pub fn time(&self) -> u64 {
        self.0.time
    }
}

/// All guests of a host.
pub struct Pool {
    raw: NonNull<sys::balloon_pool>,
}

// SAFETY: the object is not tied to a thread, and &mut self keeps users apart.
unsafe impl Send for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by balloon_pool_create(), and freed once.
        unsafe { sys::balloon_pool_destroy(self.raw.as_ptr()) }
    }
}

// In all that follows: the object is ours, and what is passed is valid for the call.
impl Pool {
    /// Without guests.
    #[allow(clippy::needless_update)] // A later version has more fields.
    pub fn new(options: &PoolOptions) -> Result<Self, Error> {
        let config = sys::balloon_pool_config {
            size: std::mem::size_of::<sys::balloon_pool_config>(),
            max_guests: options.max_guests,
            pages: options.pages,
            reserve: options.reserve,
            policy: options.policy.0,
            knobs: ptr::null(),
            stale_after: options.stale_after,
            boot_grace: options.boot_grace,
            inactive_after: options.inactive_after,
            retry_after: options.retry_after,
            ..Default::default()
        };
        let mut raw = ptr::null_mut();
        check(unsafe { sys::balloon_pool_create(&config, &mut raw) })?;
        Ok(Pool { raw: NonNull::new(raw).ok_or(Error::NoSpace)? })
    }

    /// A guest comes. Returns its number.
    pub fn add(&mut self, guest: &GuestLimits, now: u64) -> Result<u64, Error> {
        let mut id = 0;
        check(unsafe { sys::balloon_pool_add(self.raw.as_ptr(), &guest.c(), now, &mut id) })?;
        Ok(id)
    }

    /// A guest is there already, of any size.
    pub fn adopt(&mut self, guest: &GuestLimits, now: u64) -> Result<u64, Error> {
        let mut id = 0;
        check(unsafe { sys::balloon_pool_adopt(self.raw.as_ptr(), &guest.c(), now, &mut id) })?;
        Ok(id)
    }

    /// A guest is gone.
    pub fn remove(&mut self, id: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_remove(self.raw.as_ptr(), id) })
    }

    /// Changes a guest's limits, shares and priority.
    pub fn set_guest(&mut self, id: u64, guest: &GuestLimits) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_set_guest(self.raw.as_ptr(), id, &guest.c()) })
    }

    /// Sets memory aside for guests to come.
    pub fn reserve(&mut self, pages: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_reserve(self.raw.as_ptr(), pages) })
    }

    /// The host has more or less memory for guests now.
    pub fn resize(&mut self, pages: u64, reserve: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_resize(self.raw.as_ptr(), pages, reserve) })
    }

    /// All that a guest's device knows: size, what is owed, driver, statistics.
    pub fn feed(&mut self, id: u64, device: &Device, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_host_feed(self.raw.as_ptr(), id, device.raw(), now) })
    }

    /// How large a guest is.
    pub fn set_size(&mut self, id: u64, pages: u64, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_set_size(self.raw.as_ptr(), id, pages, now) })
    }

    /// What a guest has given and the host has not got.
    pub fn set_owed(&mut self, id: u64, pages: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_set_owed(self.raw.as_ptr(), id, pages) })
    }

    /// Statistics of a guest.
    pub fn sample(&mut self, id: u64, sample: &Sample, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_sample(self.raw.as_ptr(), id, &sample.0, now) })
    }

    /// What else is known of a guest: `sys::BALLOON_GUEST_NO_DRIVER`, `sys::BALLOON_GUEST_PINNED`.
    pub fn set_flags(&mut self, id: u64, flags: u32, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_pool_set_flags(self.raw.as_ptr(), id, flags, now) })
    }

    /// Decides; then take the [`Pool::changes`].
    pub fn decide(&mut self, now: u64) -> Verdict {
        match unsafe { sys::balloon_pool_decide(self.raw.as_ptr(), now) } {
            sys::BALLOON_VERDICT_OK => Verdict::Ok,
            sys::BALLOON_VERDICT_DEGRADED => Verdict::Degraded,
            _ => Verdict::Short,
        }
    }

    /// The changes of the last decision that were not taken yet, shrinking guests first.
    pub fn changes(&mut self) -> impl Iterator<Item = Change> + '_ {
        std::iter::from_fn(move || {
            let mut change = Change::default();
            unsafe { sys::balloon_pool_next(self.raw.as_ptr(), &mut change) }.then(|| change)
        })
    }

    /// When the next decision is due.
    pub fn deadline(&self) -> u64 {
        unsafe { sys::balloon_pool_deadline(self.raw.as_ptr()) }
    }

    /// What of a guest is worth asking for: bits `sys::BALLOON_POOL_WANTS_*`.
    pub fn wants(&self, id: u64, now: u64) -> u32 {
        unsafe { sys::balloon_pool_wants(self.raw.as_ptr(), id, now) }
    }

    /// Where the pool stands.
    pub fn status(&self) -> sys::balloon_pool_status {
        filled(|to| unsafe { sys::balloon_pool_status_get(self.raw.as_ptr(), to) })
    }

    /// Where a guest stands.
    pub fn guest(&self, id: u64) -> Result<sys::balloon_pool_guest_status, Error> {
        let mut status = sys::balloon_pool_guest_status::default();
        check(unsafe { sys::balloon_pool_guest_get(self.raw.as_ptr(), id, &mut status) })?;
        Ok(status)
    }

    /// What the pool has counted.
    pub fn counters(&self) -> sys::balloon_pool_counters {
        filled(|to| unsafe { sys::balloon_pool_counters_get(self.raw.as_ptr(), to) })
    }
}

/// A few words for [`Change`]'s `why`.
pub fn why_text(why: u32) -> &'static str {
    // SAFETY: any number is fine.
    text(unsafe { sys::balloon_why_text(why) })
}
