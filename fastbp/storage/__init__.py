"""Networks in files: named arrays and plain values, written whole or not at all, read without trust."""
