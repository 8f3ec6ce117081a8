"""The folder of everything that runs keep for later runs of the same user.

`$PIMLOOP_CACHE_DIR`, else `$XDG_CACHE_HOME/pimloop`, else `~/.cache/pimloop`. Nothing in it is
needed: a run without a usable folder gives the same results and does more work.
"""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from pimloop.sim.paths import cache_place, distrust

logger = logging.getLogger(__name__)

#: The folder and its files are for their user alone.
FOLDER_MODE = 0o700

# Folders a warning has been given for; one for each is enough in a process.
_warned: set[str] = set()


def cache_folder() -> Path | None:
    """Return the cache folder, made when it is missing; None when there can be none.

    The first time that a folder turns out to be unusable a warning says why.
    """
    try:
        folder = cache_place()
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        status = folder.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        _warn(str(error))
        return None
    if not stat.S_ISDIR(status.st_mode):
        _warn(f"{folder} is no folder")
        return None
    why = distrust(folder, of_root=False)
    if why is not None:
        _warn(why)
        return None
    return folder


def _warn(why: str) -> None:
    if why not in _warned:
        _warned.add(why)
        logger.warning("no cache: %s; set PIMLOOP_CACHE_DIR to a folder of your own", why)
