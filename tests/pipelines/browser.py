"""A headless Chromium that opens pages, evaluates scripts and takes screenshots through the DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FIGURES = """
(() => {
  const found = {};
  const visit = (root) => {
    for (const item of root.querySelectorAll("*")) {
      if (item.dataset && item.dataset.figure) found[item.dataset.figure] = item.dataset.value;
      if (item.shadowRoot) visit(item.shadowRoot);
    }
  };
  visit(document);
  return found;
})()
"""
"""Script that returns the figures on the page by name; it also searches the shadow trees of Bokeh's widgets."""

TEXT = """
(() => {
  const parts = [];
  const visit = (root) => {
    for (const item of root.children) {
      if (item.tagName === "STYLE" || item.tagName === "SCRIPT") continue;
      if (item.shadowRoot) visit(item.shadowRoot);
      if (!item.children.length && item.textContent.trim()) parts.push(item.textContent.trim());
      visit(item);
    }
  };
  visit(document.body);
  return parts.join(" | ");
})()
"""


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """An open page of the browser."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.complaints: list[str] = []
        """Errors that the page wrote to its console."""

    async def open(self, url: str) -> None:
        request = HTTPRequest(f"http://127.0.0.1:{self._port}/json/new?{url}", method="PUT", body="")
        answer = json.loads((await AsyncHTTPClient().fetch(request)).body)
        self._socket = await websocket_connect(answer["webSocketDebuggerUrl"], max_message_size=2**27)
        self._number = 0
        await self.ask("Runtime.enable")

    async def ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            text = await asyncio.wait_for(self._socket.read_message(), timeout=60)
            assert text is not None, "the browser has closed the connection"
            message = json.loads(text)
            if message.get("method") == "Runtime.exceptionThrown" or (
                message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] == "error"
            ):
                self.complaints.append(json.dumps(message["params"])[:500])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    async def evaluate(self, script: str) -> Any:
        return (await self.ask("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def wait_for(self, script: str, timeout_s: float = 120.0) -> Any:
        """Wait until the value of a script is true, and return the value."""
        limit = time.monotonic() + timeout_s
        while not (value := await self.evaluate(script)):
            assert time.monotonic() < limit, f"{script} was not true within {timeout_s} s; {self.complaints}"
            await asyncio.sleep(0.2)
        return value

    async def size(self, width: int, height: int | None = None) -> None:
        """Set the size of the window; without a height, the window becomes as tall as the page."""
        height = height or int(await self.evaluate("document.documentElement.scrollHeight")) + 10
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await asyncio.sleep(1)  # until everything is redrawn

    async def screenshot(self, path: Path) -> None:
        answer = await self.ask("Page.captureScreenshot", format="png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser(executable: str, profile: Path) -> Iterator[int]:
    """Start a browser with its own profile, and yield the port of its DevTools."""
    process = subprocess.Popen(
        [
            executable, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
            "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        file, limit = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (file.exists() and file.read_text().strip()):
            assert process.poll() is None, f"{executable} ended with status {process.returncode}"
            assert time.monotonic() < limit, f"{executable} did not start within 60 s"
            time.sleep(0.1)
        yield int(file.read_text().split()[0])
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
