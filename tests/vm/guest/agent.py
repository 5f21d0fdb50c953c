"""Runs in the guest: does what the host says over a virtio-serial port, one JSON document a line.

Host to guest: {"id", "run": shell text, "env": {}}, {"id", "signal": number}, {"id", "read": path},
{"id", "write": path, "data": text}, {"id", "put": path, "data": base64, "mode": number}, {"power": "off" or "cut"}.
Guest to host: {"hello": kernel release}, {"id", "out" or "err": text}, {"id", "exit": status, "seconds": number},
{"id", "error": name of an errno, "data": text}.

Only the standard library is used, and little of it: starting Python is what costs here.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import signal
import subprocess
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

NAME = "rig.agent"


def find_port() -> str:
    base = "/sys/class/virtio-ports"
    for port in os.listdir(base):
        with open(f"{base}/{port}/name") as f:
            if f.read().strip() == NAME:
                return f"/dev/{port}"
    raise SystemExit("no virtio port " + NAME)


class Agent:
    def __init__(self, port: str) -> None:
        self.fd = os.open(port, os.O_RDWR)
        self.lock = threading.Lock()
        self.jobs: dict[int, subprocess.Popen[bytes]] = {}

    def send(self, **document: object) -> None:
        data = json.dumps(document).encode() + b"\n"
        with self.lock:
            while data:
                data = data[os.write(self.fd, data) :]

    def lines(self) -> Iterator[bytes]:
        """What the host sends; ends when it hangs up."""
        pending = b""
        while True:
            chunk = os.read(self.fd, 1 << 16)
            if not chunk:
                return
            *whole, pending = (pending + chunk).split(b"\n")
            yield from whole

    def run(self, number: int, text: str, env: dict[str, str]) -> None:
        start = time.monotonic()
        job = subprocess.Popen(
            ["/bin/bash", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            start_new_session=True,
        )
        self.jobs[number] = job
        assert job.stdout is not None and job.stderr is not None

        def copy(stream: IO[bytes], kind: str) -> None:
            while chunk := os.read(stream.fileno(), 1 << 16):
                self.send(id=number, **{kind: chunk.decode("utf-8", "surrogateescape")})

        errors = threading.Thread(target=copy, args=(job.stderr, "err"))
        errors.start()
        copy(job.stdout, "out")
        errors.join()
        status = job.wait()
        self.send(id=number, exit=status if status >= 0 else 128 - status, seconds=time.monotonic() - start)

    def direct(self, number: int, order: dict[str, Any]) -> None:
        """Reads and writes that need no process of their own."""
        data = ""
        try:
            if "read" in order:
                with open(order["read"], "rb", buffering=0) as f:
                    data = f.read().decode("utf-8", "surrogateescape")
            elif "write" in order:
                fd = os.open(order["write"], os.O_WRONLY)
                try:
                    os.write(fd, order["data"].encode())
                finally:
                    os.close(fd)
            elif "put" in order:
                os.makedirs(os.path.dirname(order["put"]), exist_ok=True)
                with open(order["put"], "wb") as f:
                    f.write(base64.b64decode(order["data"]))
                os.chmod(order["put"], order["mode"])
        except OSError as e:
            self.send(id=number, error=errno.errorcode.get(e.errno or 0, "?"), data="")
        else:
            self.send(id=number, error="", data=data)

    def serve(self) -> None:
        self.send(hello=os.uname().release)
        for line in self.lines():
            order = json.loads(line)
            if "power" in order:
                if order["power"] == "off":
                    os.sync()
                with open("/proc/sysrq-trigger", "w") as f:
                    f.write("o" if order["power"] == "off" else "b")
            elif "run" in order:
                threading.Thread(target=self.run, args=(order["id"], order["run"], order["env"]), daemon=True).start()
            elif "signal" in order:
                job = self.jobs.get(order["job"])
                if job:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(job.pid, signal.Signals(order["signal"]))
            else:
                threading.Thread(target=self.direct, args=(order["id"], order), daemon=True).start()


Agent(find_port()).serve()
