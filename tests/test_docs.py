"""The docs stay true: settings, modules, links, commands and words are checked against the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_documented(maker: ModuleType) -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == maker.settings_page()


def test_the_architecture_lists_the_modules_there_are(maker: ModuleType) -> None:
    assert (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8") == maker.architecture_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in (
        []
        if "decisions" in page.parts
        else re.findall(
            r"`((?:feeds|profiles|recommender|delivery|api|tests|docs|bench|tools)/[\w./-]+)`", text
        )
    ):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    known = _commands()
    for line in re.findall(
        r"mycity ([a-z]+(?: [a-z-]+)?)", "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    ):
        words = line.split(" ")
        assert words[0] in known, f"{page.name} shows `mycity {line}`"
        if known[words[0]] and len(words) > 1:
            assert words[1] in known[words[0]], f"{page.name} shows `mycity {line}`"


def test_the_chinese_readme_says_the_same_things() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert len(re.findall(r"^## ", english, re.M)) == len(re.findall(r"^## ", chinese, re.M))
    for pattern in (r"```sh\n(.*?)```", r"\]\((docs/[^)]+)\)", r"^\| `(\w+/)`"):
        found = [re.findall(pattern, text, re.S | re.M) for text in (english, chinese)]
        stripped = [[re.sub(r"#.*", "", item).split() for item in items] for items in found]
        assert stripped[0] == stripped[1], pattern


def test_the_words_of_the_domain_are_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for word in (
        "Source",
        "Notice",
        "Revision",
        "Tag",
        "Theme",
        "Place",
        "Role",
        "Profile",
        "Pick",
        "Edition",
        "Shelf",
    ):
        assert f"| {word} |" in glossary


def _commands() -> dict[str, set[str]]:
    from api.ops.cli import app

    group = typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found[name] = set(getattr(command, "commands", {}))
    return found
