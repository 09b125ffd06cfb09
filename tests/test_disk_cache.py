"""The disk cache of the kernels can only help, whatever happens to its files and folders."""

import os
import shutil
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.kernels import disk_cache, jit
from tests.fresh import ROOT, run_python

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
FOUND, COMPILED = "found", "compiled"


@pytest.fixture
def use(monkeypatch):
    """A function that uses a small root as a fresh process would, and says whether it was found in the cache.

    Keywords are environment variables; a FASTBP_CACHE_DIR is always among them.
    """

    def use_toy(folder, **environment):
        for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in {"FASTBP_CACHE_DIR": folder, **environment}.items():
            monkeypatch.setenv(variable, str(value))
        disk_cache.cache_folder.cache_clear()

        def toy(x):
            return 2.0 * x[0]

        root = jit.root(toy)
        assert root(np.array([3.0])) == 6.0
        hits, misses = sum(root.stats.cache_hits.values()), sum(root.stats.cache_misses.values())
        assert hits + misses == 1
        return FOUND if hits else COMPILED

    yield use_toy
    disk_cache.cache_folder.cache_clear()


def files_in(folder):
    """The cache's files."""
    return sorted(Path(folder).rglob("*.kernel"))


# ---- Files ---------------------------------------------------------------------------------------------------------


def test_a_fresh_process_compiles_nothing():
    net = bp.Network([2, 3, 1], seed=0)
    expected, _ = net.value_and_grad([[1.0, 2.0]], [[1.0]])
    code = f"""
from numba.core import event
import fastbp as bp
from fastbp.kernels import entry
net = bp.Network([2, 3, 1], seed=0)
with event.install_recorder("numba:compile") as recorder:
    cost, _ = net.value_and_grad([[1.0, 2.0]], [[1.0]])
    net.fit([[1.0, 2.0]], [[1.0]], epochs=1)
assert cost == {expected!r}
print(len(recorder.buffer), sum(entry.run.stats.cache_hits.values()), sum(entry.run.stats.cache_misses.values()))
"""
    assert run_python(code) == "0 1 0\n"


def test_the_second_use_finds_the_file_of_the_first(use, tmp_path):
    assert [use(tmp_path), use(tmp_path), use(tmp_path)] == [COMPILED, FOUND, FOUND]
    assert [path.name for path in (tmp_path / "fastbp").iterdir()] == [path.name for path in files_in(tmp_path)]
    assert len(files_in(tmp_path)) == 1


DAMAGES = {
    "empty": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0",
    "one-bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "other-digest": lambda content: b"\0" * 32 + content[32:],
    "text": lambda content: b"not a kernel",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again(use, tmp_path, damage):
    use(tmp_path)
    (path,) = files_in(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]


def test_something_else_in_the_place_of_a_file(use, tmp_path):
    use(tmp_path)
    (path,) = files_in(tmp_path)
    path.unlink()
    path.mkdir()
    assert [use(tmp_path), use(tmp_path)] == [COMPILED, COMPILED]


def test_a_whole_file_that_cannot_be_unpickled(use, tmp_path):
    """As one of another version of Numba may be."""
    use(tmp_path)
    (path,) = files_in(tmp_path)
    payload = b"\x80\x05cno_such_module\nKernel\n."
    path.write_bytes(disk_cache.hashlib.sha256(payload).digest() + payload)
    assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]


def test_a_kernel_of_other_sources_or_versions_is_not_used(use, tmp_path, monkeypatch):
    use(tmp_path)
    with monkeypatch.context() as changed:
        changed.setattr(disk_cache, "source_stamp", lambda: "another version")
        assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]
    assert use(tmp_path) == FOUND
    assert len(files_in(tmp_path)) == 2


def test_a_kernel_of_another_processor_is_not_used(use, tmp_path, monkeypatch):
    use(tmp_path)
    with monkeypatch.context() as changed:
        changed.setattr(numba.core.codegen.JITCPUCodegen, "magic_tuple", lambda self: ("another", "processor"))
        assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]
    assert use(tmp_path) == FOUND


@pytest.mark.parametrize("name", ["updates.py", "jit.py"])
def test_every_edit_of_a_kernel_makes_another_stamp(tmp_path, name):
    package = tmp_path / "fastbp"
    shutil.copytree(ROOT / "fastbp", package, ignore=shutil.ignore_patterns("__pycache__"))
    edited = package / "kernels" / name
    edited.write_text(edited.read_text(encoding="utf-8") + "\n# an edit\n", encoding="utf-8")
    code = "from fastbp.kernels import disk_cache; print(disk_cache.__file__, disk_cache.source_stamp())"
    file, stamp = run_python(code, folder=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path)
    assert stamp != disk_cache.source_stamp()


# ---- Folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def below_a_file(tmp_path):
    """A folder that cannot be made."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "folder"


def test_no_folder_at_all(use, below_a_file, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(below_a_file))
    everywhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), below_a_file)
    assert [use(below_a_file, **everywhere) for _ in range(2)] == [COMPILED, COMPILED]
    assert disk_cache.cache_folder() is None


def test_no_home(use, below_a_file, tmp_path, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert [use(below_a_file), use(below_a_file)] == [COMPILED, FOUND]
    (folder,) = tmp_path.glob("fastbp-*")  # a private folder for temporary files
    assert folder.stat().st_mode & 0o077 == 0 or os.name != "posix"


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_a_folder_that_cannot_be_made_is_passed_over(use, below_a_file, tmp_path, variable):
    settings = {variable: tmp_path / "cache"}
    assert [use(below_a_file, **settings), use(below_a_file, **settings)] == [COMPILED, FOUND]
    assert files_in(tmp_path / "cache")


def test_a_read_only_folder_is_passed_over(use, tmp_path, monkeypatch):
    (tmp_path / "read-only" / "fastbp").mkdir(parents=True, mode=0o700)
    access = os.access  # whoever is root may write anywhere: the test must say no itself
    monkeypatch.setattr(os, "access", lambda path, mode: "read-only" not in str(path) and access(path, mode))
    settings = {"XDG_CACHE_HOME": tmp_path / "cache"}
    assert [use(tmp_path / "read-only", **settings) for _ in range(2)] == [COMPILED, FOUND]
    assert not files_in(tmp_path / "read-only")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX's rights")
def test_a_folder_that_others_may_write_to_is_passed_over(use, tmp_path):
    """What lies there is executed."""
    shared = tmp_path / "shared" / "fastbp"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    use(tmp_path / "shared", XDG_CACHE_HOME=tmp_path / "cache")
    assert not files_in(shared)
    assert files_in(tmp_path / "cache")


@pytest.mark.parametrize("function", ["os.replace", "os.fdopen", "tempfile.mkstemp"])
def test_a_full_disk(use, tmp_path, monkeypatch, function):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function, full)
    assert use(tmp_path) == COMPILED
    assert not files_in(tmp_path)
    assert function != "os.replace" or not list((tmp_path / "fastbp").iterdir())  # nothing half-written stays


def test_a_file_that_cannot_be_opened_leaves_nothing_open_and_nothing_behind(tmp_path, monkeypatch):
    handles = []

    def fail(handle, mode):
        handles.append(handle)
        raise MemoryError

    monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(MemoryError):
        disk_cache.KernelCache._write(tmp_path / "x.kernel", b"content")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])


def test_a_cache_that_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    disk_cache.cache_folder.cache_clear()
    try:
        cache = disk_cache.KernelCache(test_a_cache_that_is_switched_off)
        assert cache.cache_path == str(tmp_path / "fastbp")
        cache.disable()
        cache.save_overload(None, None)
        assert cache.load_overload(None, numba.core.registry.cpu_target.target_context) is None
        cache.enable()
        (tmp_path / "fastbp" / f"{cache._name}-1.kernel").write_bytes(b"")
        cache.flush()
        assert not files_in(tmp_path)
    finally:
        disk_cache.cache_folder.cache_clear()
