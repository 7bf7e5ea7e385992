"""Benchmarks of time and memory, run by `make bench-...`."""
