"""Benchmarks: fastbp beside other libraries, each in a process of its own. See README.md in this folder."""
