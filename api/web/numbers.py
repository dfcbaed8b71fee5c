"""Numbers of rows in paths: what no database could hold names nothing and is answered 404, not tried.

Called by the routes that take one.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

RowId = Annotated[int, Path(ge=0, le=2**63 - 1)]
