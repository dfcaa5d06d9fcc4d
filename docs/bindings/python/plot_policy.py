#!/usr/bin/python3
"""Play a built-in scenario by a policy, and draw what each guest needs, is asked for and has:

    plot_policy.py [--scenario 3] [--guests 4] [--seed 1] [--policy waterline] [--out run.svg]

Needs matplotlib (Debian: python3-matplotlib).
"""

import argparse

import matplotlib

matplotlib.use("agg")  # A file, not a window.
import matplotlib.pyplot as plt

import balloon

parser = argparse.ArgumentParser(description="Draw a policy at work.")
parser.add_argument("--scenario", type=int, default=3, help="1 to 21, see balloon/sim.h")
parser.add_argument("--guests", type=int, default=4)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--policy", default="waterline", choices=balloon.policies())
parser.add_argument("--out", default="run.svg", help="a name ending in .svg, .png or .pdf")
arguments = parser.parse_args()

scenario = balloon.Scenario(
    number=arguments.scenario, guests=arguments.guests, seed=arguments.seed)
sim = balloon.Simulation(
    scenario, arguments.policy, seed=arguments.seed, record_ms=max(1, scenario.duration_ms // 2000),
    profile=balloon.Profile.VIRTIO)
sim.run()

moments = sim.records()
minutes = [i * sim.record_ms / 60000 for i in range(len(moments))]
figure, axes = plt.subplots(
    scenario.guests + 1, sharex=True, figsize=(10, 2 * scenario.guests + 2), layout="constrained")
for guest, axis in enumerate(axes[:-1]):
    for field, style in ("need", "C7-"), ("target", "C1:"), ("size", "C0-"):
        line = [getattr(moment[guest], field) / balloon.MIB / 1024 for moment in moments]
        axis.plot(minutes, line, style, label=field)
    axis.set_ylabel(f"guest {guest}\nGiB")
    axis.set_ylim(bottom=0)
axes[0].legend(loc="upper right", ncols=3)
for guest in range(scenario.guests):
    axes[-1].plot(minutes, [moment[guest].stall / 10000 for moment in moments], label=guest)
axes[-1].set_ylabel("waiting for\nmemory, %")
axes[-1].set_xlabel("minutes")
axes[-1].legend(loc="upper right", ncols=scenario.guests)
result = sim.outcome()
figure.suptitle(
    f"{scenario.name} by {arguments.policy}: {result.stall_mean / 10000:.2f} % of the time waiting, "
    f"{result.swap_ins} pages swapped in")
figure.savefig(arguments.out)
print(f"{arguments.out}: {len(moments)} moments of {scenario.guests} guests")
