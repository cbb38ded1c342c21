"""Runs a command that dies with the process that started it, even if that process is killed with -9, at a given niceness.

``python -I -S die_with_parent.py PARENT_PID NICE COMMAND...`` asks the kernel for this and then becomes the command, so that no
process is left in between. The kernel sends the signal when the thread that started it ends: start it from a thread that
outlives it. Where the kernel cannot do this (not Linux), the command runs without it.

``die_with_parent.py PARENT_PID NICE --confine BARS COMMAND...`` confines the command first, by the function of
`deploy.local.confine` with that name, ``--restrict`` by the other one; BARS is JSON.

``die_with_parent.py PARENT_PID NICE --environment ...`` reads the command's variables from its stdin, as JSON, and gives them
to the command alone, with an empty stdin: some variables, as LD_PRELOAD, have code run, which must be confined before.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, nice, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if nice:
        os.nice(nice)
        try:  # Linux may weigh sessions against each other, and niceness only within a session: then the session stands back
            with open("/proc/self/autogroup", "w") as group:
                group.write(str(nice))
        except OSError:
            pass
    environment = None
    if command[0] == "--environment":
        import json

        try:
            environment, command = json.load(sys.stdin), command[1:]
        except ValueError:  # the parent died before it had written them all
            sys.exit(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    if command[0] in ("--confine", "--restrict"):
        import json

        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        from deploy.local import confine

        shut_in = confine.confine if command[0] == "--confine" else confine.restrict
        bars, command = json.loads(command[1]), command[2:]
        try:
            shut_in(confine.Bars(bars["folder"], tuple(bars["covered"]), tuple(bars["kept"])))
        except OSError as error:
            sys.exit(f"this process could not be confined: {error}")
    if sys.platform == "linux":  # this comes last: the kernel forgets it when a process changes its rights
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before we asked
        sys.exit(1)
    try:
        os.execvpe(command[0], command, os.environ if environment is None else environment)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
    except ValueError as error:  # a variable that no process can have
        sys.exit(f"{command[0]}: {error}")
