"""Where a version comes from, whether its numbers hold, and how two of them compare."""
