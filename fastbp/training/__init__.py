"""The training of a network: optimizers, schedules, epochs and steps, when to stop, what is kept and resumed."""
