"""Training: a loop that returns its history, and the step that it takes.

    loop, stepping       `fit`, a loop over `steps`
    training             what `steps` returns: the way of a batch to the updated weights
    preparing            what there is to train, and the mode it is in
    step, untrained      one step: loss, gradients, update; and what a step may change besides
    flags, strangers     what of it is frozen, or in which mode; parameters that come up on the way
    timed_step           one that is compiled where that pays
    optimizers, rates    what takes the step, and how far; a state of it `by_name`
    recorder             writes the `history`, of `means`
    callbacks            what is called at each record
    stopping, logs       callbacks: early stopping, the best weights, a file of records
    checkpointing        checkpoints of a run in a folder
    locking, trees       the folder locked, and their files
    state, settings      all that the steps to come depend on, and what a run was started with
    opened, randomness   the place in the data, and random numbers
    averaging            averages of a model's weights
    weights              copies of a model's weights and buffers
    validation           terms on other data, for each record
    interrupts, errors   the stop button, and the error of a loss that is not finite
    guards               looks at each record: warns of what ails it, of `symptoms` and `rising`
    culprits, raising    what it was that is not finite; a step that raises leaves nothing behind
    processes            several processes, and how they speak to one another
    alone, together      what training and evaluation do differently in one and in several
    shared_step, exchange   their one gradient, and what they tell one another at each step
    loaders, sharing     each one's rows of a batch, and its share of data of any kind

Importing it costs no compiler: a step imports that when it is told to compile.
"""

from vaezoo.training.checkpointing import Checkpoints
from vaezoo.training.errors import NonFiniteLoss, ResumeError, TrainingWarning
from vaezoo.training.logs import Log
from vaezoo.training.loop import fit
from vaezoo.training.rates import one_cycle
from vaezoo.training.stepping import steps
from vaezoo.training.stopping import EarlyStopping, KeepBest

__all__ = [
    "Checkpoints",
    "EarlyStopping",
    "KeepBest",
    "Log",
    "NonFiniteLoss",
    "ResumeError",
    "TrainingWarning",
    "fit",
    "one_cycle",
    "steps",
]
