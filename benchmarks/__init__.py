"""Ratios of speed and memory, each pair measured in one run on the same input: `python -m
benchmarks`.
"""
