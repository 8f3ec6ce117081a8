"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from host.errors import PimloopError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, which then holds either all of it or what it held before.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix, delete=False
        ) as file:
            temporary = file.name
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise PimloopError(f"cannot write {path}: {error.strerror}; choose --out") from error
