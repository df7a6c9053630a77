"""One measurement: wrk or our WebSockets against one proxy, and what the proxy's process tree spent on it."""

import json
import re
import resource
import time
from pathlib import Path

from . import counters, secure
from .process import Child, Failed

SCRIPT = Path(__file__).resolve().parent.parent / "wrk.lua"
KEYS_SCRIPT = SCRIPT.with_name("keys.lua")
SOCKETS = Path(__file__).resolve().parent.parent.parent / "target/release/examples/sockets"
"""Both ends of the WebSockets, made of `sockets.rs`."""

H2_CONNECTIONS = 16


def send(scenario, running, seconds, connections, core, directory):
    """Runs wrk, h2load for HTTP/2, or `sockets` for messages, for whole `seconds` and gives the numbers that it prints."""
    output = directory / "load-output"
    if scenario.streams:
        return _send_streams(scenario, running, seconds, core, directory)
    if scenario.message_bytes:
        name, command = "sockets", [SOCKETS, "talk", running.port, connections, seconds, scenario.message_bytes]
    else:
        name, command = "wrk", _write_wrk(scenario, running, seconds, connections)
    env = secure.client_environment(running.tls) if scenario.tls else None
    with Child(name, command, core, output, env=env) as load:
        if load.wait(seconds + 30) != 0:
            raise Failed(f"{name}: {load.tail()}")
    for line in output.read_text().splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise Failed(f"{name} printed no result: {output.read_text()}")


def _send_streams(scenario, running, seconds, core, directory):
    """The same with h2load; percentiles are made of its list of all requests."""
    output, each = directory / "load-output", directory / "load-requests"
    each.unlink(missing_ok=True)
    command = [
        "h2load", "-t", "1", "-c", H2_CONNECTIONS, "-m", scenario.streams, "-D", seconds, "--log-file", each,
        "--tls13-ciphers", secure.SUITE, "--groups", secure.GROUP, f"https://127.0.0.1:{running.tls_port}{scenario.path}",
    ]  # fmt: skip
    with Child("h2load", command, core, output) as load:
        if load.wait(seconds + 30) != 0:
            raise Failed(f"h2load: {load.tail()}")
    told = output.read_text()
    counts = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told)
    spoken = (f"Cipher: {secure.SUITE}", f"Server Temp Key: {secure.GROUP}", "Application protocol: h2")
    if not counts or not all(words in told for words in spoken):
        raise Failed(f"h2load did not speak as it should: {told}")
    succeeded, failed, errored, timeout = (int(count) for count in counts.groups())
    # Start, status, duration in microseconds; what a connection's end cut off has no status.
    lines = [line.split() for line in each.read_text().splitlines()]
    took = sorted(int(line[2]) for line in lines if line[1] == "200") or [0]
    each.unlink()

    def part(share):
        return took[min(len(took) - 1, int(len(took) * share))]

    return {
        "requests": succeeded, "duration_us": seconds * 1_000_000,
        "p50_us": part(0.5), "p99_us": part(0.99), "p999_us": part(0.999), "max_us": took[-1],
        "errors": {"failed": failed, "errored": errored, "timeout": timeout},
    }  # fmt: skip


def _write_wrk(scenario, running, seconds, connections):
    """The command line of wrk."""
    scheme, port = ("https", running.tls_port) if scenario.tls else ("http", running.port)
    fields = [part for header in scenario.headers for part in header]
    script, keys = (SCRIPT, []) if scenario.keys is None else (KEYS_SCRIPT, [scenario.keys])
    return [
        "wrk", "-t", "1", "-c", connections, "-d", f"{seconds}s", "--timeout", "5s", "--latency", "-s", script,
        f"{scheme}://127.0.0.1:{port}{scenario.path}", "--", *keys, scenario.method, scenario.body_bytes, *fields,
    ]  # fmt: skip


def measure(scenario, running, upstream, seconds, connections, cores, directory):
    """Loads one proxy for `seconds` and gives one sample: figures per request, memory, and how undisturbed it was."""
    proxy_core, load_core = cores
    running.child.fail_if_ended()
    root = running.child.pid
    time_before, upstream_before = counters.read_time(root), counters.read_time(upstream.child.pid)
    busy_before, reaped_before, clock_before = counters.read_busy({*cores}), _read_reaped(), time.monotonic_ns()
    outcome = send(scenario, running, seconds, connections, load_core, directory)
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
