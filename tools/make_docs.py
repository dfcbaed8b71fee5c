"""Writes the parts of the docs that follow from the code: settings, and the list of modules.

``python tools/make_docs.py`` rewrites them; ``tests/test_docs.py`` fails where they are not up to date.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("feeds", "profiles", "recommender", "delivery", "api")
BEGIN, END = "<!-- modules: made by tools/make_docs.py -->", "<!-- end of modules -->"


def settings_page() -> str:
    """Return docs/settings.md as the code says it."""
    from api.settings import SECRETS, Settings

    rows = []
    for name, field in Settings.model_fields.items():
        value = field.default
        shown = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        default = f"`{shown}`" if str(shown) else "(empty)"
        secret = f"; also `MYCITY_{name.upper()}_FILE`" if name in SECRETS else ""
        rows.append(f"| `MYCITY_{name.upper()}` | {default} | {field.description}{secret} |")
    head = (
        "# Settings\n\nAll settings come from the environment. A secret may also stand in a file named by "
        "`…_FILE`.\nThe demo ignores all of them but `MYCITY_HOME`. Made by `tools/make_docs.py`.\n\n"
        "| setting | default | meaning |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def module_list() -> str:
    """Return the tree of modules, one line each, from the first lines of their docstrings."""
    lines = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "versions" in path.parts:
                continue
            first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
            name = path.relative_to(ROOT)
            shown = f"{name.parent}/" if path.name == "__init__.py" else str(name)
            lines.append(f"| `{shown}` | {' '.join(first.split())} |")
    return "\n".join((BEGIN, "", "| where | what |", "|---|---|", *lines, "", END))


def architecture_page() -> str:
    """Return docs/architecture.md with the list of modules brought up to date."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + module_list() + rest.partition(END)[2]


def main() -> int:
    """Rewrite both pages."""
    (ROOT / "docs" / "settings.md").write_text(settings_page(), encoding="utf-8")
    (ROOT / "docs" / "architecture.md").write_text(architecture_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
