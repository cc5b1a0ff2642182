"""What members reach by the reference recipe: `python -m benchmarks.quality`."""
