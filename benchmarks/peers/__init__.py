"""Peers of a training step: one task, the same weights, the same batches, n steps at a time.

A peer is a function that takes n steps of Adam at 1e-3 and returns the last loss in nats per image.
`handwritten` imports torch alone, as its cold start is measured, so that nothing is imported here.
"""
