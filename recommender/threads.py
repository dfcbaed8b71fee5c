"""Work side by side: a Python thread for each core, and one BLAS thread in each of them.

numpy lets other threads run while it computes, so blocks of rows can be scored at the same time. Its matrix
products would start threads of their own and wait for each other; inside :func:`one_blas_thread` they do not.
Called by ``select`` and by ``bench/score.py``.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")
_guard = threading.Lock()
_inside = 0  # how many are inside one_blas_thread
_before = 1  # threads to go back to


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Callable[[_Part], _Result], parts: Iterable[_Part], threads: int | None = None
) -> list[_Result]:
    """Call ``work`` for each part, on several threads; results in the order of parts.

    Args:
        work: Must not change what another call reads. The first error it raises is raised here.
        parts: Any number.
        threads: How many; ``None`` for one a core. 1 calls one after the other, in this thread.
    """
    wanted = list(parts)
    count = min(threads or cores(), len(wanted))
    if count <= 1:
        return [work(part) for part in wanted]
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, wanted))


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Hold matrix products to one thread each, in the whole process, until the last one leaves.

    Yields:
        False where numpy's BLAS is not the one it ships with: then products keep their own threads, which
        gives the same numbers more slowly.
    """
    global _inside, _before
    library = _openblas()
    if library is None:
        yield False
        return
    get, put = library
    with _guard:
        _inside += 1
        if _inside == 1:
            _before = get()
            put(1)
    try:
        yield True
    finally:
        with _guard:
            _inside -= 1
            if not _inside:
                put(_before)


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The two functions of the OpenBLAS in numpy's own wheels; they are part of its public interface."""
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    for path in sorted(folder.glob("libscipy_openblas*")):
        for ending in ("64_", ""):
            try:
                library = ctypes.CDLL(str(path))
                get = library[f"scipy_openblas_get_num_threads{ending}"]
                put = library[f"scipy_openblas_set_num_threads{ending}"]
            except (OSError, AttributeError):
                continue
            get.restype, get.argtypes, put.restype, put.argtypes = ctypes.c_int, [], None, [ctypes.c_int]
            return get, put
    return None
