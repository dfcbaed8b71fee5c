"""A recipe: how one list (a web page, a JSON answer, a table) is read, as a few lines of configuration.

Checks what a person wrote, one sentence for each objection; reads no list itself and fetches nothing.
docs/lists.md explains the keys. Called by the list parsers, the store of sources and ``mycity sources``.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from feeds.intake.recipe_fields import Take, pattern_of, read_takes, unknown_key
from feeds.kernel.errors import UsageError

RecipeKind = Literal["json", "html", "csv", "feed"]
MAX_ITEMS = 5_000
MAX_BODY = 20_000  # characters of a POST body
_COMMON = ("fields", "base", "charset", "skip", "method", "body", "form", "max_items", "page")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "json": ("items", *_COMMON),
    "html": ("items", *_COMMON),
    "csv": ("delimiter", "header", *_COMMON),
    "feed": ("page",),
}
_PAGE = ("main", "remove", "title", "published")
_SOURCE_TEXTS = ("slug", "name", "url", "kind", "agency", "place", "lang", "timezone", "licence", "release")
_SOURCE_NUMBERS = ("minutes", "trust")
_SOURCE_LISTS = ("tags", "rules")
_SOURCE = (*_SOURCE_TEXTS, *_SOURCE_NUMBERS, *_SOURCE_LISTS, "full_text", "recipe")
_ATTRIBUTE = re.compile(r"(?P<selector>.*?)@(?P<name>:?[A-Za-z_][\w:.-]*)", re.DOTALL)
_SPECIAL = (":next", ":html", ":own")
_DELIMITERS = {",": ",", ";": ";", "|": "|", "\t": "\t", "tab": "\t"}


@dataclass(frozen=True, slots=True)
class PageRecipe:
    """Where the parts of a notice's own page stand, as CSS selectors; empty ones are found by themselves.

    Attributes:
        main: The text; every match counts.
        remove: What is taken out of it.
        title, published: Of the page.
    """

    main: str = ""
    remove: tuple[str, ...] = ()
    title: str = ""
    published: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a list is read.

    Attributes:
        kind: What the list is; ``feed`` for a recipe that only says how the pages of a feed are read.
        items: Where the items are: a path (JSON; empty means the answer itself) or a CSS selector.
        fields: Field of the notice file → how it is taken.
        base: Address that relative links are resolved against; else the page's own.
        charset: Of the bytes, where the answer says nothing or the wrong thing.
        skip: Field → pattern; an item where one of them is found is left out without a word.
        method: ``POST`` sends ``body``, as a form if ``form``, else as JSON.
        max_items: At most so many are read.
        delimiter: Of a CSV; empty: found by itself.
        header: Line of a CSV that names the columns, from 1; or the names, where no line does; or 0.
        page: Of a notice's own page.
    """

    kind: RecipeKind
    items: str = ""
    fields: Mapping[str, Take] = field(default_factory=dict)
    base: str = ""
    charset: str = ""
    skip: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    method: Literal["GET", "POST"] = "GET"
    body: Any = None
    form: bool = False
    max_items: int = MAX_ITEMS
    delimiter: str = ""
    header: int | tuple[str, ...] = 1
    page: PageRecipe = PageRecipe()
    _written: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def to_mapping(self) -> dict[str, Any]:
        """Return the recipe as it was written, fit for JSON; :func:`read_recipe` makes the same of it."""
        return cast(dict[str, Any], json.loads(json.dumps(self._written)))


def read_recipe(kind: str, mapping: Mapping[str, Any]) -> Recipe:
    """Read and check a recipe.

    Args:
        kind: ``json``, ``html`` or ``csv``; ``feed`` takes only ``page``.
        mapping: As in a file's ``[recipe]``; docs/lists.md explains the keys.

    Raises:
        UsageError: For the first thing that does not fit, naming its key and what is allowed.
    """
    if kind not in get_args(RecipeKind):
        raise UsageError(f"A source of kind {kind[:40]!r} is read without a recipe; use json, html or csv.")
    if not isinstance(mapping, Mapping):
        raise UsageError('The recipe must be a table with keys, such as items = "ul.list li".')
    for key in mapping:
        if key not in _KEYS[kind]:
            elsewhere = next((other for other in _KEYS if key in _KEYS[other]), "")
            if elsewhere:
                allowed = ", ".join(_KEYS[kind])
                raise UsageError(f"{key} is for {elsewhere}, not for {kind}; allowed are {allowed}.")
            raise unknown_key(f"A recipe of kind {kind}", str(key), _KEYS[kind])
    is_list = kind != "feed"
    fields = read_takes(mapping.get("fields")) if is_list else {}
    recipe = Recipe(
        kind=cast(RecipeKind, kind),
        items=_items(kind, mapping.get("items", "")) if is_list else "",
        fields=fields,
        base=_base(mapping.get("base", "")),
        charset=_charset(mapping.get("charset", "")),
        skip=_skip(mapping.get("skip", {}), fields),
        method=_method(mapping),
        body=_body(mapping),
        form=_flag("form", mapping.get("form", False)),
        max_items=_max_items(mapping.get("max_items", MAX_ITEMS)),
        delimiter=_delimiter(mapping.get("delimiter", "")),
        header=_header(mapping.get("header", 1)),
        page=_page(mapping.get("page", {})),
        _written=_json(mapping),
    )
    _check_expressions(recipe)
    return recipe


def load_recipe_file(text: str) -> tuple[dict[str, Any], Recipe | None]:
    """Read a file that describes a whole source.

    Args:
        text: TOML with ``slug``, ``name``, ``url``, ``kind`` and what else a source has (``minutes`` between
            polls; ``tags`` and ``rules`` are lists of texts), and the recipe under ``[recipe]``.

    Returns:
        The settings that were given, by their names in the file, without ``recipe``; and the recipe,
        ``None`` where the kind needs none. Values of settings are checked where sources are stored.

    Raises:
        UsageError: If it is no TOML, a key is unknown, or a value is of the wrong type.
    """
    try:
        given = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"The file is not TOML ({error}); see docs/lists.md for an example.") from None
    for name, value in given.items():
        _check_setting(name, value)
    for name in ("slug", "name", "url", "kind"):
        if not given.get(name):
            raise UsageError(f"The file does not say {name}; add a line such as {_example(name)}.")
    recipe = given.pop("recipe", None)
    if recipe is None and given["kind"] in ("json", "html", "csv"):
        raise UsageError('A list needs a [recipe], such as items = "ul.list li"; see docs/lists.md.')
    return given, None if recipe is None else read_recipe(given["kind"], recipe)


def html_place(expression: str) -> tuple[str, str]:
    """Divide ``a@title`` into selector and attribute; ``.`` and an empty selector mean the item itself."""
    found = _ATTRIBUTE.fullmatch(expression)
    selector, name = (found["selector"], found["name"]) if found else (expression, "")
    selector = selector.strip()
    return ("" if selector == "." else selector), name


def json_steps(path: str) -> tuple[str, ...]:
    """Divide ``data.rows`` or ``/data/rows`` into steps; ``$`` and an empty path mean the value itself."""
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    steps = path.strip().removeprefix("$").removeprefix(".")
    return tuple(steps.split(".")) if steps else ()


def check_selector(key: str, selector: Any) -> str:
    """Return a CSS selector.

    Raises:
        UsageError: If it is none.
    """
    try:
        if isinstance(selector, str) and selector.strip():
            LexborHTMLParser("<p>").css(selector)
            return selector.strip()
    except (SelectolaxError, UnicodeError):
        pass
    raise UsageError(f"{key} is no CSS selector ({str(selector)[:60]!r}); write it like 'ul.list li'.")


def _check_expressions(recipe: Recipe) -> None:
    for name, take in recipe.fields.items():
        for expression in take.expressions():
            if recipe.kind == "html":
                selector, attribute = html_place(expression)
                if selector:
                    check_selector(f"fields.{name}", selector)
                if attribute.startswith(":") and attribute not in _SPECIAL:
                    raise unknown_key(f"fields.{name}", attribute, _SPECIAL)
            elif recipe.kind == "json" and len(json_steps(expression)) > 20:
                raise UsageError(f"fields.{name} goes more than 20 steps deep; write it like data.title.")


def _items(kind: str, given: Any) -> str:
    if kind == "html":
        return check_selector("items", given)
    if not isinstance(given, str) or len(json_steps(given)) > 20:
        raise UsageError("items must be the path of the list, such as data.rows or /data/rows.")
    return given


def _base(given: Any) -> str:
    if given == "" or (isinstance(given, str) and re.fullmatch(r"https?://[^\s/]+\S*", given)):
        return str(given)
    raise UsageError("base must be a web address, such as https://www.shili.example/zwgk/.")


def _charset(given: Any) -> str:
    try:
        return codecs.lookup(given).name if given else ""
    except (LookupError, TypeError, ValueError):
        raise UsageError(f"charset {str(given)[:40]!r} is not known; write it like gb18030.") from None


def _skip(given: Any, fields: Mapping[str, Take]) -> dict[str, re.Pattern[str]]:
    if not isinstance(given, Mapping):
        raise UsageError('skip must be a table of field and pattern, such as { url = "test_" }.')
    for name in given:
        if name not in fields:
            raise unknown_key("skip", str(name), tuple(fields))
    return {name: pattern_of(f"skip.{name}", pattern) for name, pattern in given.items()}


def _method(mapping: Mapping[str, Any]) -> Literal["GET", "POST"]:
    method = str(mapping.get("method", "GET")).upper()
    if method not in ("GET", "POST"):
        raise UsageError(f"method {method[:20]!r} is not allowed; write GET or POST.")
    if method == "GET" and (mapping.get("body") is not None or mapping.get("form")):
        raise UsageError('body and form are sent by POST only; add method = "POST".')
    return cast(Literal["GET", "POST"], method)


def _body(mapping: Mapping[str, Any]) -> Any:
    body = mapping.get("body")
    if mapping.get("form") and not isinstance(body, Mapping):
        raise UsageError('form = true needs a body of names and texts, such as body = { page = "1" }.')
    return _json(body)


def _json(value: Any) -> Any:
    """A copy as JSON would give it back."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise UsageError(
            "The recipe holds a value that is no JSON, such as a date; write it in quotes."
        ) from None
    if len(text) > MAX_BODY:
        raise UsageError(f"The recipe has {len(text)} characters; at most {MAX_BODY} are kept.")
    return json.loads(text)


def _flag(key: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise UsageError(f"{key} must be true or false.")
    return given


def _max_items(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_ITEMS:
        raise UsageError(f"max_items must be a number from 1 to {MAX_ITEMS}.")
    return given


def _delimiter(given: Any) -> str:
    if given == "":
        return ""
    if not isinstance(given, str) or given not in _DELIMITERS:
        raise UsageError("delimiter must be one of ',', ';', '|' and 'tab'.")
    return _DELIMITERS[given]


def _header(given: Any) -> int | tuple[str, ...]:
    if isinstance(given, bool):
        return int(given)
    if isinstance(given, int) and 0 <= given <= 100:
        return given
    names = isinstance(given, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in given)
    if names and given:
        return tuple(name.strip() for name in given)
    raise UsageError('header must be a line number such as 1, false, or the names: ["日期", "标题"].')


def _page(given: Any) -> PageRecipe:
    if not isinstance(given, Mapping):
        raise UsageError("page must be a table, such as { main = '#content' }.")
    for key in given:
        if key not in _PAGE:
            raise unknown_key("page", str(key), _PAGE)
    remove = given.get("remove", [])
    remove = [remove] if isinstance(remove, str) else remove
    if not isinstance(remove, (list, tuple)):
        raise UsageError("page.remove must be a list of CSS selectors, such as ['.share'].")
    found = {
        key: check_selector(f"page.{key}", given[key])
        for key in ("main", "title", "published")
        if key in given
    }
    return PageRecipe(remove=tuple(check_selector("page.remove", one) for one in remove), **found)


def _check_setting(name: str, value: Any) -> None:
    if name not in _SOURCE:
        raise unknown_key("A source file", name, _SOURCE)
    fits = (
        (name in _SOURCE_TEXTS and isinstance(value, str))
        or (name in _SOURCE_NUMBERS and isinstance(value, int) and not isinstance(value, bool))
        or (name in _SOURCE_LISTS and isinstance(value, list) and all(isinstance(one, str) for one in value))
        or (name == "full_text" and isinstance(value, bool))
        or (name == "recipe" and isinstance(value, dict))
    )
    if not fits:
        raise UsageError(f"{name} is of the wrong type; write it like {_example(name)}.")


def _example(name: str) -> str:
    examples = {
        "url": 'url = "https://www.shili.example/zwgk/"',
        "kind": 'kind = "html"',
        "minutes": "minutes = 60",
        "trust": "trust = 50",
        "tags": 'tags = ["theme:0402"]',
        "rules": 'rules = ["exclude title: 招聘"]',
        "full_text": "full_text = true",
        "recipe": "[recipe]",
    }
    return examples.get(name, f'{name} = "…"')
