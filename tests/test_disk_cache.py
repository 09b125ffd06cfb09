"""The disk cache of the kernels can only help, whatever happens to its files and folders."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.config import _OptLevel

import fastbp as bp
from fastbp.kernels.compiler import cache_folders, disk_cache, jit
from tests.fresh import ROOT, run_python

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
FOUND, COMPILED = "found", "compiled"
has_users = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX's rights")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
NOBODY = 65534


@pytest.fixture
def use(monkeypatch):
    """A function that uses a small root as a fresh process would, and says whether it was found in the cache.

    Keywords are environment variables; a FASTBP_CACHE_DIR is always among them.
    """
    monkeypatch.setattr(cache_folders, "_said", set())

    def use_toy(folder, **environment):
        for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in {"FASTBP_CACHE_DIR": folder, **environment}.items():
            monkeypatch.setenv(variable, str(value))

        def toy(x):
            return 2.0 * x[0]

        root = jit.root(toy)
        assert root(np.array([3.0])) == 6.0
        hits, misses = sum(root.stats.cache_hits.values()), sum(root.stats.cache_misses.values())
        assert hits + misses == 1
        return FOUND if hits else COMPILED

    return use_toy


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
from fastbp.kernels.roots import entry
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


# Of numba.config: what each is set to by the environment variable of that name, NUMBA_DEBUGINFO for DEBUGINFO_DEFAULT.
OPTIONS = {
    "OPT": (_OptLevel(0), _OptLevel("max")),
    "LOOP_VECTORIZE": (0,),
    "SLP_VECTORIZE": (1,),
    "DEBUGINFO_DEFAULT": (1,),
    "BOUNDSCHECK": (0, 1),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_kernel_of_other_compiler_options_is_not_used(use, tmp_path, monkeypatch, option):
    use(tmp_path)
    for value in OPTIONS[option]:
        with monkeypatch.context() as changed:
            changed.setattr(numba.config, option, value)
            assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]
        assert use(tmp_path) == FOUND
    assert len(files_in(tmp_path)) == 1 + len(OPTIONS[option])


TOY = """
import os
import numpy as np
from fastbp.kernels.compiler import jit
def toy(x):
    return 2.0 * x[0]
def use():
    root = jit.root(toy)
    assert root(np.array([3.0])) == 6.0
    return "found" if sum(root.stats.cache_hits.values()) else "compiled"
"""


def test_a_kernel_that_was_compiled_without_optimisation_is_not_used_with_it(tmp_path):
    outputs = [
        run_python(TOY + "print(use())", FASTBP_CACHE_DIR=str(tmp_path), NUMBA_OPT=level)
        for level in ("0", None, "0", None)
    ]
    assert outputs == ["compiled\n", "compiled\n", "found\n", "found\n"]


KERNELS = ROOT / "fastbp" / "kernels"
# One file of each room, by its path in the kernels' folder.
ONE_OF_EACH_ROOM = [
    max(room.glob("*.py")).relative_to(KERNELS).as_posix()
    for room in sorted(KERNELS.iterdir())
    if any(room.glob("*.py"))
]


@pytest.mark.parametrize("name", [*ONE_OF_EACH_ROOM, "__init__.py", "more/again/new.py"])
def test_every_edit_of_a_kernel_makes_another_stamp(tmp_path, name):
    package = tmp_path / "fastbp"
    shutil.copytree(ROOT / "fastbp", package, ignore=shutil.ignore_patterns("__pycache__"))
    edited = package / "kernels" / name
    edited.parent.mkdir(parents=True, exist_ok=True)
    before = edited.read_text(encoding="utf-8") if edited.exists() else ""
    edited.write_text(before + "\n# an edit\n", encoding="utf-8")
    code = "from fastbp.kernels.compiler import disk_cache; print(disk_cache.__file__, disk_cache.source_stamp())"
    file, stamp = run_python(code, folder=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path)
    assert stamp != disk_cache.source_stamp()


def test_a_root_whose_leaf_was_edited_is_compiled_again(tmp_path):
    """The leaf is in another room: old code would give the old result."""
    kernels = tmp_path / "fastbp" / "kernels"
    shutil.copytree(ROOT / "fastbp", kernels.parent, ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("upper", "lower"):
        (kernels / room).mkdir()
        (kernels / room / "__init__.py").write_text("")
    leaf = kernels / "lower" / "leaves.py"
    source = "from fastbp.kernels.compiler.jit import leaf\n@leaf\ndef times(x):\n    return 2.0 * x\n"
    (kernels / "upper" / "roots.py").write_text(
        "from fastbp.kernels.compiler.jit import root\nfrom fastbp.kernels.lower.leaves import times\n"
        "@root\ndef run(x):\n    return times(x[0])\n"
    )
    program = (
        "import numpy as np; from fastbp.kernels.upper.roots import run\n"
        "print(run(np.array([3.0])), sum(run.stats.cache_hits.values()))"
    )
    outputs = []
    for text in (source, source, source.replace("2.0", "5.0")):
        leaf.write_text(text)
        outputs.append(run_python(program, folder=tmp_path, FASTBP_CACHE_DIR=str(tmp_path / "cache")))
    assert outputs == ["6.0 0\n", "6.0 1\n", "15.0 0\n"]


# ---- Folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def below_a_file(tmp_path):
    """A folder that cannot be made."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "folder"


def no_temporary_folder():
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp', '/usr/tmp', '/']")


@has_users
@pytest.mark.parametrize("temporary", [False, True], ids=["no-temporary-folder", "not-to-be-made"])
def test_no_folder_at_all(use, below_a_file, monkeypatch, caplog, temporary):
    gettempdir = (lambda: str(below_a_file / "t")) if temporary else no_temporary_folder
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    everywhere = {"HOME": below_a_file, "XDG_CACHE_HOME": below_a_file / "x", "NUMBA_CACHE_DIR": below_a_file / "n"}
    assert [use(below_a_file, **everywhere) for _ in range(2)] == [COMPILED, COMPILED]
    assert disk_cache.KernelCache(no_temporary_folder).cache_path == ""
    tried = [below_a_file / "fastbp", below_a_file / "n" / "fastbp", below_a_file / "x" / "fastbp"]
    tried += [below_a_file / "t" / f"fastbp-{os.geteuid()}"] if temporary else []
    assert caplog.messages == [
        *(f"{path} is passed over as a place for compiled kernels: Not a directory." for path in tried),
        "Compiled kernels can be kept nowhere, so each process compiles them again. The environment variable "
        "FASTBP_CACHE_DIR names a folder for them, which must belong to the user or to root.",
    ]
    assert {(record.name, record.levelname) for record in caplog.records} == {
        ("fastbp.kernels.cache_folders", "WARNING")
    }


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


@has_users
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_to_is_passed_over(use, tmp_path, caplog, mode):
    """What lies there is executed."""
    shared = tmp_path / "shared" / "fastbp"
    use(tmp_path / "shared")  # a kernel is there
    shared.chmod(mode)
    settings = {"XDG_CACHE_HOME": tmp_path / "cache"}
    assert [use(tmp_path / "shared", **settings) for _ in range(2)] == [COMPILED, FOUND]
    assert len(files_in(shared)) == len(files_in(tmp_path / "cache")) == 1
    assert caplog.messages == [
        f"{shared} is passed over as a place for compiled kernels: others than its owner may write to it, mode "
        f"{mode:o}; `chmod go-w` cures that."
    ]


@has_users
@pytest.mark.parametrize(("of_folder", "of_file"), [(0o700, 0o600), (0o750, 0o640), (0o755, 0o644)])
def test_who_may_read_a_folder_may_read_its_files(use, tmp_path, of_folder, of_file):
    umask = os.umask(0o077)
    try:
        (tmp_path / "fastbp").mkdir()
        (tmp_path / "fastbp").chmod(of_folder)
        use(tmp_path)
    finally:
        os.umask(umask)
    (path,) = files_in(tmp_path)
    assert path.stat().st_mode & 0o777 == of_file


@has_users
def test_only_a_folder_that_the_user_names_is_made_for_others_as_well(use, tmp_path, below_a_file):
    umask = os.umask(0o002)
    try:
        use(tmp_path / "named")
        use(below_a_file, XDG_CACHE_HOME=tmp_path / "own")
    finally:
        os.umask(umask)
    modes = [(tmp_path / name / "fastbp").stat().st_mode & 0o777 for name in ("named", "own")]
    assert modes == [0o755, 0o700]


@has_users
def test_a_file_that_others_may_write_to_is_passed_over(use, tmp_path, caplog):
    use(tmp_path)
    (path,) = files_in(tmp_path)
    path.chmod(0o666)
    assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]  # it is written again
    assert caplog.messages == [
        f"{path} is passed over as a place for compiled kernels: others than its owner may write to it, mode 666; "
        "`chmod go-w` cures that."
    ]


@has_users
def test_a_link_in_the_place_of_a_file_is_passed_over(use, tmp_path):
    use(tmp_path)
    (path,) = files_in(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert [use(tmp_path), use(tmp_path)] == [COMPILED, FOUND]
    assert not path.is_symlink()


@as_root
def test_what_belongs_to_somebody_else_is_passed_over(use, tmp_path, caplog):
    folder, settings = tmp_path / "theirs" / "fastbp", {"XDG_CACHE_HOME": tmp_path / "own"}
    use(tmp_path / "theirs")
    (path,) = files_in(folder)
    os.chown(path, NOBODY, NOBODY)  # a file that somebody left while everybody could write to the folder
    assert [use(tmp_path / "theirs") for _ in range(2)] == [COMPILED, FOUND]
    os.chown(folder, NOBODY, NOBODY)
    assert [use(tmp_path / "theirs", **settings) for _ in range(2)] == [COMPILED, FOUND]
    assert caplog.messages == [
        f"{place} is passed over as a place for compiled kernels: it belongs to user {NOBODY}, and neither to this "
        "one, 0, nor to root."
        for place in (path, folder)
    ]


@as_root
def test_a_folder_that_is_exchanged_after_the_first_look_is_passed_over(use, tmp_path):
    named, settings = tmp_path / "named", {"XDG_CACHE_HOME": tmp_path / "own"}
    assert [use(named, **settings) for _ in range(2)] == [COMPILED, FOUND]
    shutil.copytree(named / "fastbp", tmp_path / "theirs")
    for path in (tmp_path / "theirs", *(tmp_path / "theirs").iterdir()):
        os.chown(path, NOBODY, NOBODY)
    (named / "fastbp").rename(named / "moved")
    (named / "fastbp").symlink_to(tmp_path / "theirs")
    assert [use(named, **settings) for _ in range(2)] == [COMPILED, FOUND]
    assert len(files_in(tmp_path / "own")) == 1


@pytest.fixture
def open_folder(monkeypatch):
    """A folder that every user can enter, unlike pytest's, with one for temporary files; nobody has a home."""
    folder = Path(tempfile.mkdtemp())
    (folder / "temporary").mkdir()
    folder.chmod(0o755)
    (folder / "temporary").chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    monkeypatch.setenv("HOME", "/nonexistent")
    for variable in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    yield folder
    shutil.rmtree(folder)


# As root at first, so that whatever Python reads of its own is read.
BECOME = f"""
def become(user={NOBODY}):
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
"""


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_what_root_compiled_is_read_by_others(open_folder, mode):
    """As in a container that was built by root and runs as somebody else."""
    code = f"""
print(use(), use())
os.chmod({str(open_folder / "fastbp")!r}, {mode})
become()
print(use(), use())
"""
    assert run_python(TOY + BECOME + code, FASTBP_CACHE_DIR=str(open_folder)) == "compiled found\nfound found\n"


@as_root
@pytest.mark.parametrize("owner", [0, NOBODY])
def test_what_cannot_be_written_to_one_folder_goes_to_the_next(open_folder, owner):
    named, own = open_folder / "named", open_folder / "own"
    for folder in (named / "fastbp", own):
        folder.mkdir(parents=True)
        os.chown(folder, owner if folder != own else NOBODY, NOBODY)
    (named / "fastbp").chmod(0o555)
    code = f"""
os.environ["FASTBP_CACHE_DIR"] = {str(named)!r}
os.environ["XDG_CACHE_HOME"] = {str(own)!r}
become()
print(use(), use())
"""
    elsewhere = f"os.environ['FASTBP_CACHE_DIR'] = {str(open_folder / 'first')!r}; use(), use()\n"
    assert run_python(TOY + BECOME + elsewhere + code) == "compiled found\n"
    assert not files_in(named)
    assert len(files_in(own)) == 1


@pytest.mark.parametrize("function", ["os.replace", "os.chmod", "os.open"])
def test_a_full_disk(use, tmp_path, monkeypatch, caplog, function):
    whole = getattr(os, function.removeprefix("os."))

    def full(path, *arguments, **rest):
        if function == "os.open" and not arguments[0] & os.O_CREAT:
            return whole(path, *arguments, **rest)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function, full)
    assert use(tmp_path) == COMPILED
    assert list((tmp_path / "fastbp").iterdir()) == []  # nothing half-written stays
    assert caplog.messages == [
        f"{tmp_path / 'fastbp'} is passed over as a place for compiled kernels: No space left on device."
    ]


@has_users
def test_a_file_that_cannot_be_written_leaves_nothing_open_and_nothing_behind(tmp_path, monkeypatch):
    handles = []

    def fail(handle):
        handles.append(handle)
        raise MemoryError

    with cache_folders.Folder(tmp_path) as folder, monkeypatch.context() as patched:
        patched.setattr(os, "dup", fail)
        with pytest.raises(MemoryError):
            folder.write("x.kernel", b"content")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])


@has_users
def test_what_is_passed_over_is_not_left_open(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "file").mkdir()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(PermissionError):
            cache_folders.Folder(tmp_path / "shared")
        with cache_folders.Folder(tmp_path) as folder, pytest.raises(IsADirectoryError):
            folder.read("file")
    assert len(os.listdir("/dev/fd")) == before


# ---- Old files -----------------------------------------------------------------------------------------------------

DAY = 24 * 3600.0


def kernel(number):
    """A name as a kernel's file has it."""
    return f"roots.entry.run-{number:024x}.kernel"


@pytest.fixture
def crowded(tmp_path, monkeypatch):
    """A folder with room for six kernels, and its ten, the first of which was used last."""
    monkeypatch.setattr(cache_folders, "_MOST_KERNELS", 6)
    now = time.time()
    for number in range(10):
        (tmp_path / kernel(number)).write_bytes(b"content")
        os.utime(tmp_path / kernel(number), (now - number * DAY,) * 2)
    return tmp_path


def numbers_in(folder):
    """Of the kernels that are there."""
    return {int(path.name.split("-")[1].split(".")[0], 16) for path in files_in(folder)}


def test_kernels_that_were_used_longest_ago_are_removed(crowded):
    with cache_folders.Folder(crowded) as folder:
        folder.write(kernel(100), b"content")
    assert numbers_in(crowded) == {100, 0, 1, 2, 3, 4}


def test_kernels_that_were_used_lately_are_kept_however_many_there_are(crowded):
    """They may be another version's, which is used as well."""
    for path in files_in(crowded):
        os.utime(path, (time.time() - 2.9 * DAY,) * 2)
    with cache_folders.Folder(crowded) as folder:
        folder.write(kernel(100), b"content")
    assert numbers_in(crowded) == {100, *range(10)}


@has_users
def test_reading_a_kernel_is_using_it(crowded):
    """On a disk that does not write down who reads as well."""
    with cache_folders.Folder(crowded) as folder:
        assert folder.read(kernel(9)) == b"content"
        status = (crowded / kernel(9)).stat()
        assert status.st_mtime > time.time() - DAY
        folder.read(kernel(9))
        assert (crowded / kernel(9)).stat().st_mtime == status.st_mtime  # once an hour is enough
        folder.write(kernel(100), b"content")
    assert numbers_in(crowded) == {100, 9, 0, 1, 2, 3}


def test_only_kernels_are_removed(crowded):
    others = ["notes", "x.kernel", f"{kernel(1)}~", ".fastbp", kernel(1).upper()]
    for name in others:
        (crowded / name).write_text("")
        os.utime(crowded / name, (0, 0))
    (crowded / kernel(50)).mkdir()  # in the place of one
    os.utime(crowded / kernel(50), (0, 0))
    with cache_folders.Folder(crowded) as folder:
        folder.write(kernel(100), b"content")
    assert {*others, kernel(50)} <= {path.name for path in crowded.iterdir()}


def test_another_process_removes_them_as_well(crowded, monkeypatch):
    status, remove = cache_folders.Place.status, cache_folders.Place.remove

    def gone_when_looked_at(place, name):
        if name == kernel(9):
            (crowded / name).unlink(missing_ok=True)
        return status(place, name)

    def gone_when_removed(place, name):
        (crowded / name).unlink(missing_ok=True)
        remove(place, name)

    monkeypatch.setattr(cache_folders.Place, "status", gone_when_looked_at)
    monkeypatch.setattr(cache_folders.Place, "remove", gone_when_removed)
    with cache_folders.Folder(crowded) as folder:
        folder.write(kernel(100), b"content")
        with pytest.raises(FileNotFoundError):
            folder.read(kernel(9))
    assert len(files_in(crowded)) <= 6


def test_the_names_of_kernels_are_those_that_are_removed(use, tmp_path):
    use(tmp_path)
    for path in [*files_in(tmp_path), *Path(disk_cache.KernelCache(use).cache_path).glob("*")]:
        assert cache_folders._KERNEL.fullmatch(path.name), path


def test_a_cache_that_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    cache = disk_cache.KernelCache(test_a_cache_that_is_switched_off)
    assert cache.cache_path == str(tmp_path / "fastbp")
    cache.disable()
    cache.save_overload(None, None)
    assert cache.load_overload(None, numba.core.registry.cpu_target.target_context) is None
    cache.enable()
    (tmp_path / "fastbp" / f"{cache._name}-1.kernel").write_bytes(b"")
    (tmp_path / "fastbp" / "another-1.kernel").write_bytes(b"")
    cache.flush()
    assert [path.name for path in files_in(tmp_path)] == ["another-1.kernel"]
