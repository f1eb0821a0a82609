"""Run a program that ends with the process that started it, even if that is killed.

`web/up/supervisor.py` starts this file by its path, so that it loads nothing of the package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve(2), not fork(2)


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; end it now if the parent is gone.

    The kernel watches the parent's thread, so parents start their children from the main thread.
    Without prctl(2) this does nothing, and the next `up` finds the processes that were left.

    Source: PR_SET_PDEATHSIG(2const)
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run `child.py PARENT_PID PROGRAM ARGUMENT…`."""
    end_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  # the command line comes from Child


if __name__ == "__main__":
    main()
