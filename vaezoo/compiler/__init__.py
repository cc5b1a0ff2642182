"""Training steps as one compiled graph each: traced, rewritten, and handed to torch's Inductor.

`cache` keeps the compiled steps of a bound, one for each kind of batch. `torch._inductor` is slow
to import, and is imported when the first step is compiled.
"""
