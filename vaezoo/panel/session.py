"""A model under exploration, without any widget: train and pause, swap and undo, compare."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from vaezoo.bound import default_objective
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.panel.images import some_images
from vaezoo.panel.menus import Choice, choices, own_parts, present
from vaezoo.panel.paired import Paired, in_pairs
from vaezoo.panel.places import places
from vaezoo.panel.source import source_of
from vaezoo.panel.stepper import Stepper
from vaezoo.panel.swaps import Swap, placed, put_back, remember
from vaezoo.panel.viewer import Viewer
from vaezoo.programs.pair import described
from vaezoo.scopes import own_generator

__all__ = ["Session"]

REST = 0.005  # seconds between pieces; with 0 a kernel answers three times as late
REDRAW = 0.5  # seconds between two looks at the latent space while training
UNDOES = 10

_running: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """What a panel shows and does.

    All of it happens on one thread, between pieces of training: a coroutine `train` runs while
    `running`, and every other method may be called whenever it rests.

    Args:
        model: a member of the zoo; it is trained and changed in place.
        data: what it is trained on, as in `fit`.
        validation: images to look at and to compare on; by default the first ones of the data.
        parts: parts, objectives or members of your own to be offered, or classes of them.
        images: how many are looked at.
        options: `lr`, `batch_size` and others of `training.steps`.

    Attributes:
        model, objective: the present ones.
        viewer: the images looked at, their codes, and the code that is decoded.
        stepper: the steps so far, and their terms.
        swaps: what can be undone, the last one at the end.
        message, failed: what was said last, and whether it is an error, with its remedy.
        changed: called with "model", "codes", "step" or "message" after such a change.

    Example:
        >>> from vaezoo import data, models
        >>> session = Session(models.VAE(z_dim=2), data.digits("train"))
        >>> session.swap("prior", "MixtureOfGaussians", "k=5")
        >>> session.model.prior, session.undo(), session.model.prior
        (MixtureOfGaussians(2, k=5), 'prior: MixtureOfGaussians(k=5)', StandardNormal(2))
    """

    def __init__(
        self,
        model: LatentVariableModel,
        data: Data,
        *,
        validation: Data | None = None,
        parts: Iterable[Any] = (),
        images: int = 500,
        **options: Any,
    ) -> None:
        if not isinstance(model, LatentVariableModel):
            raise TypeError(f"explore takes a member of vaezoo.models, got {described(model)}")
        self.model, self.data, self.own = model, data, own_parts(parts)
        self.objective: Any = default_objective(model, data)
        self.running, self.message, self.failed = False, "", False
        self.changed: Callable[[str], object] = lambda what: None
        self.stepper = Stepper(data, self.say, **options)
        self.swaps, self._new, self._looked = list[Swap](), False, 0.0
        held_out, n = data if validation is None else validation, as_count("images", images)
        self._pause_others()
        self.viewer = Viewer(model, *some_images(held_out, n, tensor_like(model)))
        for place, (_, name, _) in self.menus().items():
            if not name:  # it is in no menu, and is to be able to come back
                self.own.append(self._in(place))
        self.stepper.notice(model, self.objective)

    # what is chosen

    def menus(self) -> dict[str, tuple[dict[str, Choice], str, str]]:
        """For each place its menu, and the line and the options that stand there now."""
        found = {}
        for place in places(self.model):
            menu = choices(self.model, place, self.data, self.own)
            found[place] = (menu, *present(menu, self._in(place)))
        return found

    def swap(self, place: str, name: str, options: str | None = None) -> None:
        """Put something else in a place; nothing has changed if it is refused.

        Args:
            place: "member", "objective", or a part by its name.
            name: a line of the menu of that place.
            options: such as "k=50"; those to begin with by default.

        Raises:
            ValueError, TypeError: it does not fit the rest or the data, or the options are not
                its own.
        """
        menu = choices(self.model, place, self.data, self.own)
        if name not in menu:
            raise ValueError(f"{place} can be {', '.join(menu)}, got {name!r}")
        with own_generator():
            new = menu[name].make(options)
        what = f"{place}: {name}({options or ''})" if options != "" else f"{place}: {name}"
        self.stepper.rest()
        before, looked = remember(what, self.model, self.objective), dict(vars(self.viewer))
        try:
            self.model, self.objective = placed(before, place, new, self.data)
            self.viewer.model = self.model
            self.viewer.look()
            self.viewer.decoded()
        except BaseException:
            put_back(before)
            self.model, self.objective = before.model, before.objective
            vars(self.viewer).update(looked)
            raise
        self.swaps = [*self.swaps[1 - UNDOES :], before]
        self._new_model(what, resized=before.model is not self.model, looked=True)

    def undo(self) -> str:
        """Take the last swap back: the model as it was then, to the last weight.

        Raises:
            ValueError: there is none.
        """
        if not self.swaps:
            raise ValueError("there is no swap to undo")
        swap, now = self.swaps[-1], self.model
        self.stepper.close()
        put_back(swap)
        self.swaps.pop()
        self.model, self.objective = swap.model, swap.objective
        self.viewer.model = self.model
        self._new_model("undone", resized=now is not self.model)
        return swap.what

    def source(self) -> str:
        """The code that builds the present model and objective."""
        return source_of(self.model, self.objective)

    # training

    async def train(self) -> None:
        """Train until `pause`, in pieces, or until something goes wrong, which `message` says."""
        if self.running:
            return
        self._pause_others()
        self.running, self._looked = True, time.perf_counter()
        _running.add(self)
        try:
            while self.running:
                self._new |= self.stepper.notice(self.model, self.objective)
                self.stepper.piece(self.model, self.objective)
                self._show()
                await asyncio.sleep(REST)
        except (Exception, KeyboardInterrupt) as error:
            with contextlib.suppress(Exception):  # of a look at what has gone wrong
                self.pause()
            self.fail(error)
        finally:
            self.pause()

    def pause(self) -> None:
        """Rest after the present piece; `train` goes on from there."""
        if self.running:
            self.running = False
            _running.discard(self)
            self.stepper.rest()
            self.changed("step")
            self._looked = 0.0
            self._show()

    def look(self) -> None:
        """Encode the images anew."""
        self._looked = time.perf_counter()
        self.viewer.look()
        self.changed("codes")

    async def compare(self, k: int = 100, images: int = 200) -> Paired:
        """NIWAE-k before the last swap and now, on the same images, in pieces.

        Raises:
            ValueError: there was no swap.
        """
        if not self.swaps:
            raise ValueError("there is no swap to compare with: swap a part, train, then compare")
        now, result = copy.deepcopy(self.model), None
        x, y = self.viewer.x[:images], self.viewer.y
        for result in in_pairs(self.swaps[-1].before, now, x, y, k):
            self.say(str(result))
            await asyncio.sleep(REST)
        assert result is not None
        return result

    def say(self, text: str, *, failed: bool = False) -> None:
        """Show a message."""
        self.message, self.failed = text, failed
        self.changed("message")

    def fail(self, error: BaseException) -> None:
        """Show an error, which says what to do."""
        kind = type(error).__name__
        self.say(f"{kind}: {error}" if str(error) else kind, failed=True)

    def _in(self, place: str) -> Any:
        whole = {"member": self.model, "objective": self.objective}
        return whole[place] if place in whole else getattr(self.model, place)

    def _pause_others(self) -> None:
        """Two that train one model would leave it in one another's mode."""
        for other in list(_running):
            if other is not self and other.model is self.model:
                other.pause()

    def _new_model(self, what: str, *, resized: bool, looked: bool = False) -> None:
        """Go on with a model, and show it once training has: drawing takes longer than a swap."""
        self.stepper.marks.append((self.stepper.step, what))
        self.stepper.notice(self.model, self.objective)
        self._new = True
        self.say("")
        if resized or not self.running:
            self._show(looked=looked)

    def _show(self, *, looked: bool = False) -> None:
        """Show what is due: a new model, the codes now and then, and the steps."""
        if self._new:
            self._new, self._looked = False, time.perf_counter()
            if not looked:
                self.viewer.look()
            self.changed("model")
        elif time.perf_counter() - self._looked > REDRAW:
            self.look()
        self.changed("step")
