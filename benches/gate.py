#!/usr/bin/env python3
"""Holds the instruction counts of this tree against `counts.lock`, and refuses two per cent more without a note.

    benches/gate.py                 count, print the table, fail where a count rose
    benches/gate.py --keep          count and write the lock anew; refused where a count rose
    benches/gate.py --keep "why"    the same, with a line in NOTES.md for what rose

Counts are exact for one compiler and one set of processor features. Where these are not those of the lock, a rise is
told and not refused. BENCH_BASE names the commit whose lock is to be compared with this tree's (default: HEAD where
the lock is not committed yet, else HEAD^): a count that was raised since then needs its line in NOTES.md.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "counts.lock"
NOTES = HERE / "NOTES.md"

MOST_RISE = 0.02
SLACK = 8
"""Instructions that a small count may rise by: the layout of the code moves that many."""
REQUESTS = 1000
"""Exchanges in one count of the group `handle`, as in `counts/main.rs`."""
FEATURES = ("sse4_2", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "avx512f")
"""What memcpy, memchr and httparse choose their variants by."""


def output(*command: str) -> str:
    """What a command prints, or nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def ground() -> dict[str, str]:
    """What the counts depend on beside the source."""
    try:
        flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    except (OSError, TypeError):
        flags = set()
    return {
        "rustc": output("rustc", "--version"),
        "valgrind": output("valgrind", "--version"),
        "libc": " ".join(platform.libc_ver()),
        "cpu": " ".join([platform.machine(), *(f for f in FEATURES if f in flags)]),
    }


def count() -> dict[str, int]:
    """Instructions by name; those of `handle` for one exchange."""
    for tool, source in (("valgrind", "your system's packages"), ("gungraun-runner", "cargo install gungraun-runner@0.20.0")):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed ({source})")
    command = ["cargo", "bench", "--locked", "--bench", "counts", "--", "--output-format=json"]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    counts = {}
    for summary in documents(done.stdout):
        name = f"{summary['group']}/{summary['function_name']}/{summary['id']}"
        total = sum(
            profile["data"]["total"]["metrics"]["Ir"]["values"]["new"]
            for profile in summary["profiles"]
            if profile["tool"] == "Callgrind"
        )
        counts[name] = round(total / REQUESTS) if summary["group"] == "handle" else total
    if not counts:
        sys.exit("nothing was counted")
    return counts


def documents(text: str):
    """The JSON documents that stand one after the other in a text."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        document, at = decoder.raw_decode(text, at)
        yield document


def read(text: str) -> tuple[dict[str, str], dict[str, int]]:
    """A lock's ground and counts."""
    ground_of, counts = {}, {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if line.startswith("#") or not value:
            continue
        if "/" in key:
            counts[key] = int(value)
        else:
            ground_of[key] = value
    return ground_of, counts


def write(ground_of: dict[str, str], counts: dict[str, int]) -> None:
    """Writes the lock."""
    lines = ["# Instructions; those of handle/ are for one exchange. Written by gate.py --keep."]
    lines += [f"{key}: {value}" for key, value in ground_of.items()]
    lines += [f"{name}: {n}" for name, n in counts.items()]
    LOCK.write_text("\n".join(lines) + "\n")


def rises(old: dict[str, int], new: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What costs more than it may."""
    return {
        name: (old[name], n)
        for name, n in new.items()
        if name in old and n > old[name] + max(SLACK, old[name] * MOST_RISE)
    }


def table(old: dict[str, int], new: dict[str, int]) -> str:
    """All counts beside those of the lock."""
    lines = [f"{'':44} {'lock':>9} {'now':>9} {'':>8}"]
    risen = rises(old, new)
    for name in dict.fromkeys([*new, *old]):
        before, now = old.get(name), new.get(name)
        change = f"{(now - before) / before:+8.2%}" if before and now is not None else "     new" if now else "    gone"
        mark = "  <- too much" if name in risen else ""
        lines.append(f"{name:44} {before or '-':>9} {'-' if now is None else now:>9} {change}{mark}")
    for scenario in (name for name in new if name.startswith("handle/exchange/")):
        alone = new.get(scenario.replace("exchange", "peers_alone").replace("_logged", ""))
        if alone is not None:
            lines.append(f"{scenario + ' without its far ends':54} {new[scenario] - alone:>9}")
    return "\n".join(lines)


def unexplained(lock: dict[str, int]) -> list[str]:
    """Counts that the lock raised since the base commit, without a new line in NOTES.md that names them."""
    changed = output("git", "status", "--porcelain", "--", str(LOCK))
    base = os.environ.get("BENCH_BASE") or ("HEAD" if changed else "HEAD^")
    before = output("git", "show", f"{base}:./{LOCK.name}")
    if not before:
        return []
    ground_before, counts_before = read(before)
    if ground_before != read(LOCK.read_text())[0]:
        return []
    known = set(output("git", "show", f"{base}:./{NOTES.name}").splitlines())
    added = [line for line in NOTES.read_text().splitlines() if line not in known] if NOTES.exists() else []
    return [name for name in rises(counts_before, lock) if not any(f"`{name}`" in line for line in added)]


def keep(ground_of: dict[str, str], counts: dict[str, int], old: dict[str, int], comparable: bool, why: str) -> int:
    """Writes the lock, and a note for what rose."""
    risen = rises(old, counts) if comparable else {}
    if risen and not why:
        print("\nrefused: say why it costs more: benches/gate.py --keep \"why\"")
        return 1
    if risen:
        what = ", ".join(f"`{name}` {before} to {now}" for name, (before, now) in risen.items())
        with NOTES.open("a") as notes:
            notes.write(f"- {why}: {what}\n")
    write(ground_of, counts)
    print(f"\nwritten: {LOCK.name}")
    return 0


def main() -> int:
    """Counts, tells, judges."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keep", nargs="?", const="", metavar="WHY", help="write the lock anew")
    asked = arguments.parse_args()
    ground_of, counts = ground(), count()
    ground_then, old = read(LOCK.read_text()) if LOCK.exists() else (ground_of, {})
    print(table(old, counts))
    different = [key for key, value in ground_of.items() if ground_then.get(key) != value]
    for key in different:
        print(f"{key}: {ground_of[key]}, but the lock was made with {ground_then.get(key)}")
    if asked.keep is not None:
        return keep(ground_of, counts, old, not different, asked.keep)
    missing = [name for name in {**counts, **old} if name not in counts or name not in old]
    if missing:
        print(f"\nrefused: the lock does not hold the same names: {', '.join(missing)} (benches/gate.py --keep)")
        return 1
    if silent := unexplained(old):
        print(f"\nrefused: raised in {LOCK.name} without a line in {NOTES.name}: {', '.join(silent)}")
        return 1
    if not (risen := rises(old, counts)):
        return 0
    if different:
        print(f"\nnot refused, for the ground differs: {', '.join(risen)}")
        return 0
    print(f"\nrefused: more than {MOST_RISE:.0%} above the lock: {', '.join(risen)}")
    print('make it cheaper, or say why it is worth it: benches/gate.py --keep "why"')
    return 1


if __name__ == "__main__":
    sys.exit(main())
