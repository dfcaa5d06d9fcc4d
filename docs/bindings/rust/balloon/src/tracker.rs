//! The page map: `balloon/tracker.h`.

use crate::{check, sys, Error, Range, Region, Run, Tally};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// Sets of pages that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Pages in the balloon.
    Held,
    /// Pages of the guest that are not in it.
    Free,
    /// Pages that may still be given back to the host.
    Pending,
    /// Pages that the guest hinted free.
    Hinted,
    /// Pages that a migration need not copy.
    Skip,
}

impl Set {
    fn number(self) -> sys::balloon_set {
        match self {
            Set::Held => sys::BALLOON_SET_HELD,
            Set::Free => sys::BALLOON_SET_FREE,
            Set::Pending => sys::BALLOON_SET_PENDING,
            Set::Hinted => sys::BALLOON_SET_HINTED,
            Set::Skip => sys::BALLOON_SET_SKIP,
        }
    }
}

/// Which pages are in the balloon, and which can be given back: a page map of one's own, without a
/// device.
pub struct Tracker {
    raw: NonNull<sys::balloon_tracker>,
}

// SAFETY: the object is not tied to a thread, and &mut self keeps users apart.
unsafe impl Send for Tracker {}

impl Drop for Tracker {
    fn drop(&mut self) {
        // SAFETY: made by balloon_tracker_create(), and freed once.
        unsafe { sys::balloon_tracker_destroy(self.raw.as_ptr()) }
    }
}

impl Tracker {
    /// For so many pages of all regions together, in so many regions (0 means 8).
    #[allow(clippy::needless_update)] // A later version has more fields.
    pub fn new(max_pages: u64, max_regions: u32, hints: bool) -> Result<Self, Error> {
        let config = sys::balloon_tracker_config {
            size: std::mem::size_of::<sys::balloon_tracker_config>(),
            max_pages,
            max_regions,
            hints: hints.into(),
            ..Default::default()
        };
        let mut raw = ptr::null_mut();
        // SAFETY: both are valid for the call.
        check(unsafe { sys::balloon_tracker_create(&config, &mut raw) })?;
        Ok(Tracker { raw: NonNull::new(raw).ok_or(Error::NoSpace)? })
    }

    /// For questions.
    pub fn map(&self) -> PageMap<'_> {
        PageMap { raw: self.raw.as_ptr(), of: PhantomData }
    }

    /// Adds guest memory; returns the number that runs will name.
    pub fn add_region(&mut self, region: &Region) -> Result<u32, Error> {
        let mut id = 0;
        // SAFETY: all are valid for the call.
        check(unsafe { sys::balloon_tracker_add_region(self.raw.as_ptr(), region, &mut id) })?;
        Ok(id)
    }

    /// Removes guest memory.
    pub fn remove_region(&mut self, id: u32) -> Result<(), Error> {
        // SAFETY: any number is fine.
        check(unsafe { sys::balloon_tracker_remove_region(self.raw.as_ptr(), id) })
    }

    /// Forgets all pages.
    pub fn reset(&mut self) {
        // SAFETY: the object is ours; so in all that follows.
        unsafe { sys::balloon_tracker_reset(self.raw.as_ptr()) }
    }

    /// Chooses the mode.
    pub fn set_gather(&mut self, gather: bool) {
        unsafe { sys::balloon_tracker_set_gather(self.raw.as_ptr(), gather) }
    }

    /// Pages go into the balloon.
    pub fn inflate(&mut self, pfns: &[u32], tally: &mut Tally) {
        unsafe {
            sys::balloon_tracker_inflate(self.raw.as_ptr(), pfns.as_ptr(), pfns.len(), tally)
        }
    }

    /// Pages leave it.
    pub fn deflate(&mut self, pfns: &[u32], tally: &mut Tally) {
        unsafe {
            sys::balloon_tracker_deflate(self.raw.as_ptr(), pfns.as_ptr(), pfns.len(), tally)
        }
    }

    /// A range goes into the balloon.
    pub fn inflate_range(&mut self, range: Range, tally: &mut Tally) {
        unsafe { sys::balloon_tracker_inflate_range(self.raw.as_ptr(), range, tally) }
    }

    /// A range leaves it.
    pub fn deflate_range(&mut self, range: Range, tally: &mut Tally) {
        unsafe { sys::balloon_tracker_deflate_range(self.raw.as_ptr(), range, tally) }
    }

    /// Pages are free for a moment (free page reporting).
    pub fn report(&mut self, range: Range, tally: &mut Tally) {
        unsafe { sys::balloon_tracker_report(self.raw.as_ptr(), range, tally) }
    }

    /// Takes runs, as many as there is room for: discard them before the guest is answered and before
    /// anything else is done with the tracker.
    pub fn take<'r>(&mut self, room: &'r mut [Run]) -> &'r [Run] {
        let got = unsafe {
            sys::balloon_tracker_take(self.raw.as_ptr(), room.as_mut_ptr(), room.len())
        };
        &room[..got]
    }

    /// The guest is about to be answered.
    pub fn settle(&mut self) {
        unsafe { sys::balloon_tracker_settle(self.raw.as_ptr()) }
    }
}

/// Questions about a page map, a tracker's or a device's.
#[derive(Clone, Copy)]
pub struct PageMap<'a> {
    pub(crate) raw: *const sys::balloon_tracker,
    pub(crate) of: PhantomData<&'a ()>,
}

// In all that follows: the object is alive and unchanged for 'a.
impl<'a> PageMap<'a> {
    /// Pages of all regions.
    pub fn pages(&self) -> u64 {
        unsafe { sys::balloon_tracker_pages(self.raw) }
    }

    /// Pages in the balloon.
    pub fn held(&self) -> u64 {
        unsafe { sys::balloon_tracker_held(self.raw) }
    }

    /// Pages that may still be given back.
    pub fn pending(&self) -> u64 {
        unsafe { sys::balloon_tracker_pending(self.raw) }
    }

    /// Pages in the balloon that were given back.
    pub fn returned(&self) -> u64 {
        unsafe { sys::balloon_tracker_returned(self.raw) }
    }

    /// Pages of whole granules that wait to be taken.
    pub fn ready(&self) -> u64 {
        unsafe { sys::balloon_tracker_ready(self.raw) }
    }

    /// Pages of a set in a range.
    pub fn count(&self, set: Set, range: Range) -> u64 {
        unsafe { sys::balloon_tracker_count(self.raw, set.number(), range) }
    }

    /// The maximal runs of a set in a range, inside one region each.
    pub fn runs(&self, set: Set, range: Range) -> Runs<'a> {
        Runs { map: *self, set, rest: range }
    }

    /// A set as a bitmap: bit i % 8 of byte i / 8 is page range.first + i.
    pub fn export(&self, set: Set, range: Range, bits: &mut [u8]) -> Result<(), Error> {
        check(unsafe {
            let (to, room) = (bits.as_mut_ptr(), bits.len());
            sys::balloon_tracker_export(self.raw, set.number(), range, to, room)
        })
    }
}

/// An iterator over the runs of a set.
pub struct Runs<'a> {
    map: PageMap<'a>,
    set: Set,
    rest: Range,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let mut run = Run::default();
        // SAFETY: the object is alive and unchanged for the life of the map.
        if !unsafe {
            sys::balloon_tracker_next(self.map.raw, self.set.number(), self.rest, &mut run)
        } {
            return None;
        }
        let behind = run.range.first + run.range.count;
        self.rest.count -= behind - self.rest.first;
        self.rest.first = behind;
        Some(run)
    }
}
