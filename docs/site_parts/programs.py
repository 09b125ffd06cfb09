"""The programs of `examples/` and `guides/` for sphinx-gallery: their text, arguments, pictures, notebooks."""

import ast
import shutil
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

# An example reads its arguments, which in a notebook are those of the notebook's own program.
FIRST_CELL = """import sys

sys.argv[1:] = ["pictures"] if "__file__" not in globals() else sys.argv[1:]  # the folder for pictures"""
LAST_CELL = """from pathlib import Path

from IPython.display import Image, display

for picture in sorted(Path("pictures").glob("*.png")):
    display(Image(picture))"""

_HEAD = """Examples
========

Systems that are known from textbooks, each a short program, in the order in which one would read them. Each page has
the program, what it printed and its pictures, and the program as a file and as a notebook.
"""


def copy_examples(examples, folder):
    """Copy the examples as sphinx-gallery wants them: with a heading underlined; unchanged ones keep their time."""
    folder.mkdir(exist_ok=True)
    wanted = {"README.rst": _HEAD} | {path.name: with_heading(path) for path in examples.glob("[0-9]*.py")}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def with_heading(path):
    """Return the text of a program; its docstring's first sentence has become a heading in reStructuredText."""
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text), clean=False)
    first, _, rest = doc.partition("\n")
    title = f"{path.name[:2]} {first.rstrip('.')}"
    before, after = text.split(doc, 1)
    return f"{before}{title}\n{'=' * len(title)}\n{rest}{after}"


def of_examples(path):
    """Whether a program's file is one of the examples, which take a folder for pictures."""
    return Path(path).parent.name == "_programs"


class Arguments:
    """What follows a program's name on its command line: for an example, the folder for its pictures."""

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):  # sphinx-gallery keeps its settings as text
        return "Arguments"

    def __call__(self, gallery_conf, script_vars):
        """Return the arguments."""
        path = script_vars["src_file"]
        return [str(self.folder / Path(path).stem)] if of_examples(path) else []


class SavedPictures:
    """Finds the pictures that an example has saved since it was last asked."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = set()

    def __repr__(self):
        return "SavedPictures"

    def __call__(self, block, block_vars, gallery_conf):
        """Copy new pictures to where sphinx-gallery wants them, and return the text that shows them."""
        found, paths = [], block_vars["image_path_iterator"]
        for picture in sorted((self.folder / Path(block_vars["src_file"]).stem).glob("*.png")):
            if picture not in self.seen:
                self.seen.add(picture)
                found.append(next(paths))
                shutil.copy(picture, found[-1])
        return "\n".join(figure_rst([path], gallery_conf["src_dir"]) for path in found)  # each in full width
