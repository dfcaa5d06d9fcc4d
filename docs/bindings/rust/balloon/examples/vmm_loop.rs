//! The loop of a VMM, with a toy guest that inflates and deflates where it likes. What a real one
//! adds is its memory and its rings.

use balloon::{Action, Buffer, Device, DeviceOptions, Region, Run};

const MS: u64 = 1_000_000;
const INFLATE: u32 = 0;
const DEFLATE: u32 = 1;

/// The guest's choices; any will do.
struct Chooser(u64);

impl Chooser {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = (self.0.wrapping_mul(6364136223846793005)).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

struct Vmm {
    device: Device,
    discards: u32,
}

impl Vmm {
    /// Gives memory back to the host: madvise(). Returns what could not be; now and then, something.
    fn discard(&mut self, runs: Vec<Run>) -> Option<Run> {
        for run in &runs {
            println!("discard {} {}+{}", run.region, run.range.first, run.range.count);
        }
        self.discards += 1;
        (self.discards % 7 == 0).then(|| runs[0])
    }

    /// After each kick and each command, and at the deadline: do what the device says.
    fn serve(&mut self, now: u64) {
        while let Some(action) = self.device.poll(now) {
            match action {
                Action::Discard(runs) => {
                    let runs = runs.to_vec();
                    if let Some(failed) = self.discard(runs) {
                        self.device.discard_failed(&failed, now);
                        println!("failed");
                    }
                }
                Action::Ack { queue, cookie, used_bytes, .. } => {
                    println!("ack {} {} {}", queue, cookie, used_bytes);
                }
                Action::ConfigIrq => {
                    let mut space = [0; 4];
                    self.device.config_read(0, &mut space);
                    println!("target {}", u32::from_le_bytes(space));
                }
                Action::Pressure => println!("the guest is short of memory"),
                _ => (), // Statistics and hints, which nobody has asked for.
            }
        }
    }

    /// A buffer of the guest: so many page numbers from first on.
    fn kick(
        &mut self,
        queue: u32,
        cookie: u64,
        first: u32,
        count: u32,
        now: u64,
    ) -> Result<(), balloon::Error> {
        let bytes: Vec<u8> = (first..first + count).flat_map(u32::to_le_bytes).collect();
        let buffer = Buffer { cookie, readable: &[&bytes], ..Default::default() };
        self.device.receive(queue, &buffer, now)
    }
}

fn main() -> Result<(), balloon::Error> {
    let ram = [
        Region { first: 0, count: 16384, granule: 1 },
        Region { first: 0x80000, count: 16384, granule: 16 },
    ];
    let mut device = Device::new(&ram, &DeviceOptions::default())?;
    let mut now = 0;

    // The driver chooses features and starts; the host asks for a balloon of 32 MiB.
    device.set_features(device.features())?;
    device.driver_ok(0, now)?;
    device.set_target(8192, now)?;
    let mut vmm = Vmm { device, discards: 0 };
    vmm.serve(now);

    let mut choose = Chooser(1);
    for step in 0..300 {
        let queue = if choose.below(4) != 0 { INFLATE } else { DEFLATE };
        let base = if choose.below(2) != 0 { 0x80000 } else { 0 };
        let first = base + choose.below(16384 - 64);
        let count = 1 + choose.below(64);
        now += 7 * MS;
        vmm.kick(queue, step, first, count, now)?;
        vmm.serve(now);
    }
    for _ in 0..3 {
        now = vmm.device.deadline();
        println!("sleep until {}", now);
        vmm.serve(now);
    }

    let status = vmm.device.status();
    let n = vmm.device.counters();
    println!("held {} pending {} returned {}", status.held, status.pending, status.returned);
    println!(
        "inflated {} deflated {} cancelled {} discarded {} in {} failed {}",
        n.inflated, n.deflated, n.cancelled, n.discarded, n.discard_runs, n.discard_failed
    );
    println!("{}", vmm.device.explain(now).0);

    // For migration or a snapshot.
    let saved = vmm.device.save(now)?;
    let sum = saved.iter().fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    println!("saved {} {:016x}", saved.len(), sum);
    Ok(())
}
