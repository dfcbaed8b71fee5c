"""Give a notice its tags by the city's rules, each tag with the rule and the word that caused it.

Never reads a file, database or clock, and never guesses beyond the rules (the classifier may, elsewhere).
Called by the intake for every new notice, by the desk's preview and by ``mycity tags``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from ahocorasick_rs import AhoCorasick

from feeds.catalogue.vocabulary import City, Place, Rule
from feeds.catalogue.words import one_form

WEIGHTS = {"title": 1.0, "upstream": 0.9, "doc_type": 0.8, "agency": 0.7, "text": 0.5}
#: A word counts in the text if it stands in the first characters or comes back.
HEAD = 400
#: Most leaf themes a notice keeps; a list of everything helps nobody.
MAX_THEMES = 4
#: Where title, tags or kind of document name a theme, a theme of the text alone must come back this often.
INSIST = 4

_CITY_WORDS = frozenset({"市级", "本市", "全市"})
_COUNTRY_WORDS = frozenset({"全国", "国家级", "中央", "国家"})
#: The cause of a tag that a person put there.
EDITOR = "editor"
Level = Literal["country", "city", "district", "street", "elsewhere", "unknown"]
_LEVEL_OF_KIND: Mapping[str, Level] = {
    "country": "country", "province": "country", "city": "city", "district": "district", "street": "street",
    "elsewhere": "elsewhere",
}  # fmt: skip
_FINEST_FIRST: tuple[Level, ...] = ("street", "district", "city", "country")
_LOCAL_WORDS: Mapping[str, Level] = {
    "区级": "district", "区县级": "district", "街镇级": "street", "街道级": "street",
}  # fmt: skip
_VAGUE_WORDS = frozenset({"", "其他", "其它", "未知", "不限", "unknown", "other"})
_ISSUER = re.compile(
    r"^(?:[^《]{2,120}?(?:局|委员会|委|办公室|办公厅|政府|办事处|院|厅|部|处)\s*(?=关于)|[^《]{2,60}?(?:令|公告)\s*:)"
)
_OUTER = re.compile(r"\s*(?:办公室|办公厅)?\s*(?:$|[\s、,;和])")
_LIST_SIGNS = "、,;/和与及 "
_SYNONYMS = re.compile(r"[(),、;]+")


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a notice.

    Attributes:
        kind: theme, role, life, type, place or agency.
        code: Code of that kind in the city.
        cause: ``<rule id>@<where>:<word>``, for example ``theme.0402.tax@title:增值税``.
        weight: Strength of the evidence, above 0 and at most 1.
    """

    kind: str
    code: str
    cause: str
    weight: float


class _Hit(NamedTuple):
    """One word found at ``start``..``end`` of a normalised text."""

    word: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What was found of one notice: word number → where it stands."""

    title: frozenset[int]
    agency: frozenset[int]
    text: frozenset[int]  # counts as said in the text
    anywhere: frozenset[int]
    words: frozenset[int]  # of every part
    often: Mapping[int, int]  # in the text


@dataclass
class _Words:
    """Every word that means something, numbered once."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, word: str) -> int:
        return self.numbers.setdefault(one_form(word), len(self.numbers))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule with its words as numbers; those of its parts in the order of the rule."""

    rule: Rule
    kind: str
    code: str
    title: dict[int, int]
    text: dict[int, int]
    agency: dict[int, int]
    also: frozenset[int]
    unless: frozenset[int]


class Tagger:
    """Tags notices of one city; build it once, it keeps one automaton over all words of the city."""

    def __init__(self, city: City) -> None:
        self._city = city
        words = _Words()
        self._rules = [_compile(rule, words) for rule in city.rules]
        self._topic_words = frozenset(words.numbers.values())
        self._decoys = frozenset(words.number(word) for word in city.decoys)
        self._only_decoys = self._decoys - self._topic_words
        self._place_of, self._careful = _place_words(city, words)
        self._agency_of = {
            words.number(name): slug
            for slug, agency in city.agencies.items()
            for name in (agency.label.zh, agency.label.en, *agency.aliases)
        }
        self._by_upstream = _index(self._rules, lambda rule: rule.upstream)
        self._by_doc_type = _index(self._rules, lambda rule: rule.doc_type)
        self._numbers = words.numbers
        self._spelling = list(words.numbers)
        self._city_names = _names_of(city.places[city.place])
        self._by_word: dict[int, list[_Compiled]] = {}
        for rule in self._rules:
            for number in {*rule.title, *rule.text, *rule.agency}:
                self._by_word.setdefault(number, []).append(rule)
        self._names = frozenset((*self._place_of, *self._agency_of))
        self._levels = {place.code: self._level(place) for place in city.places.values()}
        self._chains = {code: (code, *city.ancestors(code)) for code in city.places}
        self._automaton = AhoCorasick(self._spelling)
        # Only words that begin or end with a Latin letter or a digit can be pieces of longer ones.
        self._edged = frozenset(
            number for word, number in words.numbers.items() if _latin(word, 0) or _latin(word, len(word) - 1)
        )

    def tag(
        self, *, title: str, text: str, agency: str = "", doc_type: str = "",
        upstream: Sequence[str] = (), region: str = "",
    ) -> tuple[Tag, ...]:  # fmt: skip
        """Tag one notice.

        Args:
            title: As published; an issuer named at its head ("…局关于", "…部公告：") counts as agency.
            text: Plain text of the body, may be empty.
            agency: Name of the issuer, may be empty.
            doc_type: The source's own kind of document.
            upstream: The source's own tags; synonyms in brackets count too.
            region: The source's own word for the area ("市级", "上海市", "UK").

        Returns:
            One tag per kind and code, with its strongest cause; sorted by kind, then weight (highest first),
            then code. Empty if no rule fires.
        """
        return self.tag_forms(
            title=one_form(title), text=one_form(text), agency=one_form(agency), doc_type=doc_type,
            upstream=upstream, region=one_form(region),
        )  # fmt: skip

    def tag_forms(
        self, *, title: str, text: str, agency: str = "", doc_type: str = "",
        upstream: Sequence[str] = (), region: str = "",
    ) -> tuple[Tag, ...]:  # fmt: skip
        """Do what :meth:`tag` does; title, text, agency and region are in the form of ``one_form``."""
        issuer, subject = _split_issuer(title)
        agency_hits = self._find(agency or issuer)
        title_hits, text_hits = self._find(subject), self._find(text)
        found: dict[tuple[str, str], Tag] = {}
        evidence = self._evidence(title_hits, agency_hits, text_hits)
        for tag in self._rule_tags(evidence, doc_type, upstream):
            _keep(found, tag)
        self._choose_themes(found, evidence)
        issuers = (agency or issuer, agency_hits)
        if not self._is_elsewhere(region):
            for tag in self._place_tags(issuers, (subject, title_hits), (text, text_hits), region):
                _keep(found, tag)
        for tag in self._agency_tags(issuers):
            _keep(found, tag)
        return tuple(sorted(found.values(), key=lambda tag: (tag.kind, -tag.weight, tag.code)))

    def jurisdiction(
        self, *, tags: Iterable[Tag], region: str, source_place: str | None = None
    ) -> tuple[Level, str | None]:
        """Where a notice has force.

        Args:
            tags: What ``tag`` gave for it.
            region: The source's own word for the area; a name of no place of the city means elsewhere.
            source_place: Place code of its source, used when the region says nothing.

        Returns:
            Level (country, city, district, street, elsewhere, unknown) and place code. A zone inside one
            district has level street, a zone of several has level district. The issuer's place beats the
            title's.
        """
        word = one_form(region)
        if self._is_elsewhere(word):
            return "elsewhere", None
        strong = [tag for tag in tags if tag.kind == "place" and tag.weight >= WEIGHTS["agency"]]
        if level := _LOCAL_WORDS.get(word):
            return self._narrowest(strong, level) or ("unknown", None)
        place = self._region_place(word)
        if place:
            return self._level(place), place.code
        if source_place and source_place in self._city.places:
            return self._level(self._city.places[source_place]), source_place
        return self._narrowest(strong, "street") or ("unknown", None)

    # Finding words

    def _find(self, text: str) -> list[_Hit]:
        """All words of ``text`` that stand whole and are not part of a decoy."""
        found = map(_Hit._make, self._automaton.find_matches_as_indexes(text, overlapping=True))
        edged = self._edged
        hits = [hit for hit in found if hit.word not in edged or _whole(text, hit)]
        traps = [hit for hit in hits if hit.word in self._decoys]
        if not traps:
            return hits
        return [h for h in hits if h.word not in self._only_decoys and not any(_inside(h, t) for t in traps)]

    def _evidence(self, title: list[_Hit], agency: list[_Hit], text: list[_Hit]) -> _Evidence:
        in_title = frozenset([hit.word for hit in title])
        often = _counted([hit.word for hit in text])
        head = {hit.word for hit in text if hit.start < HEAD}
        said = frozenset([word for word, n in often.items() if n > 1 or word in head])
        by_issuer = frozenset([hit.word for hit in agency])
        anywhere = in_title | often.keys()
        return _Evidence(in_title, by_issuer, said | in_title, anywhere, anywhere | by_issuer, often)

    # Rules

    def _rule_tags(self, seen: _Evidence, doc_type: str, upstream: Sequence[str]) -> Iterator[Tag]:
        """What the rules say: first by words, then by the source's own tags and kind of document."""
        for rule in {r.rule.id: r for word in seen.words for r in self._by_word.get(word, ())}.values():
            if _allowed(rule, seen) and (tag := self._word_tag(rule, seen)):
                yield tag
        for where, table, values in (
            ("upstream", self._by_upstream, _spellings(upstream)),
            ("doc_type", self._by_doc_type, [one_form(doc_type)]),
        ):
            for value in values:
                for rule in table.get(value, ()):
                    if _allowed(rule, seen):
                        yield _tag(rule, where, value)

    def _word_tag(self, rule: _Compiled, seen: _Evidence) -> Tag | None:
        """The tag for the part that weighs most; the rule's first word found there is the cause."""
        for where, numbers, there in (
            ("title", rule.title, seen.title),
            ("agency", rule.agency, seen.agency),
            ("text", rule.text, seen.text),
        ):
            if where == "text" and not rule.unless.isdisjoint(seen.anywhere):
                return None
            if common := numbers.keys() & there:
                return _tag(rule, where, self._spelling[min(common, key=numbers.__getitem__)])
        return None

    def _choose_themes(self, found: dict[tuple[str, str], Tag], seen: _Evidence) -> None:
        """Leave the few themes that are worth keeping, and add those above them."""
        themes = [tag for tag in found.values() if tag.kind == "theme"]
        if not themes:
            return
        kept = self._few_themes(themes, seen)
        for tag in themes:
            if tag not in kept:
                del found[tag.kind, tag.code]
        for tag in kept:
            if parent := self._city.themes[tag.code].parent:
                _keep(found, Tag("theme", parent, tag.cause, tag.weight))

    def _few_themes(self, themes: list[Tag], seen: _Evidence) -> list[Tag]:
        """The leaf themes worth keeping: strong ones first, then those whose word comes back most often."""
        often = {t.code: seen.often.get(self._numbers.get(t.cause.partition(":")[2], -1), 0) for t in themes}
        if any(tag.weight > WEIGHTS["agency"] for tag in themes):
            themes = [t for t in themes if t.weight > WEIGHTS["text"] or often[t.code] >= INSIST]
        themes.sort(key=lambda t: (-t.weight, -often[t.code], t.code))
        return themes[:MAX_THEMES]

    # Places and agencies

    def _longest(self, hits: list[_Hit]) -> list[_Hit]:
        """Names of places and agencies that are not part of a longer such name."""
        known = self._names
        names = [hit for hit in hits if hit.word in known]
        if len(names) < 2:
            return names
        return [hit for hit in names if not any(_inside(hit, other) for other in names)]

    def _places_in(self, text: str, hits: list[_Hit]) -> list[tuple[str, _Hit]]:
        """Places named in ``text``; the name of an agency stands for its place."""
        names = sorted(self._longest(hits), key=lambda h: h.start)
        return [(self._seat(h.word), h) for h in names if self._means_place(text, h, names)]

    def _seat(self, word: int) -> str:
        return self._place_of.get(word) or self._city.agencies[self._agency_of[word]].place

    def _means_place(self, text: str, hit: _Hit, names: list[_Hit]) -> bool:
        """A careful name needs the city before it or another name beside it in a list."""
        if hit.word not in self._careful:
            return True
        before = text[: hit.start].rstrip()
        if before.endswith(self._city_names):
            return True
        ends = {name.end for name in names}
        starts = {name.start for name in names}
        left, right = len(text[: hit.start].rstrip(_LIST_SIGNS)), hit.end
        while right < len(text) and text[right] in _LIST_SIGNS:
            right += 1
        return (left < hit.start and left in ends) or (right > hit.end and right in starts)

    def _place_tags(
        self, issuer: tuple[str, list[_Hit]], title: tuple[str, list[_Hit]], text: tuple[str, list[_Hit]],
        region: str,
    ) -> Iterator[Tag]:  # fmt: skip
        if place := self._region_place(region):
            # The country and what lies elsewhere are said by the region only: texts name them all the time.
            yield from self._place_and_above(place.code, f"region:{region}", WEIGHTS["upstream"])
        for where, (words, hits) in (("title", title), ("agency", issuer)):
            for code, hit in self._places_in(words, hits):
                yield from self._place_and_above(code, f"{where}:{self._spelling[hit.word]}", WEIGHTS[where])
        in_text = [(code, hit) for code, hit in self._places_in(*text) if hit.word in self._place_of]
        often = _counted([code for code, _ in in_text])
        for code, hit in in_text:
            if hit.start < HEAD or often[code] > 1:
                yield from self._place_and_above(code, f"text:{self._spelling[hit.word]}", WEIGHTS["text"])

    def _place_and_above(self, code: str, cause: str, weight: float) -> Iterator[Tag]:
        """The place and what contains it, up to the city; the country only if it is meant itself."""
        for one in self._chains[code]:
            if one == code or self._city.places[one].kind not in ("country", "province"):
                yield Tag("place", one, f"place.{code}@{cause}", weight)

    def _agency_tags(self, issuer: tuple[str, list[_Hit]]) -> Iterator[Tag]:
        name, hits = issuer
        for hit in self._longest(hits):
            slug = self._agency_of.get(hit.word)
            if slug and _OUTER.match(name, hit.end):
                yield Tag("agency", slug, f"agency.{slug}@agency:{self._spelling[hit.word]}", 1.0)

    # Jurisdiction

    def _region_place(self, region: str) -> Place | None:
        if region in _VAGUE_WORDS or region in _LOCAL_WORDS:
            return None
        if region in _CITY_WORDS:
            return self._city.places[self._city.place]
        if region in _COUNTRY_WORDS:
            return next((p for p in self._city.places.values() if p.kind == "country"), None)
        return self._city.resolve_place(region)

    def _is_elsewhere(self, region: str) -> bool:
        if region in _VAGUE_WORDS or region in _LOCAL_WORDS:
            return False
        place = self._region_place(region)
        return place is None or place.kind == "elsewhere"

    def _level(self, place: Place) -> Level:
        if place.kind == "zone":
            return "street" if self._city.places[place.parent].kind == "district" else "district"
        return _LEVEL_OF_KIND[place.kind]

    def _narrowest(self, strong: list[Tag], level: Level) -> tuple[Level, str] | None:
        """The one place of the finest level named, not below ``level``; of two, what holds both."""
        if not strong:
            return None
        by_hand = {tag.code for tag in strong if tag.cause == EDITOR and tag.code in self._city.places}
        found = [
            {tag.code for tag in strong if source in tag.cause and f"place.{tag.code}@" in tag.cause}
            for source in ("@agency:", "@title:", "@region:")
        ]
        for named in (by_hand, *found):
            chains = {code for name in named for code in self._chains[name]}
            for step in _FINEST_FIRST[_FINEST_FIRST.index(level) :]:
                here = [code for code in chains if self._levels[code] == step]
                if len(here) == 1:
                    return step, here[0]
        return None


def _compile(rule: Rule, words: _Words) -> _Compiled:
    kind, _, code = rule.tag.partition(":")
    keys = ("title", "text", "agency", "also", "unless")
    # Each word's number → its place in the rule; of words that are one folded, the first.
    numbers = {key: dict.fromkeys(map(words.number, getattr(rule, key))) for key in keys}
    title, text, agency = (
        {number: at for at, number in enumerate(numbers[key])} for key in ("title", "text", "agency")
    )
    return _Compiled(
        rule, kind, code, title, text, agency, frozenset(numbers["also"]), frozenset(numbers["unless"])
    )


def _index(rules: list[_Compiled], values: Callable[[Rule], tuple[str, ...]]) -> dict[str, list[_Compiled]]:
    table: dict[str, list[_Compiled]] = {}
    for rule in rules:
        for value in values(rule.rule):
            table.setdefault(one_form(value), []).append(rule)
    return table


def _names_of(place: Place) -> tuple[str, ...]:
    return tuple(one_form(name) for name in (place.label.zh, *place.aliases))


def _place_words(city: City, words: _Words) -> tuple[dict[int, str], frozenset[int]]:
    """Word number → place code; a name that belongs to several places goes to the first of the files."""
    places: dict[int, str] = {}
    careful: set[int] = set()
    for place in city.places.values():
        if place.kind in ("country", "elsewhere"):
            continue
        for name in (place.label.zh, place.label.en, *place.aliases, *place.former):
            places.setdefault(words.number(name), place.code)
        for name in place.careful:
            number = words.number(name)
            places.setdefault(number, place.code)
            careful.add(number)
    return places, frozenset(careful)


def _counted(things: Iterable[_T]) -> dict[_T, int]:
    """How often each thing is there; a ``Counter`` takes longer to make than a notice's few words do."""
    often: dict[_T, int] = {}
    for thing in things:
        often[thing] = often.get(thing, 0) + 1
    return often


def _split_issuer(title: str) -> tuple[str, str]:
    if "关于" not in title and ":" not in title:
        return "", title  # an issuer stands before the one or the other
    match = _ISSUER.match(title)
    return (title[: match.end()].strip(" :"), title[match.end() :]) if match else ("", title)


def _spellings(upstream: Sequence[str]) -> list[str]:
    """Each upstream tag whole, then its synonyms: "電信通訊(電訊，通訊)" gives four."""
    spellings: dict[str, None] = {}
    for tag in map(one_form, upstream):
        spellings[tag] = None
        spellings.update(dict.fromkeys(part.strip() for part in _SYNONYMS.split(tag) if part.strip()))
    return list(spellings)


def _whole(text: str, hit: _Hit) -> bool:
    """An English word must not be a piece of a longer one, its plural excepted."""
    if _latin(text, hit.start) and _latin(text, hit.start - 1):
        return False
    if not _latin(text, hit.end - 1):
        return True
    for plural in ("", "s", "es"):
        if text.startswith(plural, hit.end) and not _latin(text, hit.end + len(plural)):
            return True
    return False


def _latin(text: str, at: int) -> bool:
    return 0 <= at < len(text) and text[at].isascii() and text[at].isalnum()


def _inside(hit: _Hit, other: _Hit) -> bool:
    return other.start <= hit.start and hit.end <= other.end and hit.end - hit.start < other.end - other.start


def _allowed(rule: _Compiled, seen: _Evidence) -> bool:
    """``unless`` words of the title or issuer forbid the rule; those of the body only silence the body."""
    if rule.unless and not (rule.unless.isdisjoint(seen.title) and rule.unless.isdisjoint(seen.agency)):
        return False
    return not rule.also or not rule.also.isdisjoint(seen.words)


def _tag(rule: _Compiled, where: str, word: str) -> Tag:
    return Tag(rule.kind, rule.code, f"{rule.rule.id}@{where}:{word}", WEIGHTS[where])


def _keep(found: dict[tuple[str, str], Tag], tag: Tag) -> None:
    """Remember the strongest cause; of equal ones the smaller, so that the order of rules does not matter."""
    old = found.get((tag.kind, tag.code))
    if old is None or (-tag.weight, tag.cause) < (-old.weight, old.cause):
        found[tag.kind, tag.code] = tag
