"""Networks and estimators saved to file objects, and loaded from them and from bytes: the bits of files by name."""

import bz2
import errno
import gzip
import io
import os
import pickle
import socket
import sys
import tempfile
import threading
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.storage import streams
from fastbp.storage.arrays import read_arrays, write_arrays
from fastbp.system import memory
from tests.saved_files import CUBE, FOLDERS, QUARTIC
from tests.streams import Drip, Sink
from tests.test_wrong_input import check
from tests.twins import same_bits

X = np.random.default_rng(0).normal(size=(30, 3))
LARGE = 300_000  # numbers: more than two chunks


def network(**settings):
    return bp.Network([3, 5, 2], "tanh", seed=0, **settings)


def written(thing):
    """The bytes of a file that was saved by its name."""
    with tempfile.TemporaryDirectory() as folder:
        thing.save(os.path.join(folder, "x"))
        with open(os.path.join(folder, "x"), "rb") as file:
            return file.read()


def estimators():
    settings = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "n_iter_no_change": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield MLPClassifier(**settings).fit(X, np.array(list("abc"))[(X[:, 0] > 0).astype(int)])
        yield MLPRegressor(**settings).fit(X, X[:, :2])


# ---- There and back --------------------------------------------------------------------------------------------------


def zip_member(folder, content):
    """A member of a zip file, which cannot seek while it is written."""
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("net", "w") as member:
        content.save(member)
    with zipfile.ZipFile(folder / "a.zip") as archive, archive.open("net") as member:
        return bp.load(member), archive.read("net")


def compressed(opened):
    def there_and_back(folder, content):
        with opened(folder / "a", "wb") as file:
            content.save(file)
        with opened(folder / "a", "rb") as file:
            loaded = bp.load(file)
        with opened(folder / "a", "rb") as file:
            return loaded, file.read()

    return there_and_back


def unbuffered(folder, content):
    with open(folder / "a", "wb", buffering=0) as file:
        content.save(file)
        assert not file.closed
    with open(folder / "a", "rb", buffering=0) as file:
        loaded = bp.load(file)
        assert not file.closed
    return loaded, (folder / "a").read_bytes()


def appended(folder, content):
    """Behind what is there already; an append cannot go back."""
    (folder / "a").write_bytes(b"before")
    with open(folder / "a", "ab") as file:
        content.save(file)
    with open(folder / "a", "rb") as file:
        file.seek(6)
        return bp.load(file), (folder / "a").read_bytes()[6:]


def memory_buffer(folder, content):
    file = io.BytesIO()
    content.save(file)
    assert file.tell() == len(file.getvalue())
    file.seek(0)
    return bp.load(file), file.getvalue()


def temporary(folder, content):
    with tempfile.NamedTemporaryFile() as file:
        content.save(file)
        file.seek(0)
        loaded = bp.load(file)
        file.seek(0)
        return loaded, file.read()


def drips(folder, content):
    sink = Sink()
    content.save(sink)
    source = Drip(bytes(sink.content))
    return bp.load(source), bytes(sink.content)


class Silent(io.BytesIO):
    """Its `write` returns nothing, as those of some libraries do."""

    def write(self, part):
        super().write(part)


class InNumpy(Sink):
    """Its numbers are NumPy's."""

    def write(self, part):
        return np.int64(super().write(part))


class Views(Drip):
    """What it gives are views of larger items, or with gaps."""

    def read(self, n):
        part = np.frombuffer(super().read(n), np.uint8)
        whole = part.size and part.size % 8 == 0
        return memoryview(part.view(np.int64) if whole else np.repeat(part, 2)[::2])


def in_numpy(folder, content):
    sink = InNumpy()
    content.save(sink)
    return bp.load(Views(bytes(sink.content))), bytes(sink.content)


def silent(folder, content):
    file = Silent()
    content.save(file)
    return bp.load(bytearray(file.getvalue())), file.getvalue()


def views(folder, content):
    file = io.BytesIO()
    content.save(file)
    numbers = np.frombuffer(file.getvalue() + b"x" * (-len(file.getvalue()) % 8), np.uint8)
    return bp.load(memoryview(numbers)[: len(file.getvalue())]), file.getvalue()


WAYS = [
    memory_buffer, unbuffered, appended, temporary, zip_member, compressed(gzip.open), compressed(bz2.open), drips,
    in_numpy, silent, views,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__qualname__.split(".")[0])
@pytest.mark.parametrize("kind", ["network", "large", "classifier", "regressor"])
def test_every_kind_of_file_has_the_bytes_of_one_by_name(way, kind, tmp_path):
    if kind in ("network", "large"):
        content = network() if kind == "network" else bp.Network([LARGE // 4, 3, 1], seed=0, dtype="float32")
        params = content.params
    else:
        content = next(model for model in estimators() if type(model).__name__.lower().endswith(kind))
        params = content.network_.params
    found, bytes_ = way(tmp_path, content)
    assert bytes_ == written(content)
    assert type(found) is type(content)
    loaded = found.params if kind in ("network", "large") else found.network_.params
    assert same_bits(loaded, params)
    assert loaded.flags.carray
    loaded += 1  # which is nobody else's
    if kind == "network":
        found.fit(X, X[:, :2], epochs=1)


def test_bytes_are_not_written_to():
    content = written(network())
    mutable = bytearray(content)
    every_other = memoryview(bytes(np.repeat(np.frombuffer(content, np.uint8), 2)))[::2]
    for source in (content, mutable, memoryview(mutable), every_other):
        bp.load(source).params[:] = 0
    assert content == mutable == written(network())


def test_a_socket():
    """What comes bit by bit and ends when the other side says so."""
    ours, theirs = socket.socketpair()
    net = bp.Network([LARGE // 4, 3, 1], seed=0, dtype="float32")

    def send():
        with theirs, theirs.makefile("wb") as file:
            net.save(file)

    thread = threading.Thread(target=send)
    thread.start()
    with ours, ours.makefile("rb") as file:
        assert same_bits(bp.load(file).params, net.params)
    thread.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have names")
def test_pipes_of_the_system():
    read, write = os.pipe()
    net = network()
    with os.fdopen(write, "wb") as file:
        net.save(file)
    with os.fdopen(read, "rb") as file:
        assert same_bits(bp.load(file).params, net.params)


def test_files_of_earlier_releases():
    for folder in FOLDERS:
        for path in sorted({*folder.glob("*.safetensors")} - {*folder.glob("checkpoint*")}):
            known = {"custom_functions": [CUBE, QUARTIC]}
            expected, found = bp.load(path, **known), bp.load(Drip(path.read_bytes()), **known)
            if path.stem.startswith("pipeline"):
                expected, found = expected.named_steps["network"], found.named_steps["network"]
            expected, found = (getattr(each, "network_", each) for each in (expected, found))
            assert same_bits(found.params, expected.params)


def test_what_else_load_takes():
    class Mine(bp.Network):
        pass

    file = io.BytesIO()
    Mine([3, 2], output=CUBE, seed=0).save(file)
    assert type(bp.load(file.getvalue(), custom_functions=[CUBE], custom_classes=[Mine])) is Mine
    assert type(bp.load(file.getvalue(), custom_functions=[CUBE])) is bp.Network


def test_a_name_is_a_name():
    """What is a path and a file object is a path; a path of bytes is not one."""

    class Both(io.BytesIO):
        def __fspath__(self):
            return self.name

    with tempfile.TemporaryDirectory() as folder:
        both = Both()
        both.name = os.path.join(folder, "x")
        network().save(both)
        assert both.getvalue() == b""
        assert bp.load(both).sizes == (3, 5, 2)
        with open(both.name, "rb") as file:
            content = file.read()
        with open(both.name, "wb") as file:
            file.write(content[:-1])
        with open(both.name, "rb") as file, pytest.raises(bp.FileError) as caught:
            bp.load(file)
        assert caught.value.path == both.name  # an open file has one, and errors say it


# ---- Wrong arguments -------------------------------------------------------------------------------------------------

MODES = "because the file holds bytes; open it with mode"


class OneWay(io.RawIOBase):
    """Neither to read from nor to write to."""


class Gives:
    """A file object whose `read` returns or raises what it is told to."""

    def __init__(self, value):
        self.value = value

    def read(self, n):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Takes(io.RawIOBase):
    """One whose `write` returns what it is told to."""

    def __init__(self, value):
        self.value = value

    def writable(self):
        return True

    def write(self, part):
        return self.value


class Waited:
    """A file object of a library whose methods are to be awaited."""

    async def read(self, n):
        return b""

    async def write(self, part):
        return len(part)


def closed():
    file = io.BytesIO()
    file.close()
    return file


SAVING = [
    (io.StringIO(), TypeError, f"`path` must be a binary file object, {MODES} 'wb'; got StringIO."),
    (closed(), ValueError, "`path` must be an open file object; got a closed BytesIO."),
    (OneWay(), ValueError, "`path` must be writable; got a OneWay that is not. Open it with mode 'wb'."),
    (Takes(0), OSError, f"[Errno {errno.EIO}] `path` must take all bytes; after 0 of {{}} it took no more"),
    (Takes(-1), OSError, f"[Errno {errno.EIO}] `path` must take all bytes; after 0 of {{}} it took no more"),
    (Takes(None), BlockingIOError,
     f"[Errno {errno.EAGAIN}] `path` must be a file object that waits until it can write"),
    *((Takes(value), TypeError,
       "`path` must be a file object whose write returns how many bytes it took, or None for all; Takes.write returned "
       f"{type(value).__name__}.") for value in (True, 3.0, "3")),
    (Waited(), TypeError,
     "`path` must be a file object whose write returns how many bytes it took, or None for all; Waited.write returned "
     "coroutine."),
    (Drip(b""), TypeError,
     "`path` must be the name of a file, a str or os.PathLike[str], or a binary file object to write to; got Drip."),
]  # fmt: skip


@pytest.mark.parametrize(("file", "error", "message"), SAVING, ids=[row[-1][-40:] for row in SAVING])
def test_what_cannot_be_written_to(file, error, message):
    message = message.format(len(written(network())))
    check(lambda: network().save(file), error, message)


LOADING = [
    (io.StringIO("x"), TypeError, f"`path` must be a binary file object, {MODES} 'rb'; got StringIO."),
    (sys.__stdin__, TypeError, f"`path` must be a binary file object, {MODES} 'rb'; got TextIOWrapper."),
    (closed(), ValueError, "`path` must be an open file object; got a closed BytesIO."),
    (OneWay(), ValueError, "`path` must be readable; got a OneWay that is not. Open it with mode 'rb'."),
    (Gives("text"), TypeError, f"`path` must be a binary file object, {MODES} 'rb'; Gives.read returned text."),
    (Gives(3), TypeError, "`path` must be a binary file object; Gives.read returned int in place of bytes."),
    (Waited(), TypeError, "`path` must be a binary file object; Waited.read returned coroutine in place of bytes."),
    (Gives(memoryview(np.zeros(8))), ValueError,
     "`path` must be a file object whose read(n) returns at most n bytes; Gives.read(8) returned 64."),
    (Gives(b"x" * 9), ValueError,
     "`path` must be a file object whose read(n) returns at most n bytes; Gives.read(8) returned 9."),
    (Gives(None), BlockingIOError,
     f"[Errno {errno.EAGAIN}] `path` must be a file object that waits until there are bytes"),
    (Gives(OSError(errno.EIO, "broken")), OSError, f"[Errno {errno.EIO}] broken"),
    (Sink(), TypeError,
     "`path` must be the name of a file, a str or os.PathLike[str], a binary file object or the bytes of a file; got "
     "Sink."),
    (np.zeros(3), TypeError,
     "`path` must be the name of a file, a str or os.PathLike[str], a binary file object or the bytes of a file; got "
     "ndarray."),
]  # fmt: skip


@pytest.mark.parametrize(("file", "error", "message"), LOADING, ids=[row[-1][-40:] for row in LOADING])
def test_what_cannot_be_read_from(file, error, message):
    check(lambda: bp.load(file), error, message)


def test_files_that_are_text_without_saying_so():
    with tempfile.NamedTemporaryFile("w") as file:
        with pytest.raises(TypeError) as caught:
            network().save(file)
        kind = type(file).__name__
        assert str(caught.value).startswith(f"`path` must be a binary file object, {MODES} 'wb'; {kind}.write takes no")
        assert str(caught.value).endswith(".")


def test_mapping_needs_a_name():
    message = "`mmap` must be False for a file object or bytes; got True. Pass the name of a file."
    for source in (written(network()), io.BytesIO(written(network()))):
        check(lambda source=source: bp.load(source, mmap=True), ValueError, message)


def test_nothing_is_written_of_what_cannot_be_saved():
    sink, net = Sink(), network()
    net.params[0] = np.nan
    with pytest.raises(ValueError, match="must be finite to be saved"):
        net.save(sink)
    with pytest.raises(NotFittedError):
        MLPRegressor().save(sink)
    assert not sink.content


# ---- Damaged and hostile files; those of `tests.test_storage` and `tests.fuzz_files` come by this door as well -------


def failing(source, reason, name=None):
    with pytest.raises(bp.FileError) as caught:
        bp.load(source)
    assert caught.value.reason == reason
    assert caught.value.path == (name or f"<{type(source).__name__}>")
    return caught.value


def test_short_reads():
    content = written(network())
    length = int.from_bytes(content[:8], "little")
    failing(b"", "it has 0 bytes; its header would begin after 8.")
    failing(Drip(content[:5]), "it has 5 bytes; its header would begin after 8.")
    failing(io.BytesIO(content[:100]), f"its header should have {length} bytes, and the whole file has 100.")
    n_bytes = len(content) - 8 - length
    failing(
        Drip(content[:-1]), f"it is cut off: its array 'params' ends at byte {n_bytes} of the data, and there are "
        f"{n_bytes - 1}.",
    )  # fmt: skip
    failing(Drip(content + b"\n"), f"its arrays have {n_bytes} bytes, and more follow them.")
    failing(content * 2, f"its arrays have {n_bytes} bytes, and more follow them.")


def test_what_follows_is_not_read():
    """A stream without an end is refused after a byte too many."""
    content = written(network())
    source = Drip(content + b"\0" * 10**7)
    with pytest.raises(bp.FileError, match="and more follow them"):
        bp.load(source)
    assert source.place == len(content) + 1


def test_garbage_without_an_end():
    class Endless:
        def __init__(self, byte):
            self.byte, self.given = byte, 0

        def read(self, n):
            self.given += n
            return self.byte * n

    for byte, reason in (
        (b"\0", "its header is not valid JSON: Expecting value: line 1 column 1 (char 0)."),
        (b"\xff", "its header should have 18446744073709551615 bytes; at most 16777216 are allowed."),
    ):
        source = Endless(byte)
        failing(source, reason)
        assert source.given == 8


def test_broken_archives(tmp_path):
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb") as file:
        network().save(file)
    path.write_bytes(path.read_bytes()[:-20])
    with gzip.open(path) as file:
        failing(
            file, "reading it raised EOFError: Compressed file ended before the end-of-stream marker was reached.",
            name=file.name,
        )  # fmt: skip
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("net", "w") as member:
        network().save(member)
    content = bytearray(path.read_bytes())
    content[400] ^= 1
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive, archive.open("net") as member, pytest.raises(bp.FileError) as caught:
        bp.load(member)
    assert caught.value.path == "net"
    failing(Gives(EOFError()), "reading it raised EOFError.")
    error = failing(Gives(RuntimeError("\x1b[2J")), "reading it raised RuntimeError: \\x1b[2J.")
    assert str(error) == "The file '<Gives>' cannot be loaded: reading it raised RuntimeError: \\x1b[2J."
    assert isinstance(error.__cause__, RuntimeError)
    assert pickle.loads(pickle.dumps(error)).reason == error.reason


@pytest.mark.parametrize("n_bytes", [10**18, 1 << 33])
def test_a_size_that_is_a_lie_takes_no_memory(n_bytes):
    place = f'{{"dtype":"U8","shape":[{n_bytes}],"data_offsets":[0,{n_bytes}]}}'
    own = '{\\"kind\\":\\"network\\",\\"version\\":1,\\"description\\":{}}'
    header = f'{{"__metadata__":{{"fastbp":"{own}","crc32":"00000000"}},"params":{place}}}'.encode()
    content = len(header).to_bytes(8, "little") + header + b"\0" * 5000
    tracemalloc.start()
    try:
        failing(
            Drip(content),
            f"it is cut off: its array 'params' ends at byte {n_bytes} of the data, and there are 5000.",
        )
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_more_than_fits_into_memory(monkeypatch):
    content = written(bp.Network([LARGE, 3, 1], seed=0, dtype="float32"))
    monkeypatch.setattr(memory, "available_memory", lambda: 10)
    monkeypatch.setattr(memory, "_SMALL", 0)
    source = Drip(content, most=1 << 30)
    failing(source, "there is not enough memory for it.")
    assert source.place < 2 * streams._CHUNK  # and no more was read


def test_it_is_read_in_parts():
    """Nobody is asked for all at once, who might take memory for it."""
    source = Drip(written(bp.Network([LARGE, 3, 1], seed=0, dtype="float32")), most=1 << 30)
    bp.load(source)
    assert source.asked == streams._CHUNK


def test_other_kinds_of_files():
    file = io.BytesIO()
    write_arrays(file, "note", 1, {"unit": "m"}, {"x": np.arange(3.0)})
    assert read_arrays(file.getvalue(), {"note": 1}).take("x", (3,), "f8").tolist() == [0, 1, 2]
    failing(file.getvalue(), "it holds a 'note'; expected: classifier, network, pipeline, regressor.")


@pytest.mark.parametrize("seed", range(3))
def test_saving_to_an_object_while_another_thread_trains(seed):
    net = bp.Network([20, 60, 10], seed=seed)
    rows = np.random.default_rng(seed).normal(size=(300, 20))
    thread = threading.Thread(target=lambda: net.fit(rows, rows[:, :10], epochs=60, batch_size=10, seed=0))
    thread.start()
    try:
        for _ in range(30):
            file = io.BytesIO()
            net.save(file)
            bp.load(file.getvalue())
    finally:
        thread.join()
