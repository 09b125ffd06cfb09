"""What the machine and the running program are like: memory, containers, files, the user's line, a progress bar."""
