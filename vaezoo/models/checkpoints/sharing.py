"""Sharing checkpoints on the Hugging Face Hub: the file of `save`, with a model card beside it.

    push(vae, "me/digits-vae", data="MNIST, binarised at each step", metrics={"ELBO": -98.2})
    load("hf://me/digits-vae")

The package `huggingface_hub` does it, and knows tokens, caches and addresses; it is imported when
it is needed: `pip install 'vaezoo[hub]'`. What comes is checked as any file from a stranger is.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vaezoo.models.checkpoints.saving import save

__all__ = ["SCHEME", "card", "fetched_from_hub", "push"]

SCHEME, FILE = "hf://", "model.safetensors"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(
    model: nn.Module,
    repo: str,
    *,
    data: str = "",
    metrics: Mapping[str, Any] | None = None,
    private: bool = False,
) -> str:
    """Upload a model, as `save` writes it, and its card, as one commit; returns where it is.

    The repository is made if there is none. You must have logged in, by `hf auth login` or the
    environment variable ``HF_TOKEN``.

    Args:
        model: the model, or any part of one.
        repo: "owner/name".
        data: what it was trained on, in words, for the card.
        metrics: what was measured, by name, for the card: numbers, or what `evaluate` returns.
        private: whether a repository that is made is for you alone.

    Raises:
        ImportError: `huggingface_hub` is not installed.
        ValueError: repo is no "owner/name".
        TypeError: the model has an argument that no file can hold (see `save`).
        OSError: the hub refuses, or cannot be reached.
    """
    _check_repo(repo)
    hub = _hub()
    text = card(model, repo, data=data, metrics=metrics)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / FILE)
        (Path(folder) / "README.md").write_text(text, encoding="utf-8")
        api = hub.HfApi(library_name="vaezoo")
        api.create_repo(repo, private=private, exist_ok=True)
        message = f"Upload a {type(model).__name__} of vaezoo"
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    return SCHEME + repo


def card(
    model: nn.Module, repo: str, *, data: str = "", metrics: Mapping[str, Any] | None = None
) -> str:
    """The model card: equations, data, metrics, and how to load the model.

    Example:
        >>> from vaezoo.models import VAE
        >>> lines = card(VAE(), "me/vae", metrics={"ELBO": -98.2}).splitlines()
        >>> [line for line in lines if "p(z)" in line or "ELBO" in line or "= vaezoo" in line]
        ['p(z) = StandardNormal(10)', '| ELBO | -98.2 |', 'model = vaezoo.load("hf://me/vae")']
    """
    equations = getattr(model, "equations", lambda: [repr(model)])()
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in (metrics or {}).items()]
    parts = [
        "---\nlibrary_name: vaezoo\ntags:\n- variational-autoencoder\n- pyro\n---",
        f"# {repo.partition('/')[2]}",
        f"A {type(model).__name__} of vaezoo.",
        _section("Equations", "\n".join(["```", *map(str, equations), "```"])),
        _section("Data", data or "Not said."),
        _section("Metrics", "\n".join(["| metric | value |", "|---|---|", *rows]) if rows else ""),
        _section(
            "How to load it",
            "\n".join(
                ["```python", "import vaezoo", "", f'model = vaezoo.load("{SCHEME}{repo}")', "```"]
            ),
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def fetched_from_hub(address: str) -> Path:
    """The file of an address "hf://owner/name[/file]", in the hub's cache.

    Raises:
        ImportError: `huggingface_hub` is not installed.
        ValueError: it is no such address.
        FileNotFoundError: there is no such repository, or no such file in it.
        ConnectionError: the hub cannot be reached, or refuses.

    Example:
        >>> fetched_from_hub("hf://vae")
        Traceback (most recent call last):
        ...
        ValueError: a repository is named "owner/name", got 'vae'
    """
    owner, *rest = address.removeprefix(SCHEME).split("/", 2)
    repo, file = "/".join([owner, *rest[:1]]), "".join(rest[1:]) or FILE
    _check_repo(repo)
    if {"..", ""} & set(file.split("/")):
        raise ValueError(f"a file in a repository is named by a path within it, got {file!r}")
    hub = _hub()
    try:
        return Path(hub.hf_hub_download(repo, file, library_name="vaezoo"))
    except (hub.errors.RepositoryNotFoundError, hub.errors.RemoteEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise FileNotFoundError(f"no checkpoint at {SCHEME}{repo}/{file} ({reason})") from error
    except Exception as error:  # whatever is between here and there
        reason = str(error).strip().partition("\n")[0]
        what = f"could not fetch {SCHEME}{repo}/{file}: {type(error).__name__} {reason}"
        raise ConnectionError(what) from error


def _check_repo(repo: str) -> None:
    if not isinstance(repo, str) or not _REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f'a repository is named "owner/name", got {repo!r}')


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "sharing models needs the package huggingface_hub: pip install 'vaezoo[hub]'"
        ) from error
    return huggingface_hub
