"""Origin of a version, verification of its numbers, and comparison of versions."""
