"""Lets a virtual environment use a checkout's colcon build without sourcing anything.

scripts/workspace.py copies this file into the environment, with the three names below filled in; a path file there
imports it at each start of the interpreter, so it imports little.
"""

import importlib.machinery
import importlib.util
import os
import sys

PACKAGE = '@PACKAGE@'
MODULES = '@MODULES@'  # the folder of the install tree that holds the package and its generated messages
LIBRARIES = '@LIBRARIES@'  # the folder of the libraries that the messages load


def folders_of(variable: str) -> list[str]:
    """The entries of a search path in the process environment."""
    return [folder for folder in os.environ.get(variable, '').split(os.pathsep) if folder]


class InstalledPackage:
    """Finds the package on PYTHONPATH or in the install tree, never in the current folder.

    Python looks in the current folder first, and in the checkout that would find the sources, which have no messages.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Answer for the package itself; its modules are then found beside it."""
        if name == PACKAGE:
            return importlib.machinery.PathFinder.find_spec(name, [*folders_of('PYTHONPATH'), MODULES])
        return None


def reach_libraries() -> None:
    """Put the libraries of the messages on the loader's path, which it reads only when a process starts."""
    if LIBRARIES in folders_of('LD_LIBRARY_PATH'):
        return
    os.environ['LD_LIBRARY_PATH'] = os.pathsep.join([LIBRARIES, *folders_of('LD_LIBRARY_PATH')])
    # The ROS wheels start the interpreter anew for their own libraries, right after this file; the guard that tells
    # them that it was done may be inherited from a process without our folder.
    os.environ.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    if importlib.util.find_spec('ros_wheels_bootstrapper') is None:
        os.execv(sys.executable, sys.orig_argv)


sys.meta_path.insert(0, InstalledPackage)
reach_libraries()
