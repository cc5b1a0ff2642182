"""Training steps of a bound as one compiled graph each.

1. `cache` has the bound run the first batch of a shape eagerly, and hands the second to `trials`;
   where `wrappers` are around a call it runs eagerly too.
2. `tracing` records the step as a graph; `reads` of values are refused, `writes` are undone, and
   what is `scheduled` is an input.
3. `trials` compares graph and program on another batch, and the `state` that the program keeps in
   Python, at the `places` and in the `containers` where Python keeps things, with that from before;
   by `names` in code that is not that of `libraries` it knows what to watch.
4. `guards` note what the step was made from; before each later step `cache` asks if they hold.
5. `compiled_step` looks whether the graph, with the update of `adam` behind its gradients, is
   `kept` on disk; if not, `orders` makes one graph of both, `whole_step`, and has it compiled,
   here or `beside` in another process. The update is torch's, by the operator of `fused_adam`; on a
   GPU it is operations of the graph, by `adam_in_graph`.
6. `inductor` rewrites the graph by `passes`, whose products may be `onednn`'s, and compiles it,
   draws kept in order by `noise` and sums of rows by `rows`; `capture` keeps what came of it, made
   `portable`. The `first_update` is held against Adam's, and the `first_run` against the graph; on
   a GPU later ones `replay` what was recorded of one.
7. `choice` says whether all this pays, of which training and evaluation ask it.

What fails on the way is a warning with its `reasons`, and the bound runs eagerly. Who imports whom:

    cache → trials, compiled_step → guards, beside → orders → whole_step → adam, adam_in_graph
    trials, guards → tracing, state;  tracing → reads → writes;  tracing → scheduled
    trials, state → places, names → libraries;  state → containers
    adam, adam_in_graph, whole_step, beside → tracing;  whole_step, kept → fused_adam
    compiled_step → first_update, first_run, replay;  cache → wrappers
    orders → kept, inductor (late: slow to import) → noise, rows, one_file, passes → onednn
    inductor → capture → kept, portable;  kept → onednn
"""
