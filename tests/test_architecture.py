"""House rules that import-linter cannot say, read from the source itself (docs/architecture.md).

import-linter (``make check``) holds who may import whom among our own packages. Here: which modules
touch the environment, the database, sockets and the machine's clock, what "Pure" in a docstring
promises, and what serving loads.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("feeds", "profiles", "recommender", "delivery", "api")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Who reads the environment: one module, so that docs/settings.md can be complete.
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"}
ENVIRONMENT_ALLOWED = ["api/settings.py"]

# Who writes SQL: the kernel's one door, the tables, and the stores; every other module asks a store.
SQL = {"sqlalchemy", "sqlite3", "psycopg"}
SQL_ALLOWED = [
    "feeds/kernel/db.py",
    "*/tables.py",
    "delivery/outbox_tables.py",
    "delivery/alert_tables.py",
    "delivery/alert_outbox.py",
    "feeds/catalogue/store.py",
    "feeds/catalogue/search.py",
    "feeds/catalogue/reading.py",
    "feeds/catalogue/feed_reading.py",
    "feeds/catalogue/identity_store.py",
    "feeds/catalogue/upstream_store.py",
    "feeds/intake/sources.py",
    "feeds/intake/source_polls.py",
    "feeds/intake/poll_log.py",
    "feeds/intake/websub.py",
    "feeds/desk/audit.py",
    "feeds/desk/staff.py",
    "profiles/store.py",
    "profiles/editions.py",
    "profiles/feedback.py",
    "profiles/samples.py",  # bounded looks at the ledger and at feedback
    "profiles/subscriptions.py",
    "profiles/taste.py",
    "profiles/contacts.py",
    "profiles/consent.py",
    "profiles/tokens.py",
    "profiles/suppression.py",
    "profiles/copies.py",
    "profiles/codes.py",
    "profiles/asked.py",
    "profiles/inbox.py",
    "profiles/ending.py",
    "profiles/people_tables.py",
    "delivery/copy_rows.py",
    "delivery/digest_tables.py",
    "delivery/digest_plans.py",  # a million subscriptions never pass through Python
    "delivery/digest_runs.py",
    "delivery/digest_returns.py",
    "delivery/digest_marks.py",
    "delivery/outbox.py",
    "delivery/outbox_claim.py",
    "delivery/outbox_finish.py",
    "delivery/outbox_runs.py",
    "delivery/outbox_log.py",
    "delivery/outbox_guard.py",
    "delivery/receipts.py",
    "profiles/standing.py",
    "delivery/mail_tables.py",
    "delivery/mail_store.py",
    "delivery/sms_tables.py",
    "delivery/sms_budget.py",
    "delivery/sms_scales.py",
    "delivery/hub_tables.py",
    "delivery/hub_store.py",
    "delivery/engagement_store.py",
    "delivery/webhook_store.py",
    "api/migrations/*",
    "api/ops/doctor.py",  # says which SQLite this Python has
]

# Who opens sockets: the guarded client, the channels, our own servers. (The design also foresees
# delivery/bounces.py and the identity client in api/web/security; they come in when they exist.)
SOCKETS = {
    "socket", "socketserver", "ssl", "smtplib", "imaplib", "poplib", "ftplib", "http.client", "http.server",
    "urllib.request", "urllib3", "requests", "httpx", "httpx2", "aiohttp", "websockets", "uvicorn",
    "asyncio.open_connection", "asyncio.start_server", "asyncio.create_connection",
}  # fmt: skip
SOCKETS_ALLOWED = [
    "feeds/kernel/http.py",
    "feeds/kernel/dialler.py",  # the guarded client's connections
    "delivery/channels/*",
    "delivery/bounces.py",  # fetches returned mails by POP3
    "api/ops/*",  # starts the servers, looks whether a port is free
]

# Who reads the machine's clock: everybody else is given one. (Monotonic clocks measure, and are free.)
CLOCK = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime", "time.ctime",
}  # fmt: skip
CLOCK_ALLOWED = ["feeds/kernel/time.py"]

# What a module whose docstring says "Pure." must not touch, however deep the folder it lives in.
IMPURE = SQL | SOCKETS | ENVIRONMENT | CLOCK | {"fastapi", "starlette", "subprocess", "lightfm", "lightgbm"}
PURE = [  # the design says so even if the docstring does not
    "feeds/intake/decide.py", "feeds/intake/normalise.py", "feeds/catalogue/tagging.py",
    "profiles/match.py", "profiles/reasons.py", "recommender/blend.py", "recommender/rank.py",
    "delivery/windows.py", "delivery/compose.py", "delivery/sms_text.py", "delivery/retry.py",
]  # fmt: skip

# What answers a request; it must start fast and run where the training extra is not installed.
SERVING = (
    "api.feed_asgi", "api.web.app", "api.wiring", "api.jobs.selecting", "api.jobs.watching",
    "recommender.select", "recommender.model_file", "recommender.monitor",
)  # fmt: skip
TRAINING = ("lightfm", "sklearn", "lightgbm", "alembic")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def allowed(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch(name_of(path), pattern) for pattern in patterns)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def used_names(path: Path) -> dict[str, int]:
    """Dotted names of everything a module imports or reaches through an import, with the line.

    ``from datetime import datetime as dt; dt.now()`` gives ``datetime.datetime`` and
    ``datetime.datetime.now``. Relative imports name our own modules and are left out.
    """
    origin: dict[str, str] = {}
    names: dict[str, int] = {}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for item in node.names:
                names.setdefault(item.name, node.lineno)
                bound = item.asname or item.name.split(".")[0]  # `import a.b` binds a; with `as c`, c is a.b
                origin[bound] = item.name if item.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for item in node.names:
                names.setdefault(f"{node.module}.{item.name}", node.lineno)
                origin[item.asname or item.name] = f"{node.module}.{item.name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node, origin)):
            names.setdefault(dotted, node.lineno)
    return names


def _dotted(node: ast.expr, origin: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return origin.get(node.id, "")
    if isinstance(node, ast.Attribute) and (front := _dotted(node.value, origin)):
        return f"{front}.{node.attr}"
    return ""


def uses(path: Path, forbidden: set[str]) -> Iterator[str]:
    """Say where a module uses one of the names, or something inside it."""
    lines = set()
    for used, line in used_names(path).items():
        if line not in lines and any(used == name or used.startswith(name + ".") for name in forbidden):
            lines.add(line)
            yield f"{name_of(path)}:{line} uses {used}"


RULES = pytest.mark.parametrize(
    ("forbidden", "patterns"),
    [
        pytest.param(ENVIRONMENT, ENVIRONMENT_ALLOWED, id="environment"),
        pytest.param(SQL, SQL_ALLOWED, id="sql"),
        pytest.param(SOCKETS, SOCKETS_ALLOWED, id="sockets"),
        pytest.param(CLOCK, CLOCK_ALLOWED, id="clock"),
    ],
)


@RULES
def test_only_the_named_modules_touch_it(forbidden: set[str], patterns: list[str]) -> None:
    strays = [use for path in MODULES if not allowed(path, patterns) for use in uses(path, forbidden)]
    assert not strays, "\n".join(strays)


@RULES
def test_no_exception_outlives_its_reason(forbidden: set[str], patterns: list[str]) -> None:
    needed = [path for path in MODULES if any(uses(path, forbidden))]
    stale = [pattern for pattern in patterns if not any(allowed(path, [pattern]) for path in needed)]
    assert not stale, f"nothing needs these exceptions any more: {stale}"


def test_pure_modules_keep_their_promise() -> None:
    pure = [path for path in MODULES if allowed(path, PURE) or says_pure(path)]
    broken = [use for path in pure for use in uses(path, IMPURE)]
    assert not broken, "\n".join(broken)


def says_pure(path: Path) -> bool:
    return bool(re.search(r"\bPure\b", ast.get_docstring(tree_of(path)) or ""))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_does(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path)) or ""
    assert docstring.split("\n", 1)[0].strip(), f"{name_of(path)} has no docstring"


def test_serving_loads_neither_training_nor_migrations() -> None:
    modules = [name for name in SERVING if find_spec(name)]
    assert modules, "none of the serving modules is there"
    program = f"import sys, {', '.join(modules)}; print(*sorted(set({TRAINING!r}) & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == [], "serving imports what only training or migrating needs"


def test_a_planted_use_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above would be worth nothing if they could not see."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    planted = tmp_path / "planted.py"
    planted.write_text(
        '"""Pure."""\nimport os\nimport urllib.request\nfrom datetime import datetime as dt\n'
        "from sqlalchemy import select\nfrom urllib.parse import quote\n"
        "make = dt.now\nhome = os.environ['X']\n",
        encoding="utf-8",
    )
    assert says_pure(planted)
    assert list(uses(planted, ENVIRONMENT)) == ["planted.py:8 uses os.environ"]
    assert list(uses(planted, CLOCK)) == ["planted.py:7 uses datetime.datetime.now"]
    assert list(uses(planted, SQL)) == ["planted.py:5 uses sqlalchemy.select"]
    assert list(uses(planted, SOCKETS)) == ["planted.py:3 uses urllib.request"]
