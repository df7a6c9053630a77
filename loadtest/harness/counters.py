"""Reads from /proc what a process tree has used: processor time, memory, and what the cores did meanwhile."""

import os
from dataclasses import dataclass, field
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _stat_fields(pid):
    """The fields of /proc/PID/stat after the command, which may itself hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def read_state(pid):
    """The state letter of a process, `Z` for one that has ended and waits for its parent."""
    return _stat_fields(pid)[0]


def find_tree(root):
    """`root` and all its living descendants, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat_fields(entry)[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


@dataclass(frozen=True)
class TreeTime:
    """Processor time of a tree since its start. `threads_ns` is exact but forgets threads that have ended; the ticks forget none but are coarse."""

    threads_ns: dict = field(default_factory=dict)
    user_ticks: int = 0
    system_ticks: int = 0


def read_time(root):
    """The `TreeTime` of the tree under `root`, ended children that were waited for included."""
    threads, user, system = {}, 0, 0
    for pid in find_tree(root):
        stat = _stat_fields(pid)
        user += int(stat[11]) + int(stat[13])
        system += int(stat[12]) + int(stat[14])
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                threads[int(task)] = int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return TreeTime(threads, user, system)


@dataclass(frozen=True)
class Spent:
    """Processor time of a tree between two readings, in nanoseconds. `source` says which of the two counters `total_ns` is."""

    total_ns: int
    user_ns: int
    system_ns: int
    source: str


def subtract(after, before):
    """What was spent between two readings of one tree.

    The total is the scheduler's nanosecond count. The kernel splits it into user and system by sampling, so that split is
    only as fine as some hundreds of samples a second. Where a thread has ended in between, the total too is in ticks (10 ms).
    """
    user = (after.user_ticks - before.user_ticks) * TICK_NS
    system = (after.system_ticks - before.system_ticks) * TICK_NS
    if before.threads_ns.keys() <= after.threads_ns.keys():
        total = sum(after.threads_ns.values()) - sum(before.threads_ns.values())
        source = "schedstat"
    else:
        total, source = user + system, "ticks"
    user_share = user / (user + system) if user + system else 0.0
    user_ns = round(total * user_share)
    return Spent(total, user_ns, total - user_ns, source)


def read_memory(root):
    """Resident and proportional memory of the tree in bytes, and the sum of its processes' peaks. User memory only: sockets live in the kernel."""
    found = {"rss": 0, "pss": 0, "peak": 0}
    wanted = {"Rss:": "rss", "Pss:": "pss", "VmHWM:": "peak"}
    for pid in find_tree(root):
        for name in ("smaps_rollup", "status"):
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                words = line.split()
                if words and words[0] in wanted:
                    found[wanted[words[0]]] += int(words[1]) * 1024
    return found


def read_busy(cores):
    """Nanoseconds that these cores together have been busy since boot, time stolen by the host included."""
    names = {f"cpu{core}" for core in cores}
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words and words[0] in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
            busy += user + nice + system + irq + softirq + steal
    return busy * TICK_NS
