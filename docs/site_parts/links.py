"""Links of the repository's pages that leave `docs/`: to an example's page, or to the file on the forge."""

import re
from pathlib import Path

_LINK = re.compile(r"(?<=\]\()(?P<path>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


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
            source[0] = _LINK.sub(lambda match: self.target(folder, name, match), source[0])

    def target(self, folder, name, match):
        """Return what a link that leaves the folder is to be; Sphinx says so where the file does not exist."""
        path = (folder / match["path"]).resolve()
        if not path.exists() or not path.is_relative_to(self.root):
            return match.group()
        inside = path.relative_to(self.root)
        anchor = match["anchor"] or ""
        if inside.parts[0] == "docs" or inside.suffix == ".png":
            return match.group()
        up = "../" * name.count("/")
        if inside.parts[0] == "examples" and re.match(r"\d\d_.*\.py$", inside.name):
            return f"{up}auto_examples/{inside.stem}.rst"
        if inside.as_posix() == "examples/README.md":
            return f"{up}auto_examples/index.rst"
        return f"{self.forge}/{'tree' if path.is_dir() else 'blob'}/main/{inside.as_posix()}{anchor}"
