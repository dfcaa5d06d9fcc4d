//! What the other programs do not look at: failures, threads, a device in a pool, and that what is
//! dropped is freed once.

use balloon::{Action, Buffer, Device, DeviceOptions, Error, GuestLimits, Policy, Pool, PoolOptions};
use balloon::{sys, Range, Region, Sample, Set, Span, Tracker};

const RAM: Region = Region { first: 0, count: 16384, granule: 1 };

fn device() -> Device {
    let options = DeviceOptions { features: sys::BALLOON_FEATURE_STATS, ..Default::default() };
    let mut device = Device::new(&[RAM], &options).unwrap();
    device.set_features(device.features()).unwrap();
    device.driver_ok(0, 0).unwrap();
    device
}

#[test]
fn mistakes_have_their_error() {
    assert_eq!(Tracker::new(0, 0, false).err(), Some(Error::Invalid));
    assert_eq!(Device::new(&[], &DeviceOptions::default()).err(), Some(Error::Invalid));
    assert_eq!(device().set_target(16385, 0), Err(Error::Range));
    assert_eq!(device().driver_ok(0, 0), Err(Error::State));
    assert_eq!(device().load(&[1, 2, 3], 0), Err(Error::Protocol));
    assert_eq!(device().release(), Err(Error::State));
    assert!(Policy::named("nonsense").is_none() && Policy::named("a\0b").is_none());
    for error in [Error::Invalid, Error::Busy, Error::Unsupported, Error::Other(77)] {
        assert!(error.to_string().len() > 3, "{:?}", error);
    }
}

#[test]
fn pieces_and_nonsense_of_guests_are_read() {
    let mut device = device();
    // The second page number begins in one piece and ends in another; a byte is left over.
    let buffer = Buffer {
        cookie: 9,
        readable: &[&[1, 0, 0, 0, 2], &[], &[0, 0, 0, 3]],
        writable: &[Span { address: 0, bytes: 16 }],
    };
    assert!(device.receive(7, &buffer, 0).is_err());
    assert_eq!(device.receive(0, &buffer, 0), Err(Error::Protocol));
    let mut runs = Vec::new();
    let mut acks = 0;
    while let Some(action) = device.poll(0) {
        match action {
            Action::Discard(some) => runs.extend_from_slice(some),
            Action::Ack { queue: 0, cookie: 9, used_bytes: 0, used: None } => acks += 1,
            other => panic!("{:?}", other),
        }
    }
    assert_eq!((runs.len(), acks), (1, 1));
    assert_eq!((runs[0].range.first, runs[0].range.count), (1, 2));
    let all = Range { first: 0, count: 16384 };
    assert_eq!(device.map().runs(Set::Held, all).count(), 1);
    let mut bits = [0xff; 2048];
    device.map().export(Set::Held, all, &mut bits).unwrap();
    assert_eq!(bits[..2], [6, 0]);
    assert_eq!(device.map().export(Set::Held, all, &mut bits[1..]), Err(Error::NoSpace));
}

#[test]
fn statistics_come_from_the_device_into_the_pool() {
    let mut device = device();
    device.set_stats_period(1000, 0);
    // Linux offers its buffer at once; the answer to the request is the next one.
    let record = [4, 0, 0, 64, 0, 0, 0, 0, 0, 0];
    let buffer = Buffer { cookie: 1, readable: &[&record], ..Default::default() };
    device.receive(2, &buffer, 0).unwrap();
    while device.poll(0).is_some() {}
    device.receive(2, &buffer, 5).unwrap();
    let sample = loop {
        match device.poll(5) {
            Some(Action::Stats) => break device.sample().unwrap(),
            Some(_) => (),
            None => panic!("no statistics"),
        }
    };
    assert_eq!((sample.get(sys::BALLOON_STAT_FREE), sample.time()), (Some(64 << 8), 5));
    assert_eq!(sample.get(sys::BALLOON_STAT_TOTAL), None);

    let options = PoolOptions::new(1, 32768, Policy::named("fixed").unwrap());
    let mut pool = Pool::new(&options).unwrap();
    let limits = GuestLimits { max: 16384, current: 12288, ..Default::default() };
    let id = pool.add(&limits, 0).unwrap();
    assert_eq!(pool.add(&limits, 0), Err(Error::NoSpace));
    pool.feed(id, &device, 6).unwrap();
    assert_eq!(pool.guest(id).unwrap().config.current, 16384);
    assert_eq!(pool.counters().samples, 1);
    pool.sample(id, &Sample::at(7).with(sys::BALLOON_STAT_FREE, 0), 7).unwrap();
    assert_eq!(pool.counters().samples, 2);
    pool.set_size(id, 16384, 8).unwrap();
    pool.set_guest(id, &GuestLimits { max: 8192, ..Default::default() }).unwrap();
    pool.decide(9);
    let changes: Vec<_> = pool.changes().collect();
    assert_eq!((changes.len(), changes[0].target), (1, 8192));
    device.apply(&changes[0], 9).unwrap();
    assert_eq!(device.status().target, 8192);
    pool.remove(id).unwrap();
    assert_eq!(pool.guest(id).err(), Some(Error::Invalid));
}

#[test]
fn objects_move_to_other_threads() {
    let device = std::thread::spawn(|| {
        let mut device = device();
        device.set_target(4096, 0).unwrap();
        device
    });
    let device = device.join().unwrap();
    let saved = device.save(0).unwrap();
    let mut copy = self::device();
    copy.load(&saved, 0).unwrap();
    assert_eq!(copy.status().target, 4096);
}
