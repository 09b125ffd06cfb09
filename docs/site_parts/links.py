"""Links of the repository's pages to files that are no pages: to a program's page, or to the file on the forge."""

import re
from pathlib import Path

_LINK = re.compile(r"(?<=\]\()(?P<path>(?:\.\./|guides/)[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_INCLUDE = re.compile(r"```\{include\} (?P<path>\S+)\n```\n")
_OWN_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)(?=\S+\))")  # of a file in the repository's folder


class Rewriter:
    """Changes the links of a page when Sphinx reads it.

    Parameters
    ----------
    root : Path
        The repository's folder.
    forge : str
        The address of the repository's pages.
    """

    def __init__(self, root, forge):
        self.root, self.forge = root, forge

    def __call__(self, app, name, source):
        """Rewrite the links in `source[0]`; called by Sphinx for each page."""
        folder = (self.root / "docs" / name).parent
        if (folder / f"{Path(name).name}.md").exists():
            text = _INCLUDE.sub(lambda match: self.included(app, folder / match["path"]), source[0])
            source[0] = _LINK.sub(lambda match: self.target(folder, name, match), text)

    def included(self, app, path):
        """Return the text of a file in the repository's folder, its links as seen from `docs/`."""
        if app is not None:
            app.env.note_dependency(str(path.resolve()))  # the page is made again when the file changes
        return _OWN_LINK.sub("../", path.read_text(encoding="utf-8"))

    def target(self, folder, name, match):
        """Return what a link to such a file is to be; Sphinx says so where the file does not exist."""
        path = (folder / match["path"]).resolve()
        if not path.exists() or not path.is_relative_to(self.root):
            return match.group()
        inside = path.relative_to(self.root)
        anchor = match["anchor"] or ""
        up = "../" * name.count("/")
        if inside.parts[:2] == ("docs", "guides"):
            return f"{up}auto_guides/{'index' if inside.stem == 'README' else inside.stem}.rst"
        if inside.parts[0] == "docs" or inside.suffix == ".png":
            return match.group()
        if inside.parts[0] == "examples" and re.match(r"\d\d_.*\.py$", inside.name):
            return f"{up}auto_examples/{inside.stem}.rst"
        if inside.as_posix() == "examples/README.md":
            return f"{up}auto_examples/index.rst"
        return f"{self.forge}/{'tree' if path.is_dir() else 'blob'}/main/{inside.as_posix()}{anchor}"
