"""Names of model versions: the instant, a number, what kind, and how often residents were taken out. Pure.

``20261012T020000Z-000`` is a full model, ``…-001p`` a partial one of the same second, ``…-000x017`` one that
residents were taken out of 17 times. Names sort by time. Called by ``model_file`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Earlier releases wrote one more x each time.
_NAME = re.compile(r"(\d{8}T\d{6}Z-(\d{3,})p?)(?:x+(\d{3,})?)?")


def is_version(name: str) -> bool:
    """Whether this can be the name of a version."""
    return _NAME.fullmatch(name) is not None


def new_name(instant: str, kept: Iterable[str], *, partial: bool) -> str:
    """Name a new version apart from those that are kept of the same instant."""
    found = (_NAME.fullmatch(name) for name in kept if name.startswith(f"{instant}-"))
    number = max((int(match[2]) for match in found if match), default=-1) + 1
    return f"{instant}-{number:03d}{'p' if partial else ''}"


def name_without(version: str) -> str:
    """Name what is left of a version when residents are taken out of it.

    Raises:
        ValueError: If it is no name of a version.
    """
    match = _NAME.fullmatch(version)
    if match is None:
        raise ValueError(f"{version[:40]!r} names no version")
    return f"{match[1]}x{int(match[3] or 0) + 1:03d}"
