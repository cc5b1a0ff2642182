"""What the documents say of quality and speed, measured: each writes JSON and tables to `results/`.

    python -m benchmarks.quality      what members reach by the reference recipe
    python -m benchmarks.speed        steps, epochs, cold starts and evaluation beside `peers`
    python -m benchmarks.agreement    compiled steps against eager ones
    python -m benchmarks.checkpoint_cost    what a checkpoint every 100 steps costs
    python -m benchmarks.choosing     what `fit` chooses by itself, beside both choices
    python -m benchmarks.compiling    where the seconds of a compilation go
    python -m benchmarks.demo         the demo over several seeds
    python -m benchmarks.disentanglement    MIG and DCI where factors are known
    python -m benchmarks.flows        one flow of three libraries
    python -m benchmarks.fuzz         hostile files and arrays, and what came of each
    python -m benchmarks.gradients    signal and noise of the guide's gradients
    python -m benchmarks.kills        runs that are killed and go on, against one that is not
    python -m benchmarks.panel        how soon the panel answers while a VAE trains
    python -m benchmarks.pretrained    the members that ship trained
    python -m benchmarks.processes    two processes against one
    python -m benchmarks.streams      resident memory while images stream
    python -m benchmarks.suite        where the seconds of the tests go
    python -m benchmarks.upstream     faults of Inductor that vaezoo works around, by torch

Run them from the folder that holds this one.
"""
