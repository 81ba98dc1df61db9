"""Headless Chromium through its devtools protocol, over a pipe: no port, no package."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

# Chromium reads commands from descriptor 3 and answers on 4, each message ended by a zero byte.
_START = "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.execv(sys.argv[1], sys.argv[1:])"


class Browser:
    """One page of a headless Chromium that reaches no network.

    Attributes:
        said: what the page wrote to the console, and the errors that it raised.
        requests: URLs that it asked for, besides its own and data:.
    """

    def __init__(self, profile: Path):
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if binary is None:
            pytest.skip("there is no Chromium here")
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        os.set_inheritable(theirs, True)
        os.set_inheritable(answers, True)
        # high numbers, so that 3 and 4 are free to become the pipe
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START.format(theirs, answers), binary, "--headless",
             "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
             "--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND",
             f"--user-data-dir={profile}", "--no-first-run", "--lang=en-US", "about:blank"],
            pass_fds=(theirs, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(answers)
        self._buffer, self._count = b"", 0
        self.said: list[str] = []
        self.requests: list[str] = []
        self._session = ""
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: Any) -> None:
        os.close(self._out)
        self._process.kill()
        self._process.wait()
        os.close(self._in)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer; events on the way are noted."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._write(json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 120
        while time.monotonic() < until:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
        raise TimeoutError(method)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._out, data) :]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 2**20)
            assert part, "Chromium has ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled":
            self.said.append(str([each.get("value") for each in params["args"]]))
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.requests.append(url)

    def open(self, path: Path, *, width: int = 1100, height: int = 900) -> None:
        """Opens a file, and waits until the page says that it is ready."""
        self.resize(width, height)
        self.send("Page.navigate", url=path.as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def resize(self, width: int, height: int = 900) -> None:
        """Sets the size of the window; a narrow one is that of a telephone."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; an error in it is an AssertionError."""
        made = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < until, f"{condition}: never; {self.said}"
            time.sleep(0.05)

    def frame(self) -> None:
        """Waits until the page has drawn what was asked for."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def key(self, key: str, *, times: int = 1, shift: bool = False) -> None:
        """Presses a key as a keyboard does: 'Tab', 'ArrowLeft', ' ', 'a'."""
        codes = {
            "Tab": 9, "Enter": 13, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
            "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46,
        }  # fmt: skip
        text = {" ": " ", "Enter": "\r"}.get(key, key if len(key) == 1 else "")
        shared = {
            "key": key, "windowsVirtualKeyCode": codes.get(key, ord(key.upper()[0])),
            "code": {" ": "Space"}.get(key, key), "modifiers": 8 if shift else 0,
        }  # fmt: skip
        for _ in range(times):
            kind = "keyDown" if text else "rawKeyDown"
            self.send("Input.dispatchKeyEvent", type=kind, text=text, **shared)
            self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element."""
        x, y = self.middle(selector)
        self.drag([(x, y)])

    def middle(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """A place inside an element, in pixels of the window; scrolls it into view."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height] })()"
        )
        left, top, width, height = found
        return left + across * width, top + down * height

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Presses the mouse at the first point, moves it along the others and lets it go."""
        x, y = points[0]
        button = {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **button)
        for x, y in points[1:]:
            self.send(
                "Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1
            )
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **button)
        self.frame()

    def scheme(self, name: str, *, motion: str = "no-preference") -> None:
        """Sets the preferred colours, 'light' or 'dark', and motion."""
        self.send(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": name},
                {"name": "prefers-reduced-motion", "value": motion},
            ],
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Writes a PNG of the page."""
        made = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))

    def print(self, path: Path) -> None:
        """Writes a PDF of the page."""
        made = self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=False)
        path.write_bytes(base64.b64decode(made["data"]))
