"""A browser without a window, to look at pages: Debian's chromium-headless-shell, driven over a pipe.

    python3 -m tests.tools chromium                     fetch and unpack it
    python -m tests.report.chromium PAGE.html FOLDER    pictures at 390, 820 and 1200 pixels, light and dark, and a PDF

It speaks the Chrome DevTools Protocol, JSON documents that end with a zero byte, on its descriptors 3 and 4
(--remote-debugging-pipe).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import tools

WIDTHS = (390, 820, 1200)
"""CSS pixels: a phone, a tablet, a desk."""
SCHEMES = ("light", "dark")
_ENDS = """
import os, sys
ends = [os.dup(os.dup(os.dup(int(end)))) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser wants its two ends of the pipes as 3 and 4. Copies of copies are neither."""
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Browser:
    """One page at a time. What it asks the network for is in `requests`, what it complains of in `complaints`."""

    def __init__(self) -> None:
        top = tools.get("chromium")
        root = top / "root"
        self._folder = tempfile.mkdtemp()
        theirs, ours = os.pipe(), os.pipe()
        command = [
            *(str(root / "usr/lib/chromium/chromium-headless-shell"), "--remote-debugging-pipe", "--no-sandbox"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"),
            *("--no-first-run", f"--user-data-dir={self._folder}", "about:blank"),
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ENDS, str(theirs[0]), str(ours[1]), *command],
            pass_fds=(theirs[0], ours[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": f"{root / _LIBRARIES}:{root / _LIBRARIES / 'pulseaudio'}",
                "FONTCONFIG_FILE": str(top / "fonts.conf"),
                "HOME": self._folder,
            },
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._to, self._from = os.fdopen(theirs[1], "wb", 0), os.fdopen(ours[0], "rb")
        self._number = 0
        self._session = ""
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._to.close()
        self._process.kill()
        self._process.wait()
        self._from.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> Any:
        """What the browser answers. RuntimeError for its errors, EOFError when it has gone."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser has gone")
            data += byte
        message: dict[str, Any] = json.loads(data)
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"]["text"])
        self._loaded = self._loaded or message.get("method") == "Page.loadEventFired"
        return message

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Show a page as a screen of `width` pixels whose owner prefers `scheme`."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._read()

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as JSON."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def print(self) -> bytes:
        """The page on A4 paper, as PDF."""
        done = self.call(
            "Page.printToPDF", preferCSSPageSize=True, printBackground=False, paperWidth=8.27, paperHeight=11.69
        )
        return base64.b64decode(done["data"])


def main() -> int:
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                browser.open(page, width, scheme)
                (folder / f"{page.stem}-{width}-{scheme}.png").write_bytes(browser.picture())
        (folder / f"{page.stem}.pdf").write_bytes(browser.print())
    return 0


if __name__ == "__main__":
    sys.exit(main())
