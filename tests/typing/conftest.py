"""The programs in this folder are read by type checkers and never run; see ``tests/test_types.py``."""

collect_ignore_glob = ["*.py"]
