"""Helpers of the test suite: tiny models, broken files, vocabulary fixtures, child processes."""
