"""Everything that users do, on a machine without a network: it must work, and must not even try.

    make offline        after `tactful fetch`; needs Linux, and the right to have a network of one's own

All commands run in a network namespace in which there is only loopback, so whatever works needs no
network; and every Python process in it reports where it wants to connect and whose name it looks
up. What is not this machine is a failure. Where there may be no such namespace, this is one too,
unless TACTFUL_MAY_SKIP is set.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSIDE = "TACTFUL_OFFLINE"
# Loaded by every Python process before anything else.
WATCH = """
import os, sys
def _told(event, given):
    if event == "socket.connect":
        where = given[1]
    elif event == "socket.sendto":
        where = given[1]
    elif event == "socket.getaddrinfo":
        where = given[:2]
    elif event == "socket.sendmsg":
        where = given[1]
    elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
        where = given[0]
    else:
        return
    with open({log!r}, "a") as file:
        file.write(f"{{event}} {{where!r}}\\n")
sys.addaudithook(_told)
with open({log!r}, "a") as file:
    file.write("watched\\n")
"""
# As `repr` writes them, so that no longer name has them in it; a path is a socket on this machine.
_HERE = (
    "'127.0.0.1'",
    "'::1'",
    "'localhost'",
    "'0.0.0.0'",
    "socket.connect '/",
    "socket.connect None",
)
UNSHARE = (["unshare", "--net"], ["unshare", "--net", "--map-root-user"])
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def main() -> None:
    if not os.environ.get(INSIDE):
        found = next((u for u in UNSHARE if shutil.which(u[0]) and works([*u, "true"])), None)
        if found is None:
            print("this machine gives us no network namespace (unshare --net)")
            sys.exit(not os.environ.get("TACTFUL_MAY_SKIP"))
        inside = [*found, sys.executable, __file__]
        sys.exit(subprocess.run(inside, env={**os.environ, INSIDE: "1"}, check=False).returncode)
    raise_loopback()
    require_no_network()
    work = Path(tempfile.mkdtemp(prefix="offline-"))
    try:
        log = work / "connections"
        (work / "watch").mkdir()
        (work / "watch" / "sitecustomize.py").write_text(WATCH.format(log=str(log)), "utf-8")
        os.environ["PYTHONPATH"] = str(work / "watch")
        # Without it, too, nothing may be looked up.
        os.environ.pop("HF_HUB_OFFLINE", None)
        everything(work)
        lines = log.read_text("utf-8").splitlines()
        away = [line for line in lines if line != "watched" and not any(h in line for h in _HERE)]
        watched = lines.count("watched")
        print(
            f"{watched} processes, {len(lines) - watched} connections to this machine or names of it"
        )
        if away or watched < 8:
            sys.exit("\n".join(["not offline:", *sorted(set(away))]))
    finally:
        shutil.rmtree(work)


def works(command: list[str]) -> bool:
    return not subprocess.run(command, capture_output=True, check=False).returncode


def everything(work: Path) -> None:
    """Score, rewrite, files, judging, training, the server and its page."""
    (work / "in.csv").write_text(
        'id,comment\n1,"this patch is garbage"\n2,have a nice day\n', "utf-8"
    )
    (work / "pairs.jsonl").write_text(
        '{"text": "you are an idiot, read it", "ours": "you are wrong, read it"}\n', "utf-8"
    )
    tactful("doctor")
    tactful("score", "you are an idiot")
    tactful("rewrite", "you are an idiot, read the article")
    tactful("rewrite", work / "in.csv", "--column", "comment", "-o", work / "out.parquet")
    pairs = work / "pairs.jsonl"
    tactful("evaluate", pairs, f"ours={pairs}", "--output", work / "report")
    small = ["train.steps=2", "look.rows=4", "train.look_every=0", "train.look_first=false"]
    sets = [part for value in [*small, "warm_start=weights/warm"] for part in ("--set", value)]
    tactful("train", "recipes/smoke.yaml", *sets, "-o", work / "run")
    serve()


def tactful(*given: object) -> None:
    command = [sys.executable, "-m", "tactful", *map(str, given)]
    print("offline: tactful", *given, flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def serve() -> None:
    """The server with its real engine, asked once each way."""
    print("offline: tactful serve", flush=True)
    command = [sys.executable, "-m", "tactful", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = next(
            line["address"]
            for line in map(json.loads, server.stderr)
            if line["event"] == "listening"
        )
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(address + "/readyz", timeout=5).read()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        for route in ("/v1/rewrite", "/v1/score"):
            body = json.dumps({"text": "you are an idiot"}).encode()
            asked = urllib.request.Request(
                address + route, body, {"Content-Type": "application/json"}
            )
            assert urllib.request.urlopen(asked, timeout=60).status == 200
        assert urllib.request.urlopen(address + "/", timeout=5).status == 200
    finally:
        server.terminate()
        server.wait(30)
    if server.returncode:
        sys.exit(f"the server ended with {server.returncode}")


def raise_loopback() -> None:
    """A new namespace has it, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        flags = struct.unpack("16sh14s", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14s", b"lo", flags | _IFF_UP, b""))


def require_no_network() -> None:
    """Else the whole proves nothing."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        sys.exit(f"this is no namespace of its own: it has {', '.join(names)}")


if __name__ == "__main__":
    main()
