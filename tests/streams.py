"""File objects as there are none in Python's library: they do little, or little at a time."""


class Drip:
    """Nothing but `read`, which gives a few bytes however many are wanted."""

    def __init__(self, content, most=4097):
        self.content, self.most, self.place, self.asked = content, most, 0, 0

    def read(self, n):
        """Return some of the bytes."""
        self.asked = max(self.asked, n)
        part = self.content[self.place : self.place + min(n, self.most)]
        self.place += len(part)
        return part


class Sink:
    """Nothing but `write`, which takes a few bytes however many are given."""

    def __init__(self, most=4097):
        self.content, self.most = bytearray(), most

    def write(self, part):
        """Take some of the bytes, and return how many."""
        assert type(part) is bytes
        self.content += part[: self.most]
        return min(len(part), self.most)
