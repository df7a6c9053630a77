"""One measurement: wrk or our WebSockets against one proxy, and what the proxy's process tree spent on it."""

import json
import resource
import time
from pathlib import Path

from . import counters
from .process import Child, Failed

SCRIPT = Path(__file__).resolve().parent.parent / "wrk.lua"
SOCKETS = Path(__file__).resolve().parent.parent.parent / "target/release/examples/sockets"
"""Both ends of the WebSockets, made of `sockets.rs`."""


def send(scenario, port, seconds, connections, core, directory):
    """Runs wrk, or `sockets` for messages, for whole `seconds` and gives the numbers that it prints."""
    output = directory / "load-output"
    if scenario.message_bytes:
        name, command = "sockets", [SOCKETS, "talk", port, connections, seconds, scenario.message_bytes]
    else:
        name, command = "wrk", _write_wrk(scenario, port, seconds, connections)
    with Child(name, command, core, output) as load:
        if load.wait(seconds + 30) != 0:
            raise Failed(f"{name}: {load.tail()}")
    for line in output.read_text().splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise Failed(f"{name} printed no result: {output.read_text()}")


def _write_wrk(scenario, port, seconds, connections):
    """The command line of wrk."""
    fields = [part for header in scenario.headers for part in header]
    return [
        "wrk", "-t", "1", "-c", connections, "-d", f"{seconds}s", "--timeout", "5s", "--latency", "-s", SCRIPT,
        f"http://127.0.0.1:{port}{scenario.path}", "--", scenario.method, scenario.body_bytes, *fields,
    ]  # fmt: skip


def measure(scenario, running, upstream, seconds, connections, cores, directory):
    """Loads one proxy for `seconds` and gives one sample: figures per request, memory, and how undisturbed it was."""
    proxy_core, load_core = cores
    running.child.fail_if_ended()
    root = running.child.pid
    time_before, upstream_before = counters.read_time(root), counters.read_time(upstream.child.pid)
    busy_before, reaped_before, clock_before = counters.read_busy({*cores}), _read_reaped(), time.monotonic_ns()
    outcome = send(scenario, running.port, seconds, connections, load_core, directory)
    running.child.fail_if_ended()
    spent = counters.subtract(counters.read_time(root), time_before)
    upstream_spent = counters.subtract(counters.read_time(upstream.child.pid), upstream_before)
    wall = time.monotonic_ns() - clock_before
    busy, load_spent = counters.read_busy({*cores}) - busy_before, _read_reaped() - reaped_before
    requests = outcome["requests"]
    if requests == 0:
        raise Failed(f"{running.name}, {scenario.name}: not one {scenario.unit} was answered; its output: {running.child.tail()}")
    ours = spent.total_ns + upstream_spent.total_ns + load_spent
    return {
        "cpu_us": spent.total_ns / requests / 1000,
        "user_us": spent.user_ns / requests / 1000,
        "system_us": spent.system_ns / requests / 1000,
        "cpu_source": spent.source,
        "requests": requests,
        "requests_per_s": requests / outcome["duration_us"] * 1e6,
        "p50_us": outcome["p50_us"],
        "p99_us": outcome["p99_us"],
        "p999_us": outcome["p999_us"],
        "max_us": outcome["max_us"],
        "errors": outcome["errors"],
        "error_count": sum(outcome["errors"].values()),
        "proxy_core_share": spent.total_ns / 1000 / outcome["duration_us"],
        "load_us": (upstream_spent.total_ns + load_spent) / requests / 1000,
        "foreign_share": max(0, busy - ours) / wall,
        **{f"{name}_bytes": size for name, size in counters.read_memory(root).items()},
    }


def _read_reaped():
    """Nanoseconds that our ended children took: between two readings, that is the load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)
