"""Settings: from the environment, from files, and what is said where one does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import read_settings
from feeds.kernel.errors import UsageError


def test_defaults_root_everything_in_home() -> None:
    settings = read_settings({})
    assert settings.database == "sqlite:///var/mycity.db"
    assert settings.models == Path("var/models")
    assert settings.captured == Path("var/captured")


def test_values_and_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n", encoding="utf-8")
    settings = read_settings({"MYCITY_HOME": "/srv", "MYCITY_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert settings.key() == b"k" * 40
    assert settings.database == "sqlite:////srv/mycity.db"


def test_a_secret_is_not_printed() -> None:
    assert "hunter" not in repr(read_settings({"MYCITY_SECRET_KEY": "hunter" * 8}))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"MYCITY_TIMEZONE": "Mars/Olympus"}, "MYCITY_TIMEZONE"),
        ({"MYCITY_BASE_URL": "ftp://x"}, "MYCITY_BASE_URL"),
        ({"MYCITY_POLL_SECONDS": "soon"}, "MYCITY_POLL_SECONDS"),
        ({"MYCITY_ENGINE": "steam"}, "MYCITY_ENGINE"),
        ({"MYCITY_SECRET_KEY_FILE": "/nowhere/key"}, "/nowhere/key"),
    ],
)
def test_a_wrong_value_names_its_setting(environ: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_settings(environ)
    assert "\n" not in str(caught.value)


def test_real_runs_refuse_a_missing_key() -> None:
    with pytest.raises(UsageError, match="MYCITY_SECRET_KEY"):
        read_settings({}).key()
    with pytest.raises(UsageError, match="32"):
        read_settings({"MYCITY_SECRET_KEY": "short"}).key()
