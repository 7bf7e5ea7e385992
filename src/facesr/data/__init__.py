"""Data from the sources to the batches of a training."""
