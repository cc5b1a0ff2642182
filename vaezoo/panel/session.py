"""A model under exploration, without any widget: train and pause, swap and undo, compare."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.models import LatentVariableModel
from vaezoo.models.batches import tensor_like
from vaezoo.panel.images import some_images
from vaezoo.panel.menus import Choice, choices, inside, own_parts, table
from vaezoo.panel.paired import Paired, in_pairs
from vaezoo.panel.source import source_of
from vaezoo.panel.standing import members_own, renewed
from vaezoo.panel.stepper import Stepper
from vaezoo.panel.swaps import Swap, as_before, placed, put_back, remember
from vaezoo.panel.trial import Trial
from vaezoo.panel.turns import Turns
from vaezoo.panel.viewer import Viewer
from vaezoo.programs.refusing import check_member
from vaezoo.scopes import own_generator

__all__ = ["Session"]

REST = 0.005  # seconds between pieces; with 0 a kernel answers three times as late
REDRAW = 0.5  # seconds between two looks at the latent space while training
UNDOES = 10


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
        check_member(model, "explore", alike=False)
        self.model, self.data, self.own = model, data, own_parts(parts)
        self.objective: Any = members_own(model, data)
        self.message, self.failed, self._turns = "", False, Turns(self)
        self.changed: Callable[[str], object] = lambda what: None
        self.stepper = Stepper(data, self.say, **options)
        self.swaps, self._new, self._looked = list[Swap](), False, 0.0
        held_out, n = data if validation is None else validation, as_count("images", images)
        self._turns.alone()
        self.viewer = Viewer(model, *some_images(held_out, n, tensor_like(model)))
        self._trial = Trial(data)
        # what is in no menu is to be able to come back
        nameless = [place for place, (_, name, _) in self.menus().items() if not name]
        self.own += [inside(self.model, self.objective, place) for place in nameless]
        self.stepper.notice(model, self.objective)

    @property
    def running(self) -> bool:
        """Whether it is being trained."""
        return bool(self._turns)

    # what is chosen

    def menus(self) -> dict[str, tuple[dict[str, Choice], str, str]]:
        """For each place its menu, and the line and the options that stand there now."""
        return table(self.model, self.objective, self.data, self.own)

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
        made = new is not menu[name].thing
        what = f"{place}: {name}({options or ''})" if options != "" else f"{place}: {name}"
        self.stepper.rest()
        before, looked = remember(what, self.model, self.objective), dict(vars(self.viewer))
        trained = self._trial.fault(self.model, self.objective) is None
        try:
            self.model, self.objective = placed(before, place, new, self.data, made=made)
            self.viewer.model = self.model
            self.viewer.look()
            self.viewer.decoded()
            if trained and (fault := self._trial.fault(self.model, self.objective)):
                raise fault
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
        turn, self._looked = self._turns.begin(), time.perf_counter()
        try:
            while self._turns.has(turn):
                self._notice()
                self.stepper.piece(self.model, self.objective)
                self._show()
                await asyncio.sleep(REST)
        except (Exception, KeyboardInterrupt) as error:
            with contextlib.suppress(Exception):  # of a look at what has gone wrong
                self.pause()
            self.fail(error)
        finally:
            if self._turns.has(turn):
                self.pause()

    def pause(self) -> None:
        """Rest after the present piece; `train` goes on from there."""
        if self.running:
            self._turns.end()
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
        result, x, y = None, self.viewer.x[:images], self.viewer.y
        swaps = self.swaps[-1], remember("now", self.model, self.objective)
        before, now = (functools.partial(as_before, swap) for swap in swaps)
        for result in in_pairs(before, now, x, y, k):
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

    def _notice(self) -> None:
        """See what was assigned in a cell."""
        self.objective = renewed(self.model, self.objective, self.data)
        self._new |= self.stepper.notice(self.model, self.objective)

    def _new_model(self, what: str, *, resized: bool, looked: bool = False) -> None:
        """Go on with a model, and show it once training has: drawing takes longer than a swap."""
        self.stepper.marks.append((self.stepper.step, what))
        self._notice()
        self._new = True
        if self.running:
            self._turns.alone()
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
