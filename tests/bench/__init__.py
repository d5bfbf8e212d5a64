"""Benchmarks: minillm beside its peers, in one run. ``python -m tests.bench --help`` says how."""
