"""Training: a loop that returns its history, and the step that it takes.

    loop                 `fit`, and the way of a batch through it
    step, untrained      one step: loss, gradients, update; and what a step may change besides
    optimizers, rates    what takes the step, and how far
    recorder             writes the `history`, of `means`
    validation           terms on other data, for each record
    interrupts, errors   the stop button, and the error of a loss that is not finite
    processes            several processes, and how they speak to one another
    alone, together      what training and evaluation do differently in one and in several
    shared_step, loaders their one gradient, and each one's rows of a batch

Importing it costs no compiler: a step imports that when it is told to compile.
"""

from vaezoo.training.errors import NonFiniteLoss
from vaezoo.training.loop import fit

__all__ = ["NonFiniteLoss", "fit"]
