"""Whose folders and files of compiled kernels are believed: what lies there is executed."""

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import numba
import pytest

from fastbp.kernels.compiler import cache_folders
from fastbp.kernels.compiler.cache_folders import Folder
from fastbp.system import whole_files
from tests.fresh import run_python
from tests.test_disk_cache import TOY

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX's rights")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs several users")
compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
VICTIM, ATTACKER = 54321, 65534


@pytest.fixture
def place(tmp_path):
    """Folders a/b, to which only their owner may write; what is on the way to them is trusted in any case."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        folder.chmod(0o755)
    return tmp_path / "a"


@pytest.fixture
def open_folder():
    """A folder that every user can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def reason_against(path):
    with pytest.raises(PermissionError) as caught, Folder(path):
        pass
    return str(caught.value)


# ---- Folders on the way ----------------------------------------------------------------------------------------------


def test_a_folder_and_those_above_it_are_made(place):
    mask = os.umask(0o002)
    try:
        for mode in (0o700, 0o755):
            with Folder(place / f"{mode:o}" / "c" / "fastbp", mode) as folder:
                assert folder.is_writable
            for path in (f"{mode:o}", f"{mode:o}/c", f"{mode:o}/c/fastbp"):
                assert stat.S_IMODE((place / path).stat().st_mode) == mode, path
    finally:
        os.umask(mask)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_nothing_is_believed_below_a_folder_that_others_may_write_to(place, mode):
    """They can rename what is in it, and put something else there."""
    place.chmod(mode)
    message = f"others than its owner may write to {place}, mode {mode:o}; `chmod go-w {place}` cures that"
    for path in (place / "b", place / "b" / "fastbp", place / "new" / "fastbp"):
        assert reason_against(path) == message
    assert [path.name for path in place.rglob("*")] == ["b"]


def test_below_a_folder_for_all_nobody_can_rename_what_is_not_his_own(place):
    place.chmod(0o1777)
    with Folder(place / "b" / "fastbp") as folder:
        assert folder.is_writable
    assert reason_against(place).startswith("others than its owner may write to it, mode 1777; ")


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_nothing_is_believed_or_made_below_a_folder_of_somebody_else(place, mode):
    """As where root keeps a user's HOME: what root makes there, the user's own programs could not write to."""
    place.chmod(mode)
    os.chown(place, VICTIM, VICTIM)
    message = f"{place} belongs to user {VICTIM}, and neither to this one, 0, nor to root"
    assert reason_against(place / ".cache" / "fastbp") == reason_against(place / "b") == message
    assert [path.name for path in place.rglob("*")] == ["b"]


def test_a_path_from_where_the_program_is(place, monkeypatch):
    monkeypatch.chdir(place / "b")
    for path in ("fastbp", "./fastbp/", "../b//fastbp", f"{place}/b/../b/fastbp"):
        with Folder(Path(path)) as folder:
            folder.write("x", path.encode())
            assert (place / "b" / "fastbp" / "x").read_bytes() == path.encode()
    place.chmod(0o777)
    assert reason_against(Path("fastbp")).startswith(f"others than its owner may write to {place}, ")


def test_a_program_whose_folder_is_gone(place, monkeypatch):
    monkeypatch.chdir(place / "b")
    (place / "b").rmdir()
    with Folder(place / "fastbp") as folder:
        assert folder.names() == []
    with pytest.raises(FileNotFoundError):
        Folder(Path("fastbp"))
    monkeypatch.chdir(place)


def test_what_is_no_folder(place):
    (place / "file").write_text("")
    os.mkfifo(place / "pipe")  # which would be waited for
    for path in ("file", "file/fastbp", "pipe", "pipe/fastbp"):
        with pytest.raises(NotADirectoryError):
            Folder(place / path)


def test_nothing_stays_open(place):
    (place / "link").symlink_to("loop")
    (place / "loop").symlink_to("link")
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            Folder(place / "link")
        with Folder(place / "b") as folder:
            folder.write("x", b"")
            assert len(os.listdir("/dev/fd")) == before + 1
    assert len(os.listdir("/dev/fd")) == before


def test_a_system_without_descriptors_of_folders(place, monkeypatch):
    """As Windows, where a home is its user's own; and without locks and permissions by descriptor."""
    monkeypatch.setattr(cache_folders, "HAS_HANDLES", False)
    monkeypatch.setattr(whole_files, "_fcntl", None)
    monkeypatch.setattr(whole_files, "_MODE_BY_HANDLE", False)
    with Folder(place / "c" / "fastbp") as folder:
        assert folder.is_writable
        for content in (b"old", b"new"):
            folder.write("x", content)
        assert folder.read("x") == b"new"
        assert folder.names() == ["x"]
        assert stat.S_IMODE((place / "c" / "fastbp" / "x").stat().st_mode) == 0o600
        folder.remove("x")
        assert folder.names() == []
    (place / "b").chmod(0o777)
    assert reason_against(place / "b") == "others than its owner may write to it, mode 777; `chmod go-w` cures that"


# ---- Links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["disk/there", "b/../disk//there", "absolute"])
def test_a_cache_that_its_owner_moved(place, target):
    """To another disk, by way of a link in its old place."""
    there = place / "disk" / "there"
    there.mkdir(parents=True)
    there.parent.chmod(0o755)
    there.chmod(0o755)
    (place / "link").symlink_to(there if target == "absolute" else target)
    (place / "to link").symlink_to("link")
    with Folder(place / "to link") as folder:
        folder.write("x", b"content")
        assert folder.read("x") == (there / "x").read_bytes() == b"content"
    there.parent.chmod(0o777)  # what holds of the way to a link holds of the way from it
    assert reason_against(place / "link").startswith(f"others than its owner may write to {there.parent}, mode 777; ")


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_link_of_somebody_else_is_not_followed(place, mode):
    place.chmod(mode)
    (place / "link").symlink_to("b")
    os.lchown(place / "link", ATTACKER, ATTACKER)
    message = f"the link {place / 'link'} belongs to user {ATTACKER}, and neither to this one, 0, nor to root"
    assert reason_against(place / "link") == reason_against(place / "link" / "fastbp") == message
    assert not any((place / "b").iterdir())


# ---- Other users -----------------------------------------------------------------------------------------------------

USERS = """
import os, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
def become(user):
    os.setgroups([])
    os.setegid(user)
    os.seteuid(user)
def in_a_child(user, act):
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            act()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""


@as_root
@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs a way to open what may not be read")
def test_a_folder_on_the_way_need_not_be_readable(open_folder):
    (open_folder / "closed").mkdir(mode=0o711)
    (open_folder / "closed" / "own").mkdir()
    os.chown(open_folder / "closed" / "own", VICTIM, VICTIM)
    code = f"""
from fastbp.kernels.compiler.cache_folders import Folder
def act():
    with Folder(Path({str(open_folder)!r}) / "closed" / "own" / "fastbp") as folder:
        folder.write("x", b"content")
        assert folder.read("x") == b"content"
in_a_child({VICTIM}, act)
"""
    run_python(USERS + code)
    assert (open_folder / "closed" / "own" / "fastbp" / "x").stat().st_uid == VICTIM


@as_root
def test_a_sandbox_that_does_not_know_root(open_folder):
    """There, what belongs to root seems to be nobody's, and so does what belongs to anybody else."""
    os.chown(open_folder, VICTIM, VICTIM)  # on the way to it are / and what is root's
    (open_folder / "home").mkdir()
    os.chown(open_folder / "home", VICTIM, VICTIM)
    (open_folder / "all").mkdir()
    (open_folder / "all").chmod(0o1777)
    (open_folder / "all" / "planted").mkdir()
    os.chown(open_folder / "all" / "planted", ATTACKER - 1, ATTACKER - 1)
    (open_folder / "all" / "link").symlink_to(open_folder / "home")
    os.lchown(open_folder / "all" / "link", ATTACKER - 1, ATTACKER - 1)
    code = f"""
import ctypes
from fastbp.kernels.compiler.cache_folders import Folder
folder = Path({str(open_folder)!r})
def act():
    libc = ctypes.CDLL(None)
    libc.prctl(4, 1)  # PR_SET_DUMPABLE: its own files in /proc are root's otherwise
    if libc.unshare(0x10000000):  # CLONE_NEWUSER
        print("no sandbox", flush=True)
        return
    try:
        Path("/proc/self/uid_map").write_text("{VICTIM} {VICTIM} 1")
    except OSError:
        print("no sandbox", flush=True)
        return
    assert os.geteuid() == {VICTIM}
    assert os.stat("/").st_uid not in (0, {VICTIM})
    with Folder(folder / "home" / "fastbp") as own:
        own.write("x", b"content")
    for planted in ("planted", "planted/fastbp", "link", "link/fastbp"):
        try:
            Folder(folder / "all" / planted)
        except PermissionError as error:
            assert "belongs to user" in str(error), error
        else:
            raise AssertionError(planted)
    with Folder(folder / "all" / "fastbp-{VICTIM}"):
        print("held", flush=True)
in_a_child({VICTIM}, act)
"""
    result = run_python(USERS + code)
    if result == "no sandbox\n":
        pytest.skip("needs user namespaces")
    assert result == "held\n"


# What an attacker does to a user who calls a kernel before and after. The file that he plants has the right name, for
# he can compile the same kernel, and the right digest.
ATTACKS = (
    USERS
    + TOY
    + f"""
import hashlib, logging, pickle
VICTIM, ATTACKER = {VICTIM}, {ATTACKER}
folder = Path(os.environ["FOLDER"])
temporary = folder / "temporary"
marker = temporary / "marker"
os.umask(0o022)
os.environ.pop("FASTBP_CACHE_DIR", None)

class Command:
    def __reduce__(self):
        return open, (str(marker), "w")

def as_victim(act, *arguments):
    become(VICTIM)
    try:
        return act(*arguments)
    finally:
        os.seteuid(0)
        os.setegid(0)

def plant(there):
    "Leave a file that the victim will ask for."
    there.mkdir(parents=True, exist_ok=True)
    for example in (folder / "attacker" / "fastbp").glob("*.kernel"):
        payload = pickle.dumps(Command())
        (there / example.name).write_bytes(hashlib.sha256(payload).digest() + payload)

for user, name in ((VICTIM, "victim"), (ATTACKER, "attacker")):
    (folder / name).mkdir()
    os.chown(folder / name, user, user)
temporary.mkdir()
temporary.chmod(0o1777)
def compile_the_same():
    os.environ["FASTBP_CACHE_DIR"] = str(folder / "attacker")
    use()
os.environ["FASTBP_CACHE_DIR"] = str(folder / "root")
use(), use()  # as root at first, so that whatever Python reads of its own is read
del os.environ["FASTBP_CACHE_DIR"]
in_a_child(ATTACKER, compile_the_same)
assert any((folder / "attacker" / "fastbp").glob("*.kernel"))
"""
)

RENAMED = """
shared = folder / "shared"
shared.mkdir()
shared.chmod(0o777)
os.environ["FASTBP_CACHE_DIR"] = str(shared)
print(as_victim(use), os.listdir(shared))
def exchange():
    if (shared / "fastbp").exists():
        (shared / "fastbp").rename(shared / "moved")
    plant(shared / "fastbp")
in_a_child(ATTACKER, exchange)
print(as_victim(use), as_victim(use), marker.exists())
"""

LINKED = """
private = folder / "victim" / "private"
as_victim(lambda: private.mkdir(mode=0o700))
link = temporary / f"fastbp-{VICTIM}"
in_a_child(ATTACKER, lambda: link.symlink_to(private))
print(as_victim(use), os.listdir(private))
def turn_over():
    link.unlink()
    plant(folder / "attacker" / "planted")
    link.symlink_to(folder / "attacker" / "planted")
in_a_child(ATTACKER, turn_over)
print(as_victim(use), as_victim(use), marker.exists())
"""

LEFT = """
named = folder / "victim" / "fastbp"
as_victim(named.mkdir)
as_victim(named.chmod, 0o777)
in_a_child(ATTACKER, lambda: plant(named))
as_victim(named.chmod, 0o700)
os.environ["FASTBP_CACHE_DIR"] = str(folder / "victim")
print(as_victim(use), [])
print(as_victim(use), as_victim(use), marker.exists())
"""


@as_root
@compiled
@pytest.mark.parametrize(("attack", "uses"), [
    (RENAMED, "found found"),  # in the victim's folder for temporary files
    (LINKED, "compiled compiled"),  # nowhere, since the attacker holds that folder's name
    (LEFT, "found found"),  # written over
], ids=["renamed", "linked", "left"])  # fmt: skip
def test_an_attackers_command_does_not_run(open_folder, attack, uses):
    environment = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"))
    environment |= {"HOME": "/nonexistent", "TMPDIR": str(open_folder / "temporary"), "FOLDER": str(open_folder)}
    assert run_python(ATTACKS + attack, **environment) == f"compiled []\n{uses} False\n"


@as_root
@compiled
def test_root_leaves_nothing_in_a_users_home(open_folder):
    (open_folder / "home").mkdir()
    os.chown(open_folder / "home", VICTIM, VICTIM)
    code = ATTACKS + 'print(use(), use(), os.listdir(os.environ["HOME"]), os.listdir(temporary))'
    environment = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"))
    environment |= {"HOME": str(open_folder / "home"), "TMPDIR": str(open_folder / "temporary")}
    assert run_python(code, FOLDER=str(open_folder), **environment) == "compiled found [] ['fastbp-0']\n"
