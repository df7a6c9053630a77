"""A child process that is pinned to one core, cannot outlive us, and is always ended by its own id."""

import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
import time

from . import counters

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """Something under test, or needed for it, did not do its part. The text is for the person at the terminal."""


def descriptor_limit():
    """How many files one process may hold open: the hard limit, to which children are raised."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_descriptor_limit():
    """Lifts this process's own soft limit to the hard one; children inherit it."""
    hard = descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def choose_port():
    """A free loopback port below the ephemeral range, so that no outgoing connection can take it meanwhile."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port between 20000 and 32000 on 127.0.0.1")


class Child:
    """One started program; use it as a context manager."""

    def __init__(self, name, command, core, output, told=False, env=None):
        """`core` is the one core it may use, or None; `output` is a path that takes stdout and stderr; `told`: it reads what `tell` says; `env` is its environment, None = ours."""
        self.name = name
        self.command = [str(word) for word in command]
        self.core = core
        self.output = output
        self.env = env
        self.stdin = subprocess.PIPE if told else subprocess.DEVNULL
        self.process = None

    def __enter__(self):
        command = self.command if self.core is None else ["taskset", "-c", str(self.core), *self.command]
        # start_new_session: Ctrl-C reaches us alone, and we end the children in order.
        with open(self.output, "wb") as sink:
            self.process = subprocess.Popen(
                command, stdin=self.stdin, stdout=sink, stderr=sink, start_new_session=True, preexec_fn=_die_with_parent, env=self.env
            )
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        """The id; taskset replaces itself by the program, so this is the program's own."""
        return self.process.pid

    def fail_if_ended(self):
        """Raises `Failed` with the tail of its output if it no longer runs."""
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with status {self.process.returncode}: {self.tail()}")

    def tell(self, line):
        """Writes a line to its standard input."""
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name} takes no more orders: {self.tail()}") from None

    def tail(self):
        """The last lines that it wrote."""
        with open(self.output, "rb") as source:
            return source.read()[-2000:].decode(errors="replace").strip() or "(it wrote nothing)"

    def wait(self, seconds):
        """Waits for it to end by itself; raises `Failed` after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} was still running after {seconds} s: {self.tail()}") from None

    def stop(self, ask=signal.SIGTERM, patience=5.0):
        """Asks it to end, and after `patience` seconds ends it and every descendant it had, each by its id."""
        if self.process is None or self.process.poll() is not None:
            return
        if self.process.stdin:
            self.process.stdin.close()
        tree = counters.find_tree(self.pid)
        self.process.send_signal(ask)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in tree[1:]:
            _end_orphan(pid, self.pid, patience)


def _end_orphan(pid, session, patience):
    """Waits for a descendant of an ended child to go too, then kills it: only while it is still of the session that we began."""
    deadline = time.monotonic() + patience
    try:
        while os.getsid(pid) == session and counters.read_state(pid) != "Z":
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.01)
    except (ProcessLookupError, FileNotFoundError):
        return


def _die_with_parent():
    """Runs in the child before exec: should the harness be killed outright, the kernel ends the child."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def wait_until(condition, seconds, what):
    """Polls until `condition()` is true; raises `Failed` naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s in vain until {what}")
        time.sleep(0.01)
