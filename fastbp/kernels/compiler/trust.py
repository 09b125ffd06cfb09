"""Whom to believe: a folder is opened so that nobody but the user and root can have exchanged it or can change it.

A path is walked from the root, each folder opened within the one before and judged by its descriptor.  Whoever wants to
exchange a folder or a link must write to the folder that it stands in, and that one has been judged: so what is found
is what the user or root put there, also where it was found by way of links.  Folders that everybody may write to and in
which nobody can rename what is not his own, such as ``/tmp``, may be on the way, but not at its end.

What remains: access lists that give more than a file's mode says, as those of NFS 4 and of macOS can (POSIX's show in
the group's bits, which is why a group is never trusted); and a system in which the user's number or root's stands for
several people.
"""

import contextlib
import errno
import os
import stat

HAS_HANDLES = {os.open, os.stat, os.mkdir, os.readlink} <= os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_MOST_LINKS = 40  # as the Linux kernel follows
_INTO = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_PASS = _INTO | getattr(os, "O_PATH", os.O_RDONLY)  # a folder on the way may be one that may not be listed


def require_trust(status: os.stat_result, what: str = "it") -> None:
    """Raise PermissionError, with the reason, where somebody else but the user and root can change a folder or file."""
    if hasattr(os, "geteuid"):
        _require_owner(status, what, others=set())
        if _is_for_others(status):
            _refuse_mode(status, what)


def _require_owner(status: os.stat_result, what: str, others: set[int]) -> None:
    user = os.geteuid()
    if status.st_uid not in {user, 0} | others:
        raise PermissionError(f"{what} belongs to user {status.st_uid}, and neither to this one, {user}, nor to root")


def _is_for_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _refuse_mode(status: os.stat_result, what: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    cure = "`chmod go-w` cures that" if what == "it" else f"`chmod go-w {what}` cures that"
    raise PermissionError(f"others than its owner may write to {what}, mode {mode:o}; {cure}")


def open_folder(path: str, mode: int) -> int:
    """Return the descriptor of a folder that nobody but the user and root can change; what is missing is made.

    Parameters
    ----------
    path : str
        The folder.
    mode : int
        For folders that are made, as far as the umask lets them have it.

    Raises
    ------
    OSError
        If it cannot be opened or made, or is not to be trusted.
    """
    whole = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    walk = _Walk(whole, mode)
    try:
        walk.go(whole)
        require_trust(walk.status)
        return os.open(".", os.O_RDONLY | _INTO, dir_fd=walk.handle)
    finally:
        os.close(walk.handle)


class _Walk:
    """The way from the root to a folder; `handle` and `status` are those of where it has come to."""

    def __init__(self, goal: str, mode: int) -> None:
        self._goal, self._mode = goal, mode
        self.handle, self._place = os.open("/", _PASS), "/"
        self.status = os.fstat(self.handle)
        # Whoever has the root can exchange all programs. In a sandbox that does not know root's number it is nobody's.
        self._owner_of_all = {self.status.st_uid}

    def go(self, path: str) -> None:
        """Go on along a path."""
        names = path.split("/")[::-1]
        n_links = 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            self._require_stability()
            target = self._step(name)
            if target is not None:
                n_links += 1
                if n_links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    self._enter(os.open("/", _PASS), "/")
                names += target.split("/")[::-1]

    def _require_stability(self) -> None:
        """Raise unless what stands in this folder can be exchanged by its owner, the folder's and root only."""
        if _is_for_others(self.status) and not self.status.st_mode & stat.S_ISVTX:
            _refuse_mode(self.status, self._place)

    def _step(self, name: str) -> str | None:
        """Go into a folder of this one; of a link return where it leads to, and stay."""
        try:
            status = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            self._make(name)
            status = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        place = os.path.dirname(self._place) if name == ".." else os.path.join(self._place, name)
        # In a folder for all, what belongs to the owner of the root may be anybody's whose number is not known here.
        others = set() if _is_for_others(self.status) else self._owner_of_all
        if stat.S_ISLNK(status.st_mode):
            _require_owner(status, f"the link {place}", others)
            return os.readlink(name, dir_fd=self.handle)
        self._enter(os.open(name, _PASS, dir_fd=self.handle), place)
        _require_owner(self.status, "it" if place == self._goal else place, others)
        return None

    def _make(self, name: str) -> None:
        """Make a folder; another process may be quicker."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, self._mode, dir_fd=self.handle)

    def _enter(self, handle: int, place: str) -> None:
        os.close(self.handle)
        self.handle, self._place = handle, place
        self.status = os.fstat(handle)
