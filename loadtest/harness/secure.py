"""TLS as all proxies are made to speak it: one certificate, and clients that offer one way only."""

import os
import ssl
import subprocess

from .process import Failed

SUITE, GROUP = "TLS_AES_128_GCM_SHA256", "X25519"
"""TLS 1.3 with these, whatever a proxy would prefer: it is the same work for all."""

CLIENT = """openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = {suite}
Groups = {group}
"""

CERTIFICATE = [
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
]  # fmt: skip


def prepare(directory):
    """Writes the certificate (ECDSA P-256), its key, both in one file, and what tells clients built on OpenSSL what to offer."""
    directory.mkdir(parents=True)
    cert, key = directory / "cert.pem", directory / "key.pem"
    made = subprocess.run([*CERTIFICATE, "-out", cert, "-keyout", key], capture_output=True, text=True, timeout=20, check=False)
    if made.returncode:
        raise Failed(f"openssl made no certificate: {made.stderr}")
    (directory / "both.pem").write_text(cert.read_text() + key.read_text())
    (directory / "client.cnf").write_text(CLIENT.format(suite=SUITE, group=GROUP))
    return directory


def client_environment(directory):
    """The environment of a client that shall offer one way only."""
    return {**os.environ, "OPENSSL_CONF": str(directory / "client.cnf")}


def client_context():
    """For our own connections. They believe everybody: the harness itself started who is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def check(name, port, directory):
    """Raises `Failed` unless an OpenSSL that was told by the file alone what to offer gets it."""
    told = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "h2"],
        input="", capture_output=True, text=True, errors="replace", timeout=10, check=False, env=client_environment(directory),
    ).stdout  # fmt: skip
    wanted = (f"New, TLSv1.3, Cipher is {SUITE}", f"Server Temp Key: {GROUP}", "ALPN protocol: h2", "Peer signature type: ECDSA")
    if missing := [words for words in wanted if words not in told]:
        raise Failed(f"{name} does not speak TLS as it shall: no {', no '.join(missing)}")
