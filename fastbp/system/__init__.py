"""What the machine and the running program are like: memory, containers, the user's line, a progress bar."""
