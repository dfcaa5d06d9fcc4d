//! The host end of one balloon: `balloon/device.h`, with virtio's binding.

use crate::pool::{Change, Sample};
use crate::tracker::PageMap;
use crate::{check, filled, slice, sys, text, Error, Region, Run, Span};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// How a device is set up, beside its memory; 0 means the default. See `balloon_device_config`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct DeviceOptions {
    pub max_pages: u64,
    pub max_regions: u32,
    /// `sys::BALLOON_FEATURE_*` to offer.
    pub features: u32,
    pub target_align: u32,
    pub run_batch: u32,
    pub max_buffers: u32,
    pub max_buffer_bytes: u32,
    pub gather_pages: u64,
    pub gather_delay: u64,
    pub stats_timeout: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug)]
pub enum Action<'d> {
    /// Discard all of these before the next call on the device; tell failures then, by
    /// [`Device::discard_failed`].
    Discard(&'d [Run]),
    /// Give this buffer back to the guest, with the used bytes written into it, and interrupt it.
    Ack {
        /// Number of its queue.
        queue: u32,
        /// The name it was given.
        cookie: u64,
        /// Used length.
        used_bytes: u32,
        /// What to write into it, if anything.
        used: Option<&'d [u8]>,
    },
    /// Tell the guest that its configuration changed.
    ConfigIrq,
    /// Fresh statistics: [`Device::sample`].
    Stats,
    /// The guest has not answered in time.
    StatsLate,
    /// The guest is short of memory.
    Pressure,
    /// The guest has ended its round of hints.
    Hinted,
    /// Send the guest a message; not with virtio.
    Send,
    /// An action that this crate does not know.
    Other(sys::balloon_action_type),
}

/// A buffer from a queue, copied out of guest memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffer<'b> {
    /// Its name, which comes back in the [`Action::Ack`].
    pub cookie: u64,
    /// The device-readable descriptors.
    pub readable: &'b [&'b [u8]],
    /// The device-writable descriptors.
    pub writable: &'b [Span],
}

/// The host end of one balloon.
pub struct Device {
    raw: NonNull<sys::balloon_device>,
}

// SAFETY: the object is not tied to a thread, and &mut self keeps users apart.
unsafe impl Send for Device {}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: made by balloon_device_create(), and freed once.
        unsafe { sys::balloon_device_destroy(self.raw.as_ptr()) }
    }
}

// In all that follows: the object is ours, and what is passed is valid for the call.
impl Device {
    /// For a guest with this RAM.
    #[allow(clippy::needless_update)] // A later version has more fields.
    pub fn new(ram: &[Region], options: &DeviceOptions) -> Result<Self, Error> {
        let config = sys::balloon_device_config {
            size: std::mem::size_of::<sys::balloon_device_config>(),
            regions: ram.as_ptr(),
            region_count: ram.len(),
            max_pages: options.max_pages,
            max_regions: options.max_regions,
            features: options.features,
            target_align: options.target_align,
            run_batch: options.run_batch,
            max_buffers: options.max_buffers,
            max_buffer_bytes: options.max_buffer_bytes,
            gather_pages: options.gather_pages,
            gather_delay: options.gather_delay,
            stats_timeout: options.stats_timeout,
            ..Default::default()
        };
        let mut raw = ptr::null_mut();
        check(unsafe { sys::balloon_device_create(&config, &mut raw) })?;
        Ok(Device { raw: NonNull::new(raw).ok_or(Error::NoSpace)? })
    }

    /// For functions of [`sys`] that have no method here. Valid as long as the device is.
    pub fn as_ptr(&mut self) -> *mut sys::balloon_device {
        self.raw.as_ptr()
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self, now: u64) -> Option<Action<'_>> {
        let mut action = sys::balloon_action::default();
        if !unsafe { sys::balloon_device_poll(self.raw.as_ptr(), now, &mut action) } {
            return None;
        }
        Some(match action.type_ {
            sys::BALLOON_ACTION_DISCARD => {
                // SAFETY: valid until the next call on the device, and self is borrowed until then.
                Action::Discard(unsafe { slice(action.runs, action.run_count) })
            }
            sys::BALLOON_ACTION_ACK => Action::Ack {
                queue: action.queue,
                cookie: action.cookie,
                used_bytes: action.used_bytes,
                // SAFETY: the same.
                used: (!action.used.is_null())
                    .then(|| unsafe { slice(action.used, action.used_bytes) }),
            },
            sys::BALLOON_ACTION_CONFIG_IRQ => Action::ConfigIrq,
            sys::BALLOON_ACTION_STATS => Action::Stats,
            sys::BALLOON_ACTION_STATS_LATE => Action::StatsLate,
            sys::BALLOON_ACTION_PRESSURE => Action::Pressure,
            sys::BALLOON_ACTION_HINTED => Action::Hinted,
            sys::BALLOON_ACTION_SEND => Action::Send,
            other => Action::Other(other),
        })
    }

    /// When there is something to do next, if nothing else happens; possibly past, or
    /// [`crate::NEVER`].
    pub fn deadline(&self) -> u64 {
        unsafe { sys::balloon_device_deadline(self.raw.as_ptr()) }
    }

    /// A run of the last discard, or a part of one, could not be discarded.
    pub fn discard_failed(&mut self, run: &Run, now: u64) {
        unsafe { sys::balloon_device_discard_failed(self.raw.as_ptr(), run, now) }
    }

    /// Asks the guest for a balloon of so many pages.
    pub fn set_target(&mut self, pages: u64, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_device_set_target(self.raw.as_ptr(), pages, now) })
    }

    /// Asks the guest for what a pool has decided.
    pub fn apply(&mut self, change: &Change, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_host_apply(self.raw.as_ptr(), change, now) })
    }

    /// Asks for statistics regularly; 0 stops that.
    pub fn set_stats_period(&mut self, period: u64, now: u64) {
        unsafe { sys::balloon_device_set_stats_period(self.raw.as_ptr(), period, now) }
    }

    /// Plugs in guest RAM.
    pub fn add_region(&mut self, region: &Region) -> Result<u32, Error> {
        let mut id = 0;
        check(unsafe { sys::balloon_device_add_region(self.raw.as_ptr(), region, &mut id) })?;
        Ok(id)
    }

    /// Unplugs guest RAM.
    pub fn remove_region(&mut self, id: u32) -> Result<(), Error> {
        check(unsafe { sys::balloon_device_remove_region(self.raw.as_ptr(), id) })
    }

    /// The guest was reset.
    pub fn reset(&mut self) {
        unsafe { sys::balloon_device_reset(self.raw.as_ptr()) }
    }

    /// Discards nothing for now: memory is pinned, or being copied. Counts.
    pub fn inhibit(&mut self) {
        unsafe { sys::balloon_device_inhibit(self.raw.as_ptr()) }
    }

    /// Undoes one [`Device::inhibit`].
    pub fn release(&mut self) -> Result<(), Error> {
        check(unsafe { sys::balloon_device_release(self.raw.as_ptr()) })
    }

    /// Discards at the next poll all that is ready.
    pub fn flush(&mut self) {
        unsafe { sys::balloon_device_flush(self.raw.as_ptr()) }
    }

    /// virtio's features to offer.
    pub fn features(&self) -> u64 {
        unsafe { sys::balloon_virtio_features(self.raw.as_ptr()) }
    }

    /// The driver has chosen.
    pub fn set_features(&mut self, chosen: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_virtio_set_features(self.raw.as_ptr(), chosen) })
    }

    /// The driver is ready, with these queues (0: by the rule). Then look into all queues.
    pub fn driver_ok(&mut self, queues: u32, now: u64) -> Result<(), Error> {
        check(unsafe { sys::balloon_virtio_driver_ok(self.raw.as_ptr(), queues, now) })
    }

    /// Number of queues to show.
    pub fn queue_count(&self) -> u32 {
        unsafe { sys::balloon_virtio_queue_count(self.raw.as_ptr()) }
    }

    /// The driver reads configuration space.
    pub fn config_read(&self, offset: u64, bytes: &mut [u8]) {
        let (to, count) = (bytes.as_mut_ptr().cast(), bytes.len());
        unsafe { sys::balloon_virtio_config_read(self.raw.as_ptr(), offset, to, count) }
    }

    /// The driver writes it.
    pub fn config_write(&mut self, offset: u64, bytes: &[u8]) {
        let (from, count) = (bytes.as_ptr().cast(), bytes.len());
        unsafe { sys::balloon_virtio_config_write(self.raw.as_ptr(), offset, from, count) }
    }

    /// A buffer arrived, whose bytes were copied out of guest memory. [`Error::Protocol`] means that
    /// it was taken all the same.
    pub fn receive(&mut self, queue: u32, buffer: &Buffer<'_>, now: u64) -> Result<(), Error> {
        let pieces: Vec<sys::balloon_iov> = (buffer.readable.iter())
            .map(|piece| sys::balloon_iov { base: piece.as_ptr().cast(), bytes: piece.len() })
            .collect();
        // SAFETY: the slices are valid for the call, and nobody writes to them.
        unsafe { self.receive_guest_memory(queue, buffer.cookie, &pieces, buffer.writable, now) }
    }

    /// The same without a copy. Each byte is read once, so that a guest that writes to it meanwhile
    /// can do no harm: for such memory there must be no Rust reference.
    ///
    /// # Safety
    /// Each piece must be readable for its length.
    pub unsafe fn receive_guest_memory(
        &mut self,
        queue: u32,
        cookie: u64,
        readable: &[sys::balloon_iov],
        writable: &[Span],
        now: u64,
    ) -> Result<(), Error> {
        let buffer = sys::balloon_virtio_buffer {
            cookie,
            readable: readable.as_ptr(),
            readable_count: readable.len(),
            writable: writable.as_ptr(),
            writable_count: writable.len(),
        };
        check(sys::balloon_virtio_receive(self.raw.as_ptr(), queue, &buffer, now))
    }

    /// Where the device stands.
    pub fn status(&self) -> sys::balloon_device_status {
        filled(|to| unsafe { sys::balloon_device_status_get(self.raw.as_ptr(), to) })
    }

    /// What it has counted.
    pub fn counters(&self) -> sys::balloon_device_counters {
        filled(|to| unsafe { sys::balloon_device_counters_get(self.raw.as_ptr(), to) })
    }

    /// The last statistics.
    pub fn sample(&self) -> Option<Sample> {
        let mut sample = sys::balloon_sample::default();
        unsafe { sys::balloon_device_sample(self.raw.as_ptr(), &mut sample) }
            .then(|| Sample(sample))
    }

    /// Why nothing more comes back: a sentence for the most important reason, and a bit for each
    /// (`1 << sys::BALLOON_REASON_*`).
    pub fn explain(&self, now: u64) -> (&'static str, u32) {
        let mut all = 0;
        let first = unsafe { sys::balloon_device_explain(self.raw.as_ptr(), now, &mut all) };
        (text(unsafe { sys::balloon_reason_text(first) }), all)
    }

    /// The page map, for questions.
    pub fn map(&self) -> PageMap<'_> {
        PageMap { raw: unsafe { sys::balloon_device_tracker(self.raw.as_ptr()) }, of: PhantomData }
    }

    /// The saved form.
    pub fn save(&self, now: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; unsafe { sys::balloon_device_save_bytes(self.raw.as_ptr()) }];
        let mut used = 0;
        let (to, room) = (bytes.as_mut_ptr().cast(), bytes.len());
        check(unsafe {
            sys::balloon_device_save(self.raw.as_ptr(), now, to, room, &mut used)
        })?;
        bytes.truncate(used);
        Ok(bytes)
    }

    /// Loads what was saved; then poll.
    pub fn load(&mut self, saved: &[u8], now: u64) -> Result<(), Error> {
        let (from, count) = (saved.as_ptr().cast(), saved.len());
        check(unsafe { sys::balloon_device_load(self.raw.as_ptr(), now, from, count) })
    }

    pub(crate) fn raw(&self) -> *const sys::balloon_device {
        self.raw.as_ptr()
    }
}
