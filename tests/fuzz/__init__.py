"""Fuzzing with a budget of time."""
