"""System calls per request at saturation, in a pass of its own because counting slows the proxy down."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from . import counters, load
from .process import Child, Failed, wait_until

ALL = "raw_syscalls:sys_enter"
# What a proxy calls on its request path; anything else still counts in the sum.
NAMED = (
    "read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "sendfile64", "splice",
    "epoll_wait", "epoll_pwait", "epoll_ctl", "io_uring_enter", "getsockopt", "setsockopt", "futex", "accept4", "connect", "close",
)  # fmt: skip


def choose_tool():
    """`perf` where it may count the kernel's tracepoint (it hardly slows anything), else `strace`, else None."""
    if shutil.which("perf"):
        tried = subprocess.run(["perf", "stat", "-x", ",", "-e", ALL, "true"], capture_output=True, text=True, timeout=10, check=False)
        if any(ALL in line and line.split(",")[0].isdigit() for line in tried.stderr.splitlines()):
            return "perf"
    return "strace" if shutil.which("strace") else None


def measure(tool, scenario, running, seconds, connections, cores, directory):
    """Calls per request while the load runs for `seconds`: the sum, and by name what is at least one in a hundred requests."""
    count = _count_with_perf if tool == "perf" else _count_with_strace
    calls, outcome = count(running, directory, lambda: load.send(scenario, running, seconds, connections, cores[1], directory))
    requests = outcome["requests"]
    if requests == 0:
        raise Failed(f"{running.name}, {scenario.name}: not one request was answered under {tool}")
    per_request = {name: number / requests for name, number in calls.items()}
    total = per_request.pop(ALL)
    named = {name: round(number, 3) for name, number in sorted(per_request.items(), key=lambda item: -item[1]) if number >= 0.01}
    return {"tool": tool, "requests": requests, "total": total, "by_name": named}


def _count_with_perf(running, directory, act):
    pids = ",".join(str(pid) for pid in counters.find_tree(running.child.pid))
    events = [ALL]
    events += [f"syscalls:sys_enter_{name}" for name in NAMED]
    numbers = directory / "perf-numbers"
    numbers.unlink(missing_ok=True)
    command = ["perf", "stat", "-x", ",", "-o", numbers, "-e", ",".join(events), "-p", pids]
    with Child("perf", command, None, directory / "perf-output") as perf:
        threads = sum(_count_threads(pid) for pid in counters.find_tree(running.child.pid))
        wait_until(lambda: perf.fail_if_ended() or _count_perf_files(perf.pid) >= threads * len(events), 10, "perf had attached")
        outcome = act()
        perf.stop(ask=signal.SIGINT)
    calls = {}
    for line in numbers.read_text().splitlines():
        words = line.split(",")
        if len(words) > 2 and words[0].isdigit():
            calls[words[2].removeprefix("syscalls:sys_enter_")] = int(words[0])
    if ALL not in calls:
        raise Failed(f"perf counted nothing: {numbers.read_text()} {perf.tail()}")
    return calls, outcome


def _count_with_strace(running, directory, act):
    tree = counters.find_tree(running.child.pid)
    numbers = directory / "strace-numbers"
    command = ["strace", "-c", "-f", "-o", numbers]
    for pid in tree:
        command += ["-p", str(pid)]
    with Child("strace", command, None, directory / "strace-output") as strace:
        wait_until(lambda: strace.fail_if_ended() or all(_is_traced(pid) for pid in tree), 10, "strace had attached")
        outcome = act()
        strace.stop(ask=signal.SIGINT)
    calls = {}
    for line in numbers.read_text().splitlines():
        words = line.split()
        if len(words) in (5, 6) and words[3].isdigit():
            calls[ALL if words[-1] == "total" else words[-1]] = int(words[3])
    if ALL not in calls:
        raise Failed(f"strace counted nothing: {numbers.read_text()} {strace.tail()}")
    return calls, outcome


def _count_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def _count_perf_files(pid):
    """How many counters the perf process has open by now."""
    count = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                count += "perf_event" in os.readlink(f"/proc/{pid}/fd/{entry}")
    return count


def _is_traced(pid):
    """Whether every thread of the process has a tracer."""
    return all("TracerPid:\t0\n" not in Path(f"/proc/{pid}/task/{task}/status").read_text() for task in os.listdir(f"/proc/{pid}/task"))
