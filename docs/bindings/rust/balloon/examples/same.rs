//! The page map and the pool at work: `same tracker` and `same pool [policy]` print every decision, to
//! be compared with what a program in C prints.

use balloon::{why_text, GuestLimits, Policy, Pool, PoolOptions, Sample, Verdict};
use balloon::{sys, Error, Range, Region, Run, Set, Tally, Tracker};

struct Chooser(u64);

impl Chooser {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = (self.0.wrapping_mul(6364136223846793005)).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

fn tracker() -> Result<(), Error> {
    let mut tracker = Tracker::new(65536, 0, false)?;
    let mut tally = Tally::default();
    let mut choose = Chooser(1);

    tracker.add_region(&Region { first: 0, count: 32768, granule: 1 })?;
    assert_eq!(tracker.add_region(&Region { first: 0x80000, count: 32768, granule: 512 })?, 1);
    tracker.set_gather(true);
    for step in 0..400 {
        let op = choose.below(5);
        let base = if choose.below(2) != 0 { 0x80000 } else { 0 };
        let first = base + choose.below(32768);
        let count = 1 + choose.below(64);
        let range = Range { first: first.into(), count: u64::from(count) * 37 };
        let pfns: Vec<u32> = (0..count).map(|i| first + i * 3).collect();
        match op {
            0 | 1 => tracker.inflate(&pfns, &mut tally),
            2 => tracker.inflate_range(range, &mut tally),
            3 => tracker.deflate(&pfns, &mut tally),
            _ => tracker.deflate_range(range, &mut tally),
        }
        if step == 300 {
            tracker.set_gather(false);
        }
        if step % 8 == 7 {
            let mut room = [Run::default(); 5];
            for run in tracker.take(&mut room) {
                println!("{} {}+{}", run.region, run.range.first, run.range.count);
            }
            println!("held {} ready {}", tracker.map().held(), tracker.map().ready());
            tracker.settle();
        }
    }
    println!(
        "changed {} unchanged {} outside {} cancelled {}",
        tally.changed, tally.unchanged, tally.outside, tally.cancelled
    );
    let all = Range { first: 0, count: 0x100000 };
    println!("free {}", tracker.map().count(Set::Free, all));
    for run in tracker.map().runs(Set::Held, all) {
        println!("{}+{}", run.range.first, run.range.count);
    }
    Ok(())
}

struct Toy {
    id: u64,
    size: u64,
    target: u64,
    swapped_in: u64,
}

fn pool(policy: &str) -> Result<(), Error> {
    let policy = Policy::named(policy).ok_or(Error::Invalid)?;
    let mut pool = Pool::new(&PoolOptions::new(3, 229376, policy))?;
    let mut guests = Vec::new();
    for _ in 0..3 {
        let limits =
            GuestLimits { min: 16384, max: 131072, current: 65536, ..Default::default() };
        let id = pool.add(&limits, 0)?;
        guests.push(Toy { id, size: 65536, target: 65536, swapped_in: 0 });
    }
    for tick in 1..=160 {
        let now = tick * 500_000_000;
        for (g, toy) in guests.iter_mut().enumerate() {
            let need = if (tick / 32 + g as u64) % 3 == 0 { 114688 } else { 32768 };
            let rest = toy.size.saturating_sub(need);
            if toy.target > toy.size {
                toy.size += (toy.target - toy.size).min(6400);
            } else {
                toy.size -= (toy.size - toy.target).min(6400);
            }
            if rest == 0 {
                toy.swapped_in += 4 << 20;
            }
            let sample = Sample::at(now)
                .with(sys::BALLOON_STAT_SWAP_IN, toy.swapped_in)
                .with(sys::BALLOON_STAT_TOTAL, toy.size * 4096)
                .with(sys::BALLOON_STAT_FREE, rest / 2 * 4096)
                .with(sys::BALLOON_STAT_AVAILABLE, rest * 4096);
            pool.set_size(toy.id, toy.size, now)?;
            pool.sample(toy.id, &sample, now)?;
        }
        let verdict = pool.decide(now);
        for change in pool.changes() {
            for toy in guests.iter_mut().filter(|toy| toy.id == change.id) {
                toy.target = change.target;
            }
            let mark = if change.emergency != 0 { "!" } else { "" };
            let why = why_text(change.why);
            println!("{}: guest {} to {}, {}{}", tick, change.id, change.target, why, mark);
        }
        if verdict != Verdict::Ok {
            println!("{}: verdict {}", tick, verdict as u32);
        }
    }
    let status = pool.status();
    let next = pool.deadline();
    println!(
        "used {} committed {} budget {} next at {}",
        status.used, status.committed, status.budget, next
    );
    Ok(())
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("tracker") => tracker(),
        Some("pool") => pool(arguments.get(2).map_or("waterline", String::as_str)),
        _ => Err(Error::Invalid),
    }
}
