"""Faults of torch's Inductor that vaezoo works around, each as a script of plain torch.

    python -m benchmarks.upstream [python ...]    all, under these interpreters or this one, to JSON

A script exits 1 with one line while the torch at hand has its fault, and 0 when it is gone. When it
is gone in every torch that vaezoo runs on, its workaround in `vaezoo/compiler/inductor.py` can go:

    joined_memory         "inplace_buffers": False in `_settings`
    forgotten_multiple    `_part_multiples`
"""
