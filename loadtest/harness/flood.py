"""How a good client fares while others flood the proxy with HTTP/2 that asks for nothing."""

import os
import socket
import threading
from multiprocessing import Event, Process

from . import counters, load
from .process import Failed

ATTACKERS = 4
GOOD_CONNECTIONS = 4
"""Few, so that it is the wait that is seen and not the queue that the client makes itself."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = (8).to_bytes(4, "big")


def _frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _block(method):
    """:method, :scheme http, :authority a, :path /small, of the static table where it has them (RFC 7541, appendix A)."""
    return bytes([method]) + b"\x86\x41\x01a\x04\x06/small"


GET, POST = _block(0x82), _block(0x83)


def _rapid_reset():
    streams = range(1, 40_001, 2)
    return b"", b"".join(_frame(HEADERS, END_STREAM | END_HEADERS, n, GET) + _frame(RST_STREAM, 0, n, CANCEL) for n in streams)


def _continuation():
    return _frame(HEADERS, END_STREAM, 1, GET), _frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x05value" * 4) * 2_000


def _tiny_data():
    return _frame(HEADERS, END_HEADERS, 1, POST), _frame(DATA, 0, 1, b"x") * 2_000


KINDS = {"rapid reset": _rapid_reset, "CONTINUATION": _continuation, "tiny DATA": _tiny_data}
"""For each what opens a connection, and what is then sent over and over until the proxy closes."""


def measure(running, scenario, seconds, core, directory):
    """The good client's figures alone, and under each flood; with what the proxy's memory grew by and how many attackers it cut."""
    found = {"quiet": _ask(running, scenario, seconds, core, directory)}
    for name, make in KINDS.items():
        before = counters.read_memory(running.child.pid)["rss"]
        with _Flood(running.flood_port, make(), core) as flood:
            sample = _ask(running, scenario, seconds, core, directory)
            grown = counters.read_memory(running.child.pid)["rss"] - before
        if flood.failed:
            raise Failed(f"{running.name}, {name}: the attackers did not run")
        found[name] = {**sample, "grown_bytes": grown, "cut": flood.cut, "sent_bytes": flood.sent}
    return found


def _ask(running, scenario, seconds, core, directory):
    running.child.fail_if_ended()
    outcome = load.send(scenario, running, seconds, GOOD_CONNECTIONS, core, directory)
    return {"p50_us": outcome["p50_us"], "p99_us": outcome["p99_us"], "requests": outcome["requests"], "errors": sum(outcome["errors"].values())}


class _Flood:
    """Attackers in a process of their own, that gets only what the good client and the upstream leave of their core."""

    def __init__(self, port, script, core):
        self.over, self.ready = Event(), Event()
        self.notes, child_notes = socket.socketpair()
        self.process = Process(target=_attack, args=(port, script, core, self.over, self.ready, child_notes), daemon=True)
        self.failed, self.cut, self.sent = True, 0, 0

    def __enter__(self):
        self.process.start()
        self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.notes.settimeout(15)
        try:
            cut, sent = self.notes.recv(100).decode().split()
            self.failed, self.cut, self.sent = False, int(cut), int(sent)
        except (OSError, ValueError):
            pass
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()


def _attack(port, script, core, over, ready, notes):
    os.sched_setaffinity(0, {core})
    os.nice(19)
    counts = [(0, 0)] * ATTACKERS

    def one(number):
        cut = sent = 0
        while not over.is_set():
            more, is_cut = _attack_once(port, script, over)
            sent, cut = sent + more, cut + is_cut
            counts[number] = (cut, sent)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    ready.set()
    for thread in threads:
        thread.join()
    notes.sendall(" ".join(str(sum(numbers)) for numbers in zip(*counts, strict=True)).encode())


def _attack_once(port, script, over):
    """One connection until the proxy closes it; gives the bytes sent, and whether it was closed. Answers are read and dropped."""
    first, more = script
    sent = 0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.settimeout(0.2)
            pending = memoryview(PREFACE + _frame(SETTINGS, 0, 0) + first)
            while not over.is_set():
                try:
                    taken = client.send(pending or more)
                    sent += taken
                    pending = (pending or memoryview(more))[taken:]
                    while client.recv(65536, socket.MSG_DONTWAIT):
                        pass
                    return sent, 1
                except (BlockingIOError, TimeoutError):
                    continue
            return sent, 0
    except OSError:
        return sent, 1
