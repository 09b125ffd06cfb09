"""``python -m fastbp``: the command ``fastbp``, see `fastbp.command_line`."""

import sys

from fastbp.command_line.main import main

if __name__ == "__main__":
    sys.exit(main(program="python -m fastbp"))
