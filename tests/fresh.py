"""Programs in a fresh process: what is true of an import, a cache, a fork or a hang shows there only."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent  # the folder of this fastbp
TIME_LIMIT = 100  # seconds: compiling twice on a busy machine, and no more than that if it hangs


def run_python(code, folder=ROOT, time_limit=TIME_LIMIT, **environment):
    """Run a program in which warnings are errors, with the fastbp of a folder; return what it printed.

    Environment variables are added to those of this process; None removes one. The program and all its children end
    at the time limit.
    """
    variables = {key: value for key, value in (os.environ | environment).items() if value is not None}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=variables,
        start_new_session=True,  # a group of its own, which can be ended as a whole
    )
    try:
        output, errors = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode == 0, errors
    return output
