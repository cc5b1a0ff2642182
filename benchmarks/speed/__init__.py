"""Speed of steps, epochs, cold starts and evaluation beside peers: `python -m benchmarks.speed`.

What runs in a process of its own is timed from its start, so that nothing is imported here.
"""
