"""The one writer of files: the old file or the new one, whatever happens, and nothing that stays for ever."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fastbp as bp
from fastbp.system import whole_files
from fastbp.system.whole_files import Place, write_whole
from tests.fresh import ROOT, run_python

has_locks = pytest.mark.skipif(whole_files._fcntl is None, reason="needs advisory locks")
knows_itself = pytest.mark.skipif(not whole_files._running_system(), reason="the system has no mark")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs what only root may do")
HERE = "c0ffee00"  # the mark of this system, of another one, and that of an unknown one
ELSEWHERE, UNKNOWN = "deadbeef", "0" * 8
DAY = 24 * 3600


@pytest.fixture(autouse=True)
def looks(monkeypatch):
    """Every writer looks for stale files."""
    monkeypatch.setattr(whole_files, "_EVERY", 0.0)
    monkeypatch.setattr(whole_files, "_looked", {})


def write(folder, content=b"new", **how):
    write_whole(Place(str(folder)), "file", lambda file: file.write(content), **how)


def part(mark, number=1):
    """A name as a writer gives it."""
    return f".fastbp-{mark}-{number:016x}.part"


def left(folder, name, age=0.0):
    """A file as a killed process leaves it."""
    path = folder / name
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return path


# ---- What killed processes left --------------------------------------------------------------------------------------


@has_locks
@pytest.mark.parametrize(("name", "age", "stays"), [
    (part(HERE), 0, False),  # no lock: its writer is gone
    (part(ELSEWHERE), 0, True),  # its writer may be at work on another machine, whose locks are not seen here
    (part(ELSEWHERE), DAY - 100, True),
    (part(ELSEWHERE), DAY + 100, False),
    (part(UNKNOWN), 0, True),
    (part(UNKNOWN), DAY + 100, False),
    (".fastbp-0123456789abcdef.part", 0, True),  # of earlier versions
    (".fastbp-0123456789abcdef.part", DAY + 100, False),
    (f"roots.entry.run-{'5a' * 12}.kernel.0123456789abcdef.part", DAY + 100, False),
    (f"roots.entry.run-{'5a' * 12}.kernel", 9 * DAY, True),
    (".fastbp-mine.part", 9 * DAY, True),
    ("fastbp.part", 9 * DAY, True),
    (f"x{part(HERE)}", 9 * DAY, True),
    (f"{part(HERE)}.gz", 9 * DAY, True),
])  # fmt: skip
def test_only_what_is_stale_is_removed(tmp_path, monkeypatch, name, age, stays):
    monkeypatch.setattr(whole_files, "_mark", lambda place: HERE)
    path = left(tmp_path, name, age)
    write(tmp_path)
    assert path.exists() == stays
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(("age", "stays"), [(0, True), (DAY - 100, True), (DAY + 100, False)])
@pytest.mark.parametrize("mark", [HERE, ELSEWHERE])
@pytest.mark.parametrize("locks", ["none", "refused"])
def test_without_locks_age_tells(tmp_path, monkeypatch, locks, mark, age, stays):
    """As on Windows, and on network disks that have none."""
    if locks == "none":
        monkeypatch.setattr(whole_files, "_fcntl", None)
    else:
        monkeypatch.setattr(whole_files, "_lock", lambda handle, exclusive: None)
    monkeypatch.setattr(whole_files, "_mark", lambda place: HERE)
    path = left(tmp_path, part(mark), age)
    write(tmp_path)
    assert path.exists() == stays


@has_locks
@pytest.mark.parametrize("mark", [HERE, ELSEWHERE])
def test_a_file_that_is_being_written_is_never_removed(tmp_path, monkeypatch, mark):
    """However long that takes."""
    monkeypatch.setattr(whole_files, "_mark", lambda place: mark)

    def while_others_write(file):
        file.write(b"first")
        file.flush()
        os.utime(file.fileno(), (0, 0))
        monkeypatch.setattr(whole_files, "_mark", lambda place: HERE)
        for _ in range(3):
            write(tmp_path, b"others")
        thread = threading.Thread(target=write, args=(tmp_path, b"a thread's"))
        thread.start()
        thread.join()
        assert (tmp_path / "file").read_bytes() == b"a thread's"

    write_whole(Place(str(tmp_path)), "file", while_others_write)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]


@has_locks
@knows_itself
def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Another writer may see a new file between its making and its locking."""
    lock, calls = whole_files._lock, []

    def late(handle, *, exclusive):
        if exclusive:
            calls.append(handle)
            if len(calls) == 1:
                whole_files._remove_stale(Place(str(tmp_path)), "", 0.0)
                assert list(tmp_path.iterdir()) == []
            if len(calls) == 2:
                return False  # the other one has a lock, and removes it next
        return lock(handle, exclusive=exclusive)

    monkeypatch.setattr(whole_files, "_lock", late)
    write(tmp_path)
    assert len(calls) == 3
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]


@has_locks
def test_what_only_has_such_a_name_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_files, "_mark", lambda place: HERE)
    (tmp_path / part(HERE, 1)).mkdir()
    (tmp_path / part(HERE, 2)).symlink_to("nowhere")
    os.mkfifo(tmp_path / part(HERE, 3))  # which would be waited for
    if os.geteuid() == 0:
        os.chown(left(tmp_path, part(HERE, 4)), 65534, 65534)
    before = set(tmp_path.iterdir())
    write(tmp_path)
    assert set(tmp_path.iterdir()) == before | {tmp_path / "file"}


def test_a_folder_is_looked_into_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_files, "_EVERY", 1e9)
    looks, names = [], Place.names
    monkeypatch.setattr(Place, "names", lambda place: looks.append(place.path) or names(place))
    monkeypatch.setattr(whole_files, "_MOST_FOLDERS", 3)
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
        for _ in range(3):
            write(folder)
    assert looks == [str(folder) for folder in folders]
    assert len(whole_files._looked) == 1  # more are not remembered


def test_marks_tell_systems_and_disks_apart(tmp_path, monkeypatch):
    place = Place(str(tmp_path))
    marks = {whole_files._mark(place)}
    monkeypatch.setattr(whole_files, "_running_system", lambda: "another boot")
    marks.add(whole_files._mark(place))
    status = os.stat
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([*status(path)[:2], -1, *status(path)[3:10]]))
    marks.add(whole_files._mark(place))
    assert len(marks) == 3
    assert UNKNOWN not in marks
    monkeypatch.setattr(whole_files, "_running_system", lambda: "")
    assert whole_files._mark(place) == UNKNOWN


# Each step of a write, in a child that is killed before or after it.
KILLS = """
import os, signal, tempfile, warnings
from fastbp.system import whole_files
from fastbp.system.whole_files import Place, write_whole
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
whole_files._EVERY = 0.0
OLD, NEW = b"old" * 10_000, b"new" * 100_000
folder = tempfile.mkdtemp()
path = os.path.join(folder, "file")
modes = {None: 0o644, 0o640: 0o640}
os.umask(0o022)

def write(content, mode):
    write_whole(Place(folder), "file", lambda file: file.write(content), mode=mode)

def dies(name, after):
    whole = getattr(os, name)
    def dying(*arguments, **rest):
        if after:
            whole(*arguments, **rest)
        os.kill(os.getpid(), signal.SIGKILL)
    return dying

n_left = n_new = 0
for mode in modes:
    for name in ("open", "dup", "chmod", "fsync", "replace"):
        for after in (False, True):
            if name == "chmod" and mode is None:
                continue
            write(OLD, mode)
            assert os.listdir(folder) == ["file"], os.listdir(folder)  # what the last one left is gone
            child = os.fork()
            if child == 0:
                setattr(os, name, dies(name, after))
                write(NEW, mode)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL, name
            with open(path, "rb") as file:
                found = file.read()
            is_new = name == "replace" and after
            assert found == (NEW if is_new else OLD), (name, after)
            assert os.stat(path).st_mode & 0o777 == modes[mode]
            n_new += is_new
            n_left += len(os.listdir(folder)) - 1
print(n_new, n_left)
"""


@has_locks
@knows_itself
def test_killed_at_every_step():
    """The old file or the new one is there; what is left beside it is removed by the next writer."""
    assert run_python(KILLS) == "2 14\n"


MANY = """
import os, tempfile, warnings
from fastbp.system import whole_files
from fastbp.system.whole_files import Place, write_whole
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
whole_files._EVERY = 0.0
folder = tempfile.mkdtemp()

def write_and_read(number):
    for i in range(200):
        content = f"{number} {i} ".encode() * 500
        write_whole(Place(folder), "file", lambda file: file.write(content), lasts=False)
        with open(os.path.join(folder, "file"), "rb") as file:
            found = file.read().split()
        assert len(found) == 1000 and len(set(found[::2])) == len(set(found[1::2])) == 1

for number in range(4):
    if os.fork() == 0:
        status = 1
        try:
            write_and_read(number)
            status = 0
        finally:
            os._exit(status)
print([os.wait()[1] for _ in range(4)], os.listdir(folder))
"""


@has_locks
def test_many_processes_write_at_once():
    """Each looks for stale files at every write, and finds those of the others."""
    assert run_python(MANY) == "[0, 0, 0, 0] ['file']\n"


# ---- Permissions -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permission bits of a POSIX system")
@pytest.mark.parametrize(("old", "meanwhile"), [(None, 0o640), (0o600, 0o600), (0o644, 0o600), (0o444, 0o600)])
def test_a_file_is_at_no_moment_readable_by_more_than_in_the_end(tmp_path, old, meanwhile):
    modes = []
    mask = os.umask(0o027)
    try:
        write_whole(
            Place(str(tmp_path)), "file", lambda file: modes.append(os.fstat(file.fileno()).st_mode & 0o777), mode=old
        )
    finally:
        os.umask(mask)
    assert modes == [meanwhile]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == (meanwhile if old is None else old)


# ---- Disks -----------------------------------------------------------------------------------------------------------

# Within a name space of its own, so that nobody else sees the disk.
FULL = """
import os, subprocess, sys, warnings
import numpy as np
import fastbp as bp
from fastbp import nielsen2
from fastbp.neural_network import MLPRegressor
from fastbp.system import whole_files
whole_files._EVERY = 0.0
warnings.simplefilter("ignore")  # a fit of one epoch
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], check=True)
path = os.path.join(folder, "file")
X = np.zeros((2, 3))

def regressor(hidden):
    return MLPRegressor(hidden_layer_sizes=(hidden,), max_iter=1, random_state=0).fit(X, X[:, 0])

def fit(hidden):
    bp.Network([3, hidden, 1], seed=0).fit(X, X[:, :1], epochs=1, checkpoint=path)

writers = {
    "network": lambda hidden: bp.Network([3, hidden, 1], seed=0).save(path),
    "onnx": lambda hidden: bp.Network([3, hidden, 1], seed=0).to_onnx(path),
    "estimator": lambda hidden: regressor(hidden).save(path),
    "nielsen2": lambda hidden: nielsen2.Network([3, hidden, 1]).save(path),
    "checkpoint": fit,
}
for name, write in writers.items():
    write(20)
    with open(path, "rb") as file:
        before = file.read()
    try:
        write(40_000)
    except OSError as error:
        with open(path, "rb") as file:
            assert file.read() == before, name
        assert os.listdir(folder) == ["file"], os.listdir(folder)
        print(name, error.strerror)
    os.unlink(path)

# What killed processes left makes the disk full no longer.
stale = os.path.join(folder, f".fastbp-{whole_files._mark(whole_files.Place(folder))}-0123456789abcdef.part")
with open(stale, "wb") as file:
    file.write(bytes(350_000))
bp.Network([3, 5000, 1], seed=0).save(path)
print(os.listdir(folder))
"""


@as_root
@knows_itself
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a disk of its own")
def test_a_disk_that_is_full(tmp_path):
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True)
    if probe.returncode:
        pytest.skip(f"needs to mount a disk: {probe.stderr.decode()}")
    command = ["unshare", "-m", sys.executable, "-W", "error", "-c", FULL, tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert result.returncode == 0, result.stderr
    reason = "No space left on device; the file was not written, and one that was there is as it was"
    kinds = ("network", "onnx", "estimator", "nielsen2", "checkpoint")
    assert result.stdout == "".join(f"{kind} {reason}\n" for kind in kinds) + "['file']\n"


@pytest.mark.parametrize("n_refused", [0, 3, 100])
def test_windows_waits_until_nobody_has_the_old_file_open(tmp_path, monkeypatch, n_refused):
    """A virus scanner closes it soon; a program that has mapped it does not, and the error says so."""
    path = tmp_path / "net.safetensors"
    bp.Network([2, 1], seed=0).save(path)
    before = path.read_bytes()
    waits, rename = [], Place._rename

    def refused(place, old, new):
        if len(waits) < n_refused:
            raise PermissionError(13, "Access is denied")
        rename(place, old, new)

    monkeypatch.setattr(whole_files, "_IS_WINDOWS", True)
    monkeypatch.setattr(whole_files.time, "sleep", waits.append)
    monkeypatch.setattr(Place, "_rename", refused)
    if n_refused < 100:
        bp.Network([2, 1], seed=1).save(path)
        assert path.read_bytes() != before
    else:
        with pytest.raises(PermissionError) as caught:
            bp.Network([2, 1], seed=1).save(path)
        assert str(caught.value).endswith(
            "; the file was not written, and one that was there is as it was; Windows replaces no file that a program "
            f"has open, as `load` with mmap=True does: {str(path)!r}"
        )
        assert path.read_bytes() == before
    assert len(waits) == min(n_refused, 6)
    assert [entry.name for entry in Path(tmp_path).iterdir()] == [path.name]
