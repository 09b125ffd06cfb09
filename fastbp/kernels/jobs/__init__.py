"""How the threads of a call share the work: by rows, by neurons or by inputs; and what the leading thread does."""
