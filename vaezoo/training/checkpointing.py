"""Checkpoints of training in a folder: a run that was killed goes on as if it had not been.

    fit(vae, digits, steps=100_000, checkpoint="runs/vae", every=1000)

Each is one file, `step-000001000.safetensors`, written while training goes on (see `trees`).
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaezoo.data.counts import as_count
from vaezoo.data.files import unfinished, write_whole
from vaezoo.training.callbacks import Callbacks
from vaezoo.training.errors import ResumeError
from vaezoo.training.locking import locked
from vaezoo.training.state import joined, own_part
from vaezoo.training.training import Training
from vaezoo.training.trees import packed, pieces, read, unpacked

__all__ = ["Checkpoints"]

_NAME = re.compile(r"step-(\d{9,})\.safetensors")  # what is called otherwise is somebody else's


class Checkpoints:
    """The checkpoints of one run, of which the last ones and the best one are kept.

    The best is the one whose last record had the lowest loss, on validation data where there are
    some. A checkpoint is written by a thread of its own from a copy, so that training waits for the
    copy alone; a kill at any moment leaves the one before whole. Of several processes rank 0 reads
    and writes, also what each of them has of its own.

    Args:
        folder: made if it is not there; `~` is your home. One run at a time.
        every: steps between two checkpoints.
        last: how many of the last ones are kept.

    Raises:
        ValueError: every or last is below 1.

    Example:
        >>> import tempfile, torch
        >>> from vaezoo.models import VAE
        >>> from vaezoo.training import fit
        >>> folder, x = tempfile.mkdtemp(), torch.zeros(7, 1, 28, 28)
        >>> for steps in (2, 3):
        ...     history = fit(
        ...         *(VAE(), [x]), steps=steps, log_every=1, progress=False,
        ...         checkpoint=Checkpoints(folder, every=1, last=1),
        ...     )
        >>> history["step"], [path.name for path in Checkpoints(folder, 1).files()]
        ([1, 2, 3], ['step-000000003.safetensors'])
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 1000, *, last: int = 2) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder must be a path, got {folder!r}")
        self.folder = Path(os.path.expanduser(folder)).absolute()  # the working folder may change
        self.every, self.last = as_count("every", every), as_count("last", last)
        self._best: tuple[int, float] | None = None
        self._written, self._thread = -1, threading.Thread()
        self._failed: list[BaseException] = []

    def files(self) -> list[Path]:
        """The checkpoints that are there, the last one at the end."""
        named = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("step-*"))
        return [path for _, path in sorted((int(m[1]), path) for m, path in named if m)]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Checkpoints]:
        """Within it the folder is this run's alone; what a killed process left unfinished goes.

        Raises:
            ResumeError: another process is training into it.
            OSError: the folder cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._failed.clear()  # of a run before
        with locked(self.folder):
            for path in unfinished(self.folder):
                path.unlink(missing_ok=True)
            try:
                yield self
            finally:
                self._join()

    def finish(self) -> None:
        """Wait until the last one is written.

        Raises:
            OSError: it could not be.
        """
        self._join()
        self._raise()

    def resume(self, training: Training, callbacks: Callbacks) -> None:
        """Go on from the last checkpoint; where there is none, see whether there can be.

        Raises:
            ResumeError: it is damaged, or of a run that was started with other arguments or data,
                or with callbacks that are missing now; nothing has changed then.
            TypeError: the data cannot say where they are, or something has a state that no file
                can hold.
        """
        path, state = training.here.first(self._last)
        self._best, self._written = None, -1  # what is known is of a run before
        if path is None:
            packed(self._state(training, callbacks))
            return
        try:
            rank = training.here.world.rank  # of whose callbacks those of others may be some
            matched = callbacks.matched(state["callbacks"], all_of_it=rank == 0)
            own = state.get("ranks", {}).get(str(rank), {})
            with _undone([callback for callback, _ in matched]):
                for callback, part in matched:
                    callback.load_state_dict(part)
                training.load_state_dict(joined(state["training"], own))
            self._best, self._written = state["best"], training.recorder.steps
        except ResumeError as error:
            raise ResumeError(f"{path}: {error}") from error
        except (KeyError, AttributeError) as error:
            raise ResumeError(f"{path} holds no whole state: {error!r}") from error
        except (ValueError, TypeError, RuntimeError) as error:  # such as of data that are others
            raise ResumeError(f"{path}: {error}") from error
        if training.here.world.rank == 0:
            self._keep_some()

    def _last(self) -> tuple[Path | None, Any]:
        """The last checkpoint and what it holds."""
        files = self.files()
        return (files[-1], read(files[-1])) if files else (None, None)

    def write(self, training: Training, callbacks: Callbacks) -> None:
        """Write a checkpoint of training as it is now, unless this step's is there.

        Raises:
            OSError: the one before could not be written.
        """
        step = training.recorder.steps
        if step == self._written:
            return
        self.finish()
        self._judge(training)
        self._written, state = step, self._state(training, callbacks)
        if training.here.world.rank > 0:
            return
        tree, tensors = packed(state)
        self._thread = threading.Thread(target=self._write, args=(step, tree, tensors))
        self._thread.start()

    def _state(self, training: Training, callbacks: Callbacks) -> dict[str, Any]:
        state = training.state_dict()
        # packed, because tensors are copied to the CPU by that
        own = enumerate(training.here.gather(packed(own_part(state))))
        ranks = {str(rank): unpacked(*each) for rank, each in own if rank > 0}
        states = {"training": state, "callbacks": callbacks.state_dict()}
        return states | {"best": self._best, "ranks": ranks}

    def _judge(self, training: Training) -> None:
        history = training.history
        losses = history.get("validation_loss", history.get("loss", []))
        known = math.inf if self._best is None else self._best[1]
        if losses and losses[-1] < known:
            self._best = training.recorder.steps, losses[-1]

    def _write(self, step: int, tree: Any, tensors: dict[str, Any]) -> None:
        try:
            write_whole(self._file(step), pieces(tree, tensors))
            self._keep_some()
        except BaseException as error:  # raised where training waits for it
            self._failed.append(error)

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:09}.safetensors"

    def _keep_some(self) -> None:
        """Remove all but the last ones and the best one."""
        best = None if self._best is None else self._file(self._best[0])
        for path in self.files()[: -self.last]:
            if path != best:
                path.unlink(missing_ok=True)

    def _join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _raise(self) -> None:
        if self._failed:
            raise self._failed.pop()


@contextlib.contextmanager
def _undone(callbacks: list[Any]) -> Iterator[None]:
    """If something fails within it, callbacks are behind it as they were before."""
    before = [copy.deepcopy(callback.state_dict()) for callback in callbacks]
    try:
        yield
    except BaseException:
        for callback, state in zip(callbacks, before, strict=True):
            with contextlib.suppress(Exception):  # one that takes no state at all
                callback.load_state_dict(state)
        raise
