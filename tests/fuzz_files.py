"""Mutated files: each is the one error or a valid network, and never a crash, a hang or a large allocation.

``python -m tests.fuzz_files --count 20000 --seed 0`` prints how many files ended how. Half of the mutations are blind:
bits, bytes, cuts and repetitions. The other half know the format and mend the checksum afterwards, so that they get
past it. The memory of the process is limited, so that a hostile size cannot be allocated, and so is the time of a file.
"""

import argparse
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from tests.streams import Drip

try:
    import safetensors
except ImportError:
    safetensors = None

SECONDS_PER_FILE = 60  # usually a millisecond; a busy machine must not make a test fail
MOST_BYTES = 1 << 22  # allocated for a file of some kilobytes, parsed header included
ADDRESS_SPACE = 1 << 31  # beyond what the process has when it begins

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    255,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    int("9" * 4000),
    -(2**63),
    1e308,
    0.5,
)
VALUES = (
    None,
    True,
    False,
    "",
    "F32",
    "relu",
    "softmax",
    "eval",
    "\ud800",
    "\0",
    [],
    {},
    [[]],
    {"custom": "x"},
    *NUMBERS,
)


def originals(folder):
    """Files to begin with: networks of all kinds."""
    nets = [
        bp.Network([1, 1], seed=0),
        bp.Network([3, 5, 2], "tanh", dtype="float32", seed=1, dropout=0.5),
        bp.Network([4, 5, 6, 3], [[("sigmoid", 1), ("tanh", 4)], "silu"], "softmax", "cross_entropy", seed=2),
        bp.Network([2, 3, 3], "relu", [("exp", 1), ("softplus", 2)], "poisson", seed=3, l1_penalty=0.1),
    ]
    contents = []
    for i, net in enumerate(nets):
        path = Path(folder) / f"{i}.safetensors"
        net.save(path)
        contents.append(path.read_bytes())
    return contents


# ---- Blind mutations -------------------------------------------------------------------------------------------------


def flip_bits(content, rng):
    """Flip some bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(content, rng):
    """Overwrite a few bytes in a row."""
    begin, length = rng.randrange(len(content)), rng.randrange(1, 9)
    filler = rng.choice((b"\0", b"\xff", b"9", b"[", b'"', b"{", b"-", rng.randbytes(1)))
    return content[:begin] + filler * length + content[begin + length :]


def cut(content, rng):
    """Cut the end off, or the beginning."""
    place = rng.randrange(len(content))
    return content[:place] if rng.random() < 0.8 else content[place:]


def remove(content, rng):
    """Take some bytes out."""
    begin = rng.randrange(len(content))
    return content[:begin] + content[begin + rng.randrange(1, 65) :]


def insert(content, rng):
    """Put in bytes, random ones or those of another place."""
    place, begin, length = rng.randrange(len(content)), rng.randrange(len(content)), rng.randrange(1, 65)
    more = rng.randbytes(length) if rng.random() < 0.5 else content[begin : begin + length]
    return content[:place] + more + content[place:]


def other_length(content, rng):
    """Another length of the header."""
    return rng.choice([n for n in NUMBERS if isinstance(n, int) and 0 <= n < 2**64]).to_bytes(8, "little") + content[8:]


BLIND = (flip_bits, set_bytes, cut, remove, insert, other_length)


# ---- Mutations that know the format ----------------------------------------------------------------------------------


def split(content):
    """Header, fastbp's own metadata, and data."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["fastbp"]), content[8 + length :]


def join(header, own, data):
    """A file with the checksum that belongs to it, as far as its table makes sense."""
    text = own if isinstance(own, str) else json.dumps(own)
    rows = []
    for name, entry in header.items():
        if name != "__metadata__":
            with contextlib.suppress(Exception):  # an entry without places has no checksum
                begin, end = entry["data_offsets"]
                rows.append([name, entry["dtype"], entry["shape"], zlib.crc32(data[begin:end])])
    with contextlib.suppress(TypeError):  # names are all alike, and then shapes are compared
        rows.sort()
    checksum = f"{zlib.crc32(json.dumps([text, rows]).encode()):08x}"
    encoded = json.dumps(
        {"__metadata__": {"crc32": checksum, "fastbp": text}}
        | header
        | {"__metadata__": {"crc32": checksum, "fastbp": text}}
    ).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def mutated(value, rng):
    """A plain value with something changed somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        changed = dict(value)
        kind = rng.random()
        if kind < 0.05:
            del changed[key]
        elif kind < 0.1:
            changed[rng.choice(("extra", "params", key + "x"))] = changed[key]
        else:
            changed[key] = mutated(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        place, changed = rng.randrange(len(value)), list(value)
        kind = rng.random()
        if kind < 0.1:
            del changed[place]
        elif kind < 0.2:
            changed[place:place] = [changed[place]] * rng.choice((1, 2, 50))
        else:
            changed[place] = mutated(value[place], rng)
        return changed
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        step = rng.choice((-1, 1, 0.5, 1000))
        return value + (step if abs(value) < 2**53 else 1)  # no float holds an integer of 4000 digits
    return rng.choice(VALUES)


def other_description(content, rng):
    """Another description, with the right checksum."""
    header, own, data = split(content)
    return join(header, mutated(own, rng), data)


def other_fields(content, rng):
    """Other fields of the network, with the right checksum."""
    header, own, data = split(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        own["description"] = mutated(own["description"], rng)
    return join(header, own, data)


def other_table(content, rng):
    """Another table of arrays, with the right checksum."""
    header, own, data = split(content)
    table = {name: entry for name, entry in header.items() if name != "__metadata__"}
    changed = mutated(table, rng)
    return join(changed if isinstance(changed, dict) else table, own, data)


def other_numbers(content, rng):
    """Other parameters, NaN and infinity among them, with the right checksum."""
    header, own, data = split(content)
    special = np.array(rng.choice((np.nan, np.inf, -np.inf, 0.0, 5e-324, 1e308)), "f8").tobytes()
    place = rng.randrange(len(data))
    return join(header, own, (data[:place] + rng.choice((special, rng.randbytes(8))) + data[place + 8 :])[: len(data)])


def nested(content, rng):
    """A description that nests deeply."""
    header, own, data = split(content)
    depth = rng.choice((10, 900, 100_000))
    return join(header, json.dumps(own).replace("[", "[" * depth, 1), data)


KNOWING = (other_description, other_fields, other_fields, other_table, other_numbers, nested)


# ---- What becomes of a file ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def limited(seconds):
    """End with a TimeoutError where it takes longer."""

    def stop(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_text(path, text):
    """The error names the file, and is one short readable line."""
    assert text.startswith(f"The file {str(path)!r} cannot be loaded: ")
    assert text.isprintable(), text
    assert len(text) < 600, text
    assert text.endswith((".", "...")), text


def other_doors(path):
    """The same file as bytes, and as an object that does not say how long it is, with the names of errors."""
    content = path.read_bytes()
    return (content, "<bytes>"), (Drip(content), "<Drip>")


def outcome(path, *, mmap):
    """ "error" or "network"; anything else is raised.  As bytes and as a file object it is the same."""
    try:
        net = bp.load(path, mmap=mmap)
    except bp.FileError as error:
        check_text(path, str(error))
        reason = error.reason
    else:
        reason = None
    if reason is not None:
        for source, name in other_doors(path):
            with pytest.raises(bp.FileError) as caught:
                bp.load(source)
            assert caught.value.path == name
            # What is behind the arrays is not counted there, so that another thing may be wrong with the first of them.
            assert caught.value.reason == reason or reason.startswith("its array "), reason
        return "error"
    for source, _ in other_doors(path):
        assert bp.load(source).params.tobytes() == net.params.tobytes()
    assert np.isfinite(net.params).all()
    assert net.params.shape == (net.n_params,)
    if safetensors is not None:
        safetensors.deserialize(path.read_bytes())  # what is a network to fastbp is a file to the library
    assert net.predict(np.zeros((2, net.sizes[0]), net.dtype)).shape == (2, net.sizes[-1])
    return "network"


def fuzz(count, seed, folder, *, memory=True):
    """Mutate and load; return how often each mutation ended how."""
    contents = originals(folder)
    for i in range(len(contents)):  # everything is compiled and imported before memory is looked at
        assert outcome(Path(folder) / f"{i}.safetensors", mmap=False) == "network"
    rng = random.Random(seed)
    found = collections.Counter()
    path = Path(folder) / "mutated.safetensors"
    if memory:
        tracemalloc.start()
    try:
        for number in itertools.takewhile(lambda _: found.total() < count, itertools.count()):
            mutation = rng.choice(rng.choice((BLIND, KNOWING)))
            original = rng.choice(contents)
            content = mutation(original, rng)
            if content == original:
                continue
            path.write_bytes(content)
            if memory:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
            try:
                with limited(SECONDS_PER_FILE):
                    result = outcome(path, mmap=number % 2 == 1)
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"fastbp-fuzz-{seed}-{number}.safetensors"
                kept.write_bytes(content)
                print(f"file {number}, {mutation.__name__}: kept as {kept}", file=sys.stderr)
                raise
            if memory and result == "error":
                peak = tracemalloc.get_traced_memory()[1] - before
                assert peak <= MOST_BYTES + 50 * len(content), f"file {number}, {mutation.__name__}: {peak} bytes"
            found[mutation.__name__, result] += 1
    finally:
        if memory:
            tracemalloc.stop()
    return found


def arguments(description, of_what=None):
    """How many files, and the seed, as the command says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=20_000, help=of_what)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def print_table(found, mutations, what, begin):
    """Print how often each mutation ended how, since a time."""
    print(f"{'mutation':<20}{'error':>8}{'network':>9}")
    for name in dict.fromkeys(mutation.__name__ for mutation in mutations):
        print(f"{name:<20}{found[name, 'error']:>8}{found[name, 'network']:>9}")
    print(f"{sum(found.values())} {what} in {time.perf_counter() - begin:.0f} s: nothing else happened")


def main():
    """Fuzz as the arguments say, and print a table."""
    options = arguments(__doc__)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ImportError):
        import resource  # not on Windows

        bp.Network([1, 1]).predict([[1.0]])
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE,) * 2)
        found = fuzz(options.count, options.seed, folder)
    print_table(found, BLIND + KNOWING, "files", begin)


if __name__ == "__main__":
    main()
