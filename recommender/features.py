"""Turn candidates and profiles into rows of numbers over a frozen vocabulary. Pure.

Items are their tags and title words, never themselves: a notice of this minute has features that last month's
taught. Residents are what they declared, and themselves (``id:7``) only where training knew enough of them to
name them in the vocabulary. Unknown features are skipped. Called by training and by the blend.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from feeds.catalogue.words import cut
from profiles.types import Profile
from recommender.types import Candidate, Csr, FeatureSpace, Rows, csr, lists

#: Place code → codes of what contains it, nearest first (``Kinship.above``).
Above: TypeAlias = Mapping[str, tuple[str, ...]]
#: A title word must stand in this many notices; a word seen once teaches nothing.
MIN_DOCUMENTS = 2
#: Residents who must share what they declared before it is a feature: what one alone declared would stay in
#: the model when they are erased. For a sensitive tag or role it takes more.
MIN_SHARED, MIN_SHARED_SENSITIVE = 5, 20
#: Events from which a resident is a feature of their own.
IDENTITY_EVENTS = 5
_IDENTITY = "id:"
_REMEMBERED = 20_000
_ENGLISH = re.compile(r"[a-z][0-9a-z]{2,}")
_CHINESE = re.compile(r"[㐀-鿿]{2,}")
# What stands in every second title of a government notice and so tells nothing.
_STOP = """
关于 印发 通知 公告 通告 公示 进行 开展 做好 有关 相关 工作 事项 上海 上海市 本市 示例 示例市 我市
人民 政府 人民政府 办公 办公室 办公厅 委员 委员会 管理局 实施 方案 意见 办法 若干 规定 年度
发布 转发 以及 其中 部分 全文 解读 修改 决定
the and for with from that this into your are was were has have its our not can may will shall all any
notice notices announcement shanghai shili city municipal government people office bureau general new about
"""
STOP_WORDS = frozenset(_STOP.split())


def title_words(title: str) -> tuple[str, ...]:
    """Cut a title into the words that may become features.

    Chinese is folded to Simplified and cut by rjieba (words of one character are dropped), Latin runs are
    lower-cased and need three characters; stop words and numbers go. Repeats are removed, the order stays.
    """
    kept = (word for word in cut(title) if _ENGLISH.fullmatch(word) or _CHINESE.fullmatch(word))
    return tuple(dict.fromkeys(word for word in kept if word not in STOP_WORDS))


def item_features(candidate: Candidate) -> set[str]:
    """Names of an item's features, such as ``theme:0402``, ``agency:tax``, ``w:奖励``."""
    names = {f"{tag.kind}:{tag.code}" for tag in candidate.tags}
    if candidate.agency:
        names.add(f"agency:{candidate.agency}")
    names.update(f"w:{word}" for word in candidate.words)
    return names


def item_space(candidates: Iterable[Candidate]) -> FeatureSpace:
    """Freeze the vocabulary of items: every tag, words of at least :data:`MIN_DOCUMENTS` notices; sorted."""
    seen = Counter(name for candidate in candidates for name in item_features(candidate))
    return FeatureSpace.of(
        sorted(n for n, times in seen.items() if times >= MIN_DOCUMENTS or not n.startswith("w:"))
    )


def item_matrix(candidates: Sequence[Candidate], space: FeatureSpace) -> Csr:
    """Rows of items.

    Returns:
        float32 CSR, shape (n_candidates, len(space)); rows have length 1 (L2), or 0 where no feature is
        known.
    """
    return csr((_row(item_features(candidate), space.columns) for candidate in candidates), len(space))


def user_features(profile: Profile, above: Above) -> set[str]:
    """Names of what a resident declared: ``role:…``, ``interest:…``, ``place:…`` with what contains it.

    Words that they typed themselves are left out: they may say anything of anybody.
    """
    names = {f"role:{role}" for role in profile.roles}
    for followed in profile.places:
        names.add(f"place:{followed.code}")
        names.update(f"place:{code}" for code in above.get(followed.code, ()))
    names.update(f"interest:{tag}" for tag in profile.interests if not tag.startswith("word:"))
    return names


def identity(profile_id: int) -> str:
    """The feature that is one resident."""
    return f"{_IDENTITY}{profile_id}"


def user_space(
    profiles: Iterable[Profile], above: Above, is_sensitive: Callable[[str], bool],
    known_well: Iterable[int] = (),
) -> FeatureSpace:  # fmt: skip
    """Freeze the vocabulary of residents: what enough of them declared, and those known well, sorted.

    Args:
        profiles: Those who teach.
        above: What contains a place.
        is_sensitive: Whether a tag (``theme:1706``, ``role:aid``) is; such a feature needs
            :data:`MIN_SHARED_SENSITIVE` residents, every other :data:`MIN_SHARED`.
        known_well: Ids of those who become features of their own.
    """
    shared = Counter(name for profile in profiles for name in user_features(profile, above))
    names = {
        name
        for name, people in shared.items()
        if people >= (MIN_SHARED_SENSITIVE if is_sensitive(name.removeprefix("interest:")) else MIN_SHARED)
    }
    names.update(identity(profile_id) for profile_id in known_well)
    return FeatureSpace.of(sorted(names))


def user_matrix(profiles: Sequence[Profile], above: Above, space: FeatureSpace) -> Csr:
    """Rows of residents.

    Returns:
        float32 CSR, shape (n_profiles, len(space)); rows have length 1 (L2), or 0 where nothing is known.
    """
    return UserRows(above, space).rows(profiles).csr()


class UserRows:
    """Turns residents into rows over one vocabulary; remembers the columns of roles, places and tags."""

    def __init__(self, above: Above, space: FeatureSpace) -> None:
        self._space = space
        self._roles = _Columns(lambda code: (f"role:{code}",), space)
        self._interests = _Columns(lambda tag: (f"interest:{tag}",), space)
        self._places = _Columns(
            lambda code: tuple(f"place:{one}" for one in (code, *above.get(code, ()))), space
        )
        self._known_well = any(name.startswith(_IDENTITY) for name in space.names)

    def rows(self, profiles: Sequence[Profile]) -> Rows:
        """The same as :func:`user_matrix`."""
        rows = [self._row(profile) for profile in profiles]
        return lists(rows, len(self._space), [1.0 / math.sqrt(len(row) or 1) for row in rows])

    def _row(self, profile: Profile) -> list[int]:
        found: set[int] = set()
        for code in profile.roles:
            found.update(self._roles[code])
        for followed in profile.places:
            found.update(self._places[followed.code])
        for tag in profile.interests:
            found.update(self._interests[tag])
        if self._known_well and (own := self._space.columns.get(identity(profile.id))) is not None:
            found.add(own)
        return sorted(found)


class _Columns(dict[str, tuple[int, ...]]):
    """The columns of what somebody named; worked out once for each name."""

    def __init__(self, names_of: Callable[[str], tuple[str, ...]], space: FeatureSpace) -> None:
        super().__init__()
        self._names_of, self._space = names_of, space

    def __missing__(self, code: str) -> tuple[int, ...]:
        columns = self._space.columns
        found = tuple(columns[name] for name in self._names_of(code) if name in columns)
        if len(self) < _REMEMBERED:  # words that residents typed have no end
            self[code] = found
        return found


def _row(names: Iterable[str], columns: Mapping[str, int]) -> dict[int, float]:
    found = [columns[name] for name in names if name in columns]
    return dict.fromkeys(found, 1.0 / math.sqrt(len(found))) if found else {}
