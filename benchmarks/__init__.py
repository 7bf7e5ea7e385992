"""Measurements of time and memory; `make bench-...` runs them. They are no tests."""
