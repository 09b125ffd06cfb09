"""Settings shared by all tests."""

from hypothesis import settings

# No deadline: the reference is slow by design and the first call of a kernel compiles it.
# Derandomised: a failure seen once is seen again, on every machine.
settings.register_profile("fastbp", deadline=None, derandomize=True)
settings.load_profile("fastbp")
