"""The requests that are measured, each as plain facts."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scenario:
    """One kind of request, sent over and over on keep-alive connections."""

    name: str
    title: str
    path: str
    answer_bytes: int
    method: str = "GET"
    body_bytes: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    message_bytes: int = 0
    """Above 0 it is no request but a message of this length, there and back on a WebSocket."""
    tls: bool = False
    streams: int = 0
    """Above 0 it is HTTP/2, so many streams at once on each of 16 connections."""

    keys: int | None = None
    """So many values of X-Key by turns; 0 = another one for each request."""

    @property
    def unit(self):
        """What is counted."""
        return "message" if self.message_bytes else "request"


# With Host, which every client writes itself, twelve: what a browser sends to a site it has been to.
BROWSER_HEADERS = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://shop.example.com/catalogue/lamps?page=2"),
    ("Cookie", "session=3f9d1c0a7be64c02a1f0; theme=dark; consent=necessary.statistics; basket=81723"),
    ("Cache-Control", "max-age=0"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
)

HEADERS = Scenario("headers", "GET with 12 browser-like headers, 128-byte answer", "/small", 128, headers=BROWSER_HEADERS)

LOADS = (
    Scenario("small", "small GET, 128-byte answer", "/small", 128),
    HEADERS,
    Scenario("answer-16k", "16 KiB answer", "/16k", 16384),
    Scenario("post-16k", "16 KiB POST, 128-byte answer", "/post", 128, method="POST", body_bytes=16384),
    Scenario("ws-128", "WebSocket, 128-byte messages there and back", "/socket", 128, message_bytes=128),
    Scenario("ws-64k", "WebSocket, 64 KiB messages there and back", "/socket", 65536, message_bytes=65536),
    Scenario("tls-h1", "small GET over TLS 1.3, 128-byte answer", "/small", 128, tls=True),
    Scenario("tls-h2", "the same over HTTP/2, 16 connections of 16 streams", "/small", 128, tls=True, streams=16),
    Scenario("tls-handshake", "a new connection and a full handshake for each small GET", "/small", 128, headers=(("Connection", "close"),), tls=True),
)

TLS_HEADERS = replace(HEADERS, name="tls-headers", tls=True)

IDLE = "idle"
"""The name of the other measurement: memory per idle connection (see `idle`)."""

WS_IDLE = "ws-idle"
"""The name of the third measurement: memory per WebSocket at rest (see `held`)."""

TLS_IDLE = "tls-idle"
"""Memory per idle connection over TLS."""

FLOODS = "floods"
"""A good client while others flood (see `flood`)."""

NAMES = tuple(scenario.name for scenario in LOADS) + (IDLE, WS_IDLE, TLS_IDLE, FLOODS)
