"""Functions of whole vectors, held in registers: exponential, logarithm, sine, and what they are made of."""
