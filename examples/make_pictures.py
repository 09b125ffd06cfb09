"""Make the pictures that this folder's README and the project's own show.

Runs every example, or those whose numbers are given, with its default options (the digits are scikit-learn's), and
keeps each picture in 64 colours, which makes it small.

Run: ``python examples/make_pictures.py [01 05 ...]``
"""

import os
import runpy
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parent
PICTURES = EXAMPLES / "pictures"


def main(numbers: list[str]) -> None:
    """Run the examples and shrink what they saved."""
    os.environ.pop("FASTBP_MNIST", None)
    for program in sorted(EXAMPLES.glob("[0-9]*.py")):
        if numbers and program.name[:2] not in numbers:
            continue
        print(f"==== {program.name}")
        runpy.run_path(str(program))["main"](PICTURES)
        for path in PICTURES.glob(f"{program.name[:2]}_*.png"):
            Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
