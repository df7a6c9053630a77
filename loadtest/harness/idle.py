"""Memory per idle keep-alive connection: many clients that have asked once and now say nothing."""

import select
import socket
import time

from . import counters, secure
from .process import Failed
from .proxies import most_connections

STIRS = 3
STIR_REQUESTS = 3_000
"""Allocators give back what they hold only while they work: one more connection keeps them at it before each reading."""

CONTEXT = secure.client_context()
"""One for all: none of the sessions is resumed, for each socket begins its own."""

POINTS = (0, 1_000, 3_000, 6_000, 9_000)
"""How many connections are open at each reading; readings beyond what the descriptor limit allows are left out."""


def choose_points(wanted=POINTS):
    """Those of the `wanted` points that this machine's descriptor limit allows."""
    points = [point for point in wanted if point <= most_connections() - 100]
    if len(points) < 2:
        raise Failed("the hard limit of open files is too low to measure idle connections (ulimit -Hn; 20000 is enough)")
    return points


def measure(running, scenario, settle_seconds):
    """Opens ever more connections, one request on each, and reads the tree's memory after each step; gives points and slopes."""
    request = _write_request(running, scenario)
    expected = None
    sockets, readings = [], []
    try:
        for point in choose_points():
            while len(sockets) < point:
                client = _connect(running, scenario)
                sockets.append(client)
                answer = _ask(client, request, scenario.answer_bytes)
                expected = expected or answer
                if answer != expected:
                    raise Failed(f"{running.name}, idle: connection {len(sockets)} was answered {answer!r}, the first {expected!r}")
            settle(running, scenario, settle_seconds)
            readings.append({"connections": point, **counters.read_memory(running.child.pid)})
        closed = _count_closed(sockets)
    except OSError as error:
        raise Failed(f"{running.name}, idle, connection {len(sockets)}: {error}; its output: {running.child.tail()}") from None
    finally:
        for client in sockets:
            client.close()
    return {"readings": readings, "closed_by_proxy": closed, **fit_slopes(readings)}


def settle(running, scenario, seconds):
    """Waits, and keeps the allocator at work meanwhile: many requests, each time on a connection that is closed again."""
    request = _write_request(running, scenario)
    for _ in range(STIRS):
        time.sleep(seconds)
        with _connect(running, scenario) as client:
            for _ in range(STIR_REQUESTS):
                _ask(client, request, scenario.answer_bytes)


def fit_slopes(readings):
    """Bytes per connection, of both kinds of memory."""
    return {f"{kind}_per_connection": _fit([(reading["connections"], reading[kind]) for reading in readings]) for kind in ("rss", "pss")}


def _connect(running, scenario):
    if not scenario.tls:
        return socket.create_connection(("127.0.0.1", running.port), timeout=10)
    client = socket.create_connection(("127.0.0.1", running.tls_port), timeout=10)
    return CONTEXT.wrap_socket(client)


def _write_request(running, scenario):
    """The request as bytes, ours to the letter: a client library would add headers of its own."""
    port = running.tls_port if scenario.tls else running.port
    lines = [f"{scenario.method} {scenario.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in scenario.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _ask(client, request, answer_bytes):
    """Sends the request, reads the whole answer, and gives its status line."""
    client.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < answer_bytes:
        part = client.recv(65536)
        if not part:
            raise Failed(f"the connection was closed after {received!r}")
        received += part
    return received.partition(b"\r\n")[0]


def _count_closed(sockets):
    """How many of the connections the proxy has closed: nothing else makes an idle one readable."""
    poll = select.poll()
    for client in sockets:
        poll.register(client, select.POLLIN)
    return len(poll.poll(0))


def _fit(points):
    """The slope of the straight line that fits the points best."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
