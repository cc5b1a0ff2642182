"""What every example is given: a checked command line, and images with or without a network."""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vaezoo import data


def command_line(
    description: str | None,
    *,
    full: str,
    built_in: str,
    steps: int,
    z_dim: int,
    batch_size: int = 100,
    lr: float = 1e-3,
    particles_eval: Sequence[int] = (1, 10, 100),
) -> argparse.ArgumentParser:
    """A parser with the options that all examples share; a script adds its own."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or --particles would mean --particles-eval where it is no option
    )
    parser.add_argument(
        "--data",
        choices=["auto", full, built_in],
        default="auto",
        help=f"auto is {full}, downloaded once, or {built_in}, which ship with vaezoo, if it fails",
    )
    _training_options(parser, steps, z_dim, batch_size, lr)
    _evaluation_options(parser, particles_eval)
    return parser


def _training_options(
    parser: argparse.ArgumentParser, steps: int, z_dim: int, batch_size: int, lr: float
) -> None:
    option, output = parser.add_argument, Path("outputs") / Path(sys.argv[0]).stem
    option("--steps", type=count, default=steps, help=f"gradient steps; default {steps:,}")
    option(
        "--batch-size", type=count, default=batch_size, help=f"images a step; default {batch_size}"
    )
    option("--lr", type=positive, default=lr, help=f"Adam's learning rate; default {lr:g}")
    option("--z-dim", type=count, default=z_dim, help=f"size of the code z; default {z_dim}")
    option("--seed", type=seed, default=0, help="of weights, batches and draws; default 0")
    option("--output", type=folder, default=output, help=f"folder to write; default {output}")


def _evaluation_options(parser: argparse.ArgumentParser, particles_eval: Sequence[int]) -> None:
    cuda, ks = torch.cuda.is_available(), " ".join(map(str, particles_eval))
    parser.add_argument(
        "--particles-eval",
        type=count,
        nargs="+",
        metavar="K",
        default=[*particles_eval],
        help=f"the k of NIWAE-k; evaluation takes as long as the largest; default {ks}",
    )
    parser.add_argument(
        "--device",
        type=device,
        default="cuda" if cuda else "cpu",
        metavar="{cpu,cuda}",
        help="default cuda where there is a GPU, else cpu",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="only see that it runs: built-in data, 1,000 to train and 100 to test, 5 steps",
    )


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, cut down where --smoke is among them."""
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.particles_eval = 5, [1, 5]
    return args


class Splits(NamedTuple):
    """Images to train and to test on, and why they are not the full data, if they are not."""

    train: data.Images
    test: data.Images
    fallback: str | None = None


def mnist_or_digits(choice: str, *, smoke: bool = False) -> Splits:
    """MNIST, or the 10,000 digits that ship with vaezoo, said loudly if nobody asked for them."""

    def built_in() -> Splits:
        return Splits(data.digits("train"), data.digits("test"))

    if smoke:
        return Splits(built_in().train[:1000], built_in().test[:100])
    if choice == "digits":
        return built_in()
    return _or_else(
        lambda: Splits(data.mnist("train"), data.mnist("test")),
        built_in if choice == "auto" else None,
        "NOT THE FULL MNIST: these are the 10,000 digits that ship with vaezoo (2,000 to test on). "
        "Few images are soon learnt by heart, so all numbers will be worse than with the full "
        "60,000, and are not to be compared with published ones.",
    )


def svhn_or_colour_digits(choice: str, mat: Path | None = None, *, smoke: bool = False) -> Splits:
    """SVHN (or a file of it, its last tenth to test on), or coloured scenes made from digits."""

    def built_in() -> Splits:
        return Splits(data.colour_digits("train", n=60_000), data.colour_digits("test"))

    def full() -> Splits:
        if mat is None:
            return Splits(data.svhn("train"), data.svhn("test"))
        images = data.svhn(file=mat)
        cut = len(images) - max(2, len(images) // 10)
        return Splits(images[:cut], images[cut:])

    if smoke:
        return Splits(data.colour_digits("train", n=1000), data.colour_digits("test", n=100))
    if choice == "colour-digits":
        return built_in()
    return _or_else(
        full,
        built_in if choice == "auto" and mat is None else None,
        "NOT SVHN: these are 60,000 coloured scenes (2,000 to test on) made from the 10,000 digits "
        "that ship with vaezoo. They have SVHN's shape and spirit, but no number for them is to "
        "be compared with one for SVHN.",
    )


def _or_else(
    full: Callable[[], Splits], built_in: Callable[[], Splits] | None, warning: str
) -> Splits:
    try:
        return full()
    except (ConnectionError, FileNotFoundError, ModuleNotFoundError) as error:
        if built_in is None:
            raise SystemExit(f"error: {error}") from error
        _notice(warning, *str(error).splitlines(), "Once that is mended, just run this again.")
        return built_in()._replace(fallback=str(error))
    except (OSError, ValueError) as error:  # there, but damaged or not readable: yours to mend
        raise SystemExit(f"error: {error}") from error


def _notice(*paragraphs: str) -> None:
    wrap = textwrap.TextWrapper(84, break_long_words=False, break_on_hyphens=False).wrap
    lines = [line for paragraph in paragraphs for line in wrap(paragraph)]
    width = max(map(len, lines))
    rule = "*" * (width + 4)
    print(rule, *(f"* {line:{width}} *" for line in lines), rule, sep="\n", file=sys.stderr)


def count(text: str) -> int:
    """A whole number of at least 1."""
    return int(_number(text, int, lambda n: n >= 1, "a whole number of at least 1"))


def seed(text: str) -> int:
    """A whole number that PyTorch takes as a seed."""
    return int(_number(text, int, lambda n: 0 <= n < 2**63, "a whole number of at least 0"))


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, lambda a: 0 < a < math.inf, "a number above 0")


def weight(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, float, lambda a: 0 <= a < math.inf, "a number of at least 0")


def tens(text: str) -> int:
    """A positive multiple of 10: as many of each digit."""
    wanted = "a positive multiple of the 10 classes"
    return int(_number(text, int, lambda n: n >= 10 and n % 10 == 0, wanted))


def folder(text: str) -> Path:
    """A folder that is there or can be made."""
    path = Path(text)
    if any(p.exists() and not p.is_dir() for p in (path, *path.parents)):
        raise argparse.ArgumentTypeError(f"must be a folder, and {text!r} leads to a file")
    return path


def file(text: str) -> Path:
    """A file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"must be a file, and there is none at {text!r}")
    return Path(text)


def device(text: str) -> str:
    """Cpu, or cuda where there is one."""
    if text not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"must be cpu or cuda, got {text!r}")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch sees no GPU here (torch.cuda.is_available())")
    return text


def _number(
    text: str, kind: type[int] | type[float], fits: Callable[[float], bool], wanted: str
) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value
