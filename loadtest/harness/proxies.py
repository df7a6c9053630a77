"""The programs under test and the upstream behind them: their configuration files, their start, and proof that they do the same work."""

import http.client
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import secure
from .load import SOCKETS
from .process import Child, Failed, choose_port, descriptor_limit, wait_until

PEERS = Path(__file__).resolve().parent.parent / "peers"
FORWARDING_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id")
READY_SECONDS = 10

WIDE_BUFFERS = {
    "nginx": "proxy_buffer_size 32k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;",
    "haproxy": "tune.bufsize 32768",
}
"""What makes a 16 KiB body together with its head fit one buffer; their defaults are 4 KiB (nginx) and 16 KiB (HAProxy)."""

CONNECTIONS_FOR_LOAD = 1024
"""Small on purpose: nginx takes memory for every connection that it might one day have."""


def most_connections():
    """The most client connections that a proxy may be given here: each may need a second descriptor for its upstream side."""
    return min(9_600, descriptor_limit() // 2 - 200)


@dataclass(frozen=True)
class Proxy:
    """One program that can stand in the rounds."""

    name: str
    kind: str
    program: str
    access: str = "off"
    wide_buffers: bool = False

    def find_fault(self):
        """Why this proxy cannot run here, or None."""
        if shutil.which(self.program):
            return None
        if self.kind != "tidegate":
            return f"{self.name}: there is no program `{self.program}` on the path (Debian: apt install {self.kind}); leave it out with --only"
        return (
            f"{self.name}: no executable file at {self.program} (build it with `cargo build --release`, name another with "
            "--tidegate, --base or --candidate, or leave it out: --only nginx,haproxy)"
        )

    def read_version(self):
        """The first line with which the program tells its version."""
        flag = {"nginx": "-v", "haproxy": "-v", "tidegate": "--version"}[self.kind]
        told = subprocess.run([self.program, flag], capture_output=True, text=True, timeout=10, check=False)
        return (told.stdout + told.stderr).strip().partition("\n")[0]


@dataclass
class Running:
    """A proxy or upstream that answers on `port`."""

    name: str
    port: int
    child: Child
    warnings: list = field(default_factory=list)
    tls: Path | None = None
    """Where the certificate is, if it speaks TLS at all."""
    tls_port: int = 0
    flood_port: int = 0
    """Takes HTTP/2 by prior knowledge."""


def start_upstream(stack, directory, core):
    """Starts the upstream, to be stopped with `stack`."""
    directory.mkdir(parents=True)
    for name, length in (("answer-128", 128), ("answer-16k", 16384)):
        (directory / name).write_bytes(b"t" * length)
    port = choose_port()
    config = _render("upstream.cfg", directory, {"PORT": port})
    return start(stack, Running("upstream", port, Child("upstream", ["haproxy", "-db", "-f", config], core, directory / "output")))


def start_echo(stack, directory, core):
    """Starts the upstream of the WebSockets, to be stopped with `stack`."""
    directory.mkdir(parents=True)
    port = choose_port()
    running = Running("echo", port, Child("echo", [SOCKETS, "echo", port], core, directory / "output"))
    stack.enter_context(running.child)

    def listens():
        running.child.fail_if_ended()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, READY_SECONDS, "the echo listened")
    return running


def start_proxy(stack, proxy, upstream, echo, tls, directory, core, connections):
    """Starts one proxy in front of `upstream`, and of `echo` for WebSockets if there is one, for at most `connections` clients, over TLS too if there is
    a certificate in `tls`; checks what it forwards."""
    directory.mkdir(parents=True)
    port, tls_port, flood_port = (choose_port() for _ in range(3))
    values = {
        "SECURE": (PEERS / f"{proxy.kind}-tls.in").read_text() if tls else "",
        "TLS_PORT": tls_port,
        "FLOOD_PORT": flood_port,
        "TLS": tls,
        "SUITE": secure.SUITE,
        "GROUP": secure.GROUP,
        "PORT": port,
        "UPSTREAM_PORT": upstream.port,
        "ECHO_PORT": (echo or upstream).port,
        "CONNECTIONS": connections,
        "DESCRIPTORS": 2 * connections,
        "USER": "user root;" if os.geteuid() == 0 else "",
        "BUFFERS": WIDE_BUFFERS.get(proxy.kind, "") if proxy.wide_buffers else "",
        "ACCESS": "off" if proxy.access == "off" else f'{{ format: json, path: "{access_path(proxy, directory)}" }}',
    }
    if proxy.kind == "nginx":
        command = [proxy.program, "-p", directory, "-e", "stderr", "-c", _render("nginx.conf", directory, values)]
    elif proxy.kind == "haproxy":
        command = [proxy.program, "-db", "-f", _render("haproxy.cfg", directory, values)]
    else:
        values["ADMIN_PORT"] = choose_port()
        command = [proxy.program, "run", "--config", _render("tidegate.yaml", directory, values)]
    running = start(stack, Running(proxy.name, port, Child(proxy.name, command, core, directory / "output")))
    running.warnings = find_unequal_work(running)
    if tls:
        running.tls, running.tls_port, running.flood_port = tls, tls_port, flood_port
        secure.check(running.name, tls_port, tls)
    return running


def access_path(proxy, directory):
    """Where this proxy writes its access log."""
    return directory / "access.log" if proxy.access == "file" else Path(proxy.access)


def empty_access_log(proxy, directory):
    """Cuts the log to nothing between two measurements, for a fast proxy fills a disk in minutes; gives the bytes that it held."""
    path = access_path(proxy, directory)
    if proxy.access != "file" or not path.exists():
        return 0
    held = path.stat().st_size
    os.truncate(path, 0)
    return held


def find_unequal_work(running):
    """What a proxy leaves undone that the others do: forwarding headers, and keeping its upstream connection. One line each."""
    seen = []
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
        connection.request("GET", "/probe")
        seen.append(connection.getresponse().read().decode().split("|"))
        connection.close()
    missing = [name for name, value in zip(FORWARDING_HEADERS, seen[-1][1:], strict=True) if not value]
    warnings = [f"{running.name} does not send {', '.join(missing)} to the upstream, so it does less than the others."] if missing else []
    if len({ids[-1] for ids in seen}) < len(seen) and "X-Request-Id" not in missing:
        warnings.append(f"{running.name} sends one X-Request-Id for several requests.")
    if len({ports[0] for ports in seen}) > 1:
        warnings.append(f"{running.name} opened a new upstream connection for a request that could have used an idle one.")
    return warnings


def check_answer(running, scenario):
    """Raises `Failed` unless one request of the scenario gets the right answer."""
    running.child.fail_if_ended()
    if scenario.message_bytes:
        _check_socket(running, scenario)
        return
    if scenario.tls:
        connection = http.client.HTTPSConnection("127.0.0.1", running.tls_port, timeout=5, context=secure.client_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    try:
        connection.request(scenario.method, scenario.path, body=b"b" * scenario.body_bytes or None, headers=dict(scenario.headers))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{running.name}, {scenario.name}: {error}; its output: {running.child.tail()}") from None
    finally:
        connection.close()
    if answer.status != 200 or len(body) != scenario.answer_bytes:
        raise Failed(f"{running.name}, {scenario.name}: status {answer.status} and {len(body)} bytes, not 200 and {scenario.answer_bytes}")


def _check_socket(running, scenario):
    """Raises `Failed` unless a WebSocket opens and gives back what it is told."""
    told = subprocess.run([SOCKETS, "hold", str(running.port)], input="1\n", capture_output=True, text=True, timeout=10, check=False)
    if told.stdout != "1\n":
        raise Failed(f"{running.name}, {scenario.name}: no WebSocket: {told.stdout}{told.stderr}; its output: {running.child.tail()}")


def start(stack, running):
    """Starts the child, to be stopped with `stack`, and waits until it answers."""
    stack.enter_context(running.child)

    def answers():
        running.child.fail_if_ended()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=2)
        try:
            connection.request("GET", "/probe")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    try:
        wait_until(answers, READY_SECONDS, f"{running.name} answered GET /probe with 200")
    except Failed as failure:
        raise Failed(f"{failure}; its output: {running.child.tail()}") from None
    return running


def _render(name, directory, values):
    """Writes peers/NAME.in with its @WORDS@ filled in, and gives the path."""
    text = (PEERS / f"{name}.in").read_text()
    for word, value in (values | {"DIR": directory}).items():
        text = text.replace(f"@{word}@", str(value))
    path = directory / name
    path.write_text(text)
    return path
