"""Sharing on the Hugging Face Hub: against a server on this machine that speaks the few endpoints."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from zoo import member, refused

from vaezoo import load, models, push, save
from vaezoo.models.checkpoints.sharing import card, fetched_from_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HAS_HUB = importlib.util.find_spec("huggingface_hub") is not None
needs_hub = pytest.mark.skipif(not HAS_HUB, reason="needs huggingface_hub, of the extra hub")


class Hub(BaseHTTPRequestHandler):
    """Repositories in memory: made, committed to in one go, and read."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        store: dict[str, dict[str, bytes]] = self.server.repos  # type: ignore[attr-defined]
        if self.path == "/api/repos/create":
            given = json.loads(content)
            repo = f"{given.get('organization') or 'me'}/{given['name']}"
            store.setdefault(repo, {})
            self._json({"url": f"http://{self.headers['Host']}/{repo}"})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            self._json(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for f in files
                    ]
                }
            )
        elif "/commit/" in self.path:
            repo = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    store[repo][value["path"]] = base64.b64decode(value["content"])
            url = f"http://{self.headers['Host']}/{repo}/commit/{COMMIT}"
            self._json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self._json({"errors": [], "warnings": []})

    def do_HEAD(self) -> None:
        self._send(body=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self._json({"id": "me/vae", "sha": COMMIT, "siblings": []})
        else:
            self._send(body=True)

    def _send(self, *, body: bool) -> None:
        owner, name, _, _, file = self.path.lstrip("/").split("/", 4)
        store: dict[str, dict[str, bytes]] = self.server.repos  # type: ignore[attr-defined]
        content = store.get(f"{owner}/{name}", {}).get(file)
        if content is None:
            known = f"{owner}/{name}" in store
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{abs(hash(content)):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repos = {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_stub")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


# in a process of its own, because the hub reads its address when it is imported
SHARE = """
import sys, torch, vaezoo
from vaezoo import load, models, priors

assert "huggingface_hub" not in sys.modules
torch.manual_seed(0)
vae = models.VAE((1, 4, 4), 3, hidden=(8,))
vae.prior = priors.MixtureOfGaussians(3, k=4)
print(vaezoo.push(vae, "me/vae", data="noise", metrics={"ELBO": -11.25}))
same = load("hf://me/vae")
assert repr(same.prior) == repr(vae.prior)
assert all(torch.equal(t, same.state_dict()[n]) for n, t in vae.state_dict().items())
assert repr(load("hf://me/vae/model.safetensors")) == repr(vae)
for address in ("hf://me/vae/other.safetensors", "hf://me/nothing"):
    try:
        load(address)
    except FileNotFoundError as error:
        print(error)
"""


@needs_hub
def test_a_model_goes_there_and_comes_back(hub: Any) -> None:
    """Bitwise, with the prior that it was given after it was made, and a card that says so."""
    command = [sys.executable, "-c", SHARE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "hf://me/vae"
    assert said[1].startswith("no checkpoint at hf://me/vae/other.safetensors")
    assert said[2].startswith("no checkpoint at hf://me/nothing/model.safetensors")
    assert sorted(hub.repos["me/vae"]) == ["README.md", "model.safetensors"]
    text = hub.repos["me/vae"]["README.md"].decode()
    for part in ("p(z) = MixtureOfGaussians(3, k=4)", "noise", "| ELBO | -11.25 |", "hf://me/vae"):
        assert part in text


@pytest.mark.skipif(HAS_HUB, reason="huggingface_hub is there")
def test_without_the_package() -> None:
    for call in (lambda: push(member("VAE"), "me/vae"), lambda: load("hf://me/vae")):
        with pytest.raises(ImportError, match=r"pip install 'vaezoo\[hub\]'"):
            call()


def test_the_file_is_that_of_save(tmp_path: Path) -> None:
    """Loaded from where `push` would have put it."""
    vae = member("VAE")
    path = save(vae, tmp_path / "model.safetensors")
    assert all(torch.equal(t, load(path).state_dict()[n]) for n, t in vae.state_dict().items())


def test_a_card_of_a_part_and_of_awkward_metrics() -> None:
    text = card(nn.Linear(1, 1), "me/x", metrics={"a|b\nc": "1\n## no", "d": 1 / 3})
    assert "Linear(in_features=1, out_features=1, bias=True)" in text
    assert "| a\\|b c | 1 ## no |" in text
    assert "| d | 0.333333 |" in text
    assert "| metric |" not in card(models.VAE(), "me/x")


test_bad_addresses = refused(
    [
        (lambda: push(member("VAE"), "vae"), ValueError, "named \"owner/name\", got 'vae'"),
        (lambda: push(member("VAE"), "../etc"), ValueError, "owner/name"),
        (lambda: load("hf://"), ValueError, "owner/name"),
        (lambda: load("hf://me"), ValueError, "owner/name"),
        (lambda: load("hf://me/.."), ValueError, "owner/name"),
        (lambda: load("hf://me/vae/../../passwd"), ValueError, "path within it"),
        (lambda: fetched_from_hub("hf://me/vae//etc/passwd"), ValueError, "path within it"),
    ]
)
