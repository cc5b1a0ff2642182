"""A Jupyter server of its own on loopback, and a notebook with one cell in it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

__all__ = ["Server"]

ROOT = Path(__file__).parents[2]
CELL = """\
import torch, vaezoo
from vaezoo import data, models
torch.manual_seed(0)
vae = models.{member}
panel = vaezoo.explore(vae, data.digits("train"), validation=data.digits("test"))
panel"""


class Server:
    """JupyterLab, or Notebook, serving a folder; to be used in a `with` statement.

    Args:
        folder: that it serves, and keeps its settings in.
        app: "jupyterlab" or "notebook".
    """

    def __init__(self, folder: Path, app: str = "jupyterlab") -> None:
        self.folder, self.app, self.token = folder, app, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> Server:
        self.theme("JupyterLab Light")
        kept = {n: str(self.folder / n.lower()) for n in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
        kept["JUPYTER_RUNTIME_DIR"] = str(self.folder / "runtime")
        environment = os.environ | kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["JUPYTERLAB_SETTINGS_DIR"] = str(self.folder / "settings")
        options = [f"--port={self.port}", "--ip=127.0.0.1", "--no-browser", "--allow-root"]
        options += [f"--IdentityProvider.token={self.token}", "--ServerApp.port_retries=0"]
        command = [sys.executable, "-m", self.app, *options, f"--ServerApp.root_dir={self.folder}"]
        self.log = (self.folder / "server.log").open("w")
        self.process = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=self.log, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "server.log").read_text())
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def notebook(self, source: str, name: str = "panel") -> str:
        """The address of a new notebook with this one cell."""
        cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        content = {"cells": [cell | {"execution_count": None, "id": "only"}], "nbformat": 4}
        text = json.dumps(content | {"nbformat_minor": 5, "metadata": kernel})
        (self.folder / f"{name}.ipynb").write_text(text)
        place = f"lab/workspaces/{name}/tree" if self.app == "jupyterlab" else "notebooks"
        return f"http://127.0.0.1:{self.port}/{place}/{name}.ipynb?token={self.token}"

    def theme(self, name: str) -> None:
        """Choose a theme for pages opened from now on; ask for no news."""
        folder = self.folder / "settings/@jupyterlab/apputils-extension"
        folder.mkdir(parents=True, exist_ok=True)
        news = {"fetchNews": "false", "checkForUpdates": False}
        for plugin, settings in (("themes", {"theme": name}), ("notification", news)):
            (folder / f"{plugin}.jupyterlab-settings").write_text(json.dumps(settings))

    def _answers(self) -> bool:
        try:
            address = f"http://127.0.0.1:{self.port}/api?token={self.token}"
            return bool(urllib.request.urlopen(address, timeout=2).status == 200)
        except OSError:
            return False
