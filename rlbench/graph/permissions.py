"""Permissions of a store that a group shares: what is written follows the umask, and what is denied is explained."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path


def share(folder: Path) -> None:
    """Give everything in a folder the permissions and the group that the file system gave the folder itself.

    So files follow the umask (or a default access list) and stay in the group of a setgid folder, also those that
    libraries write by way of temporary files that are their user's alone.
    """
    given = folder.stat()
    for path in walk(folder):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        wanted = stat.S_IMODE(given.st_mode)
        if not stat.S_ISDIR(found.st_mode):
            wanted &= 0o777 if found.st_mode & stat.S_IXUSR else 0o666
        if given.st_mode & stat.S_ISGID and found.st_gid != given.st_gid:
            os.chown(path, -1, given.st_gid)
        if stat.S_IMODE(found.st_mode) != wanted:
            path.chmod(wanted)


def walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder. Raises OSError where a folder cannot be read, which ``rglob`` would pass over."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        yield from (Path(place, name) for name in (*folders, *files))


def _raise(error: OSError) -> None:
    raise error


def denial(error: PermissionError) -> str:
    """The file or folder that was the reason of an error, with its mode and owner, and who was denied."""
    path, denied, action = Path(error.filename or ".").absolute(), Path("/"), "read"
    for place in (*reversed(path.parents), path):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except FileNotFoundError:
            action = "written"  # it was to be made
            break
        except OSError:
            break  # the folder around it lets nobody in
        denied = place
        if not os.access(place, os.X_OK if is_folder else os.R_OK):
            break
    else:
        if os.access(path, os.R_OK):  # it may be read, so it was to be changed: by writing it or the folder around it
            denied = path if not os.access(path, os.W_OK) else path.parent
            action = "written"
    found = denied.stat()
    owner = f"{stat.filemode(found.st_mode)}, owner {_user(found.st_uid)}, group {_group(found.st_gid)}"
    return f"{denied} cannot be {action} by {_user(os.geteuid())} ({owner})"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container without its users
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
