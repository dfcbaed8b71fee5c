"""Draw an evaluation as an SVG: a bar for each method and band of history, with its standard error. Pure.

Text in, text out; the reader's fonts are used. Called by ``mycity evaluate --chart``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

#: Name of a method → how people read it, Chinese and English. Others show their name.
LABELS: Mapping[str, tuple[str, str]] = {
    "random": ("随机", "random"),
    "newest": ("最新优先", "newest first"),
    "popularity": ("标签热度", "tag popularity"),
    "content": ("内容画像", "content profile"),
    "neighbours": ("相似公告", "similar items"),
    "lightfm": ("LightFM", "LightFM alone"),
    "blend": ("手工混合", "untrained blend"),
    "ranker": ("排序模型", "ranker alone"),
    "pipeline": ("实际流程", "what ships"),
}
#: Band → colour and name. The four differ in lightness too, for print and for colour-blind readers.
_BARS = (
    ("all", "#1f2937", "全部 all users"),
    ("0", "#f59e0b", "无历史 no history"),
    ("1-19", "#38a3c7", "1–19 条 events before"),
    ("20+", "#1d5b8f", "20 条以上 or more"),
)
_LEFT, _RIGHT, _TOP, _BAR, _GAP, _FOOT = 190, 70, 104, 13, 16, 58
_WIDTH, _NAME = 920, 32
_TITLE = "推荐评测 Who will care for what is new?"
#: Lengths of a step of the axis; the first that gives at most so many is taken.
_STEPS, _MOST_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1), 10


def chart(found: Mapping[str, Any], data: str) -> str:
    """Draw a report.

    Args:
        found: What ``Result.json`` gives; methods stand in its order.
        data: What was judged on, as the reader knows it.

    Returns:
        A whole SVG document. A band without questions has no bar.
    """
    methods: Mapping[str, Any] = found["methods"]
    most = max((_high(part) for values in methods.values() for _, part in _parts(values)), default=0.0)
    top = min(most, 1.0) or 0.1
    step = (_BAR + 1) * len(_BARS) + _GAP
    bottom = _TOP + step * len(methods)
    body = [*_head(found, data), *_grid(top, bottom)]
    for n, (name, values) in enumerate(methods.items()):
        body += _group(name, values, _TOP + n * step, top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + _FOOT}" '
        f'width="{_WIDTH}" height="{bottom + _FOOT}" role="img" '
        "font-family=\"'Noto Sans SC','PingFang SC','Microsoft YaHei',system-ui,sans-serif\">\n"
        f"<title>{escape(f'{_TITLE} ({data})')}</title>\n"
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def label(name: str) -> str:
    """How a method is named to people, both languages."""
    chinese, english = LABELS.get(name, (name, name))
    return english if chinese in english else f"{chinese} {english}"


def _head(found: Mapping[str, Any], data: str) -> list[str]:
    split, counts = found["split"], found["counts"]
    span = f"{split['test_from'][:10]} – {split['test_to'][:10]}"
    name = data if len(data) <= _NAME else f"{data[: _NAME - 1]}…"
    lines = [
        _text(16, 28, _TITLE, size=18, weight="600"),
        _text(_WIDTH - 16, 28, f"data 数据: {name}", size=13, anchor="end", fill="#374151"),
        _text(
            16, 50,
            f"{span}，{counts['questions']} questions 提问, {counts['candidates']} new items 新条目, "
            f"seed {found['seed']}; bars 误差线 = ± 1 standard error 标准误",
            size=13, fill="#374151",
        ),
    ]  # fmt: skip
    at = 16.0
    for _, colour, name in _BARS:
        lines.append(f'<rect x="{at:g}" y="66" width="13" height="13" fill="{colour}"/>')
        lines.append(_text(at + 19, 77, name, size=13))
        at += 19 + sum(13 if ord(sign) > 0x2E80 else 7 for sign in name) + 22
    return lines


def _grid(top: float, bottom: int) -> list[str]:
    lines = []
    step = next((one for one in _STEPS if top <= one * _MOST_STEPS), _STEPS[-1])
    digits = len(f"{step:g}") - 2
    for n in range(int(top / step + 1e-9) + 1):
        x = _x(n * step, top)
        colour = "#6b7280" if n == 0 else "#e5e7eb"
        lines.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>')
        lines.append(_text(x, bottom + 18, f"{n * step:.{digits}f}", size=12, anchor="middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(_text(middle, bottom + 42, "NDCG@10（越高越好 higher is better）", size=13, anchor="middle"))
    return lines


def _group(name: str, values: Mapping[str, Any], y: float, top: float) -> list[str]:
    chinese, english = LABELS.get(name, ("", name))
    middle = y + (_BAR + 1) * len(_BARS) / 2
    weight = "600" if name == "pipeline" else "400"
    lines = [
        _text(_LEFT - 12, middle + (-2 if chinese else 5), english, size=14, anchor="end", weight=weight)
    ]
    if chinese and chinese not in english:
        lines.append(_text(_LEFT - 12, middle + 16, chinese, size=13, anchor="end", fill="#374151"))
    for n, (colour, part) in enumerate(_parts(values)):
        value = part.get("ndcg10")
        at = y + n * (_BAR + 1)
        if value is None:
            lines.append(_text(_LEFT + 5, at + 11, "–", size=11))
            continue
        end = _x(value, top)
        lines.append(
            f'<rect x="{_LEFT}" y="{at:g}" width="{end - _LEFT:.1f}" height="{_BAR}" fill="{colour}"/>'
        )
        lines += _whisker(value, part.get("se") or 0.0, at + _BAR / 2, top)
        lines.append(_text(_x(_high(part), top) + 6, at + 11, f"{value:.3f}", size=11))
    return lines


def _whisker(value: float, spread: float, y: float, top: float) -> list[str]:
    if not spread:
        return []
    low, high = _x(max(0.0, value - spread), top), _x(value + spread, top)
    strokes = [(low, y, high, y), (low, y - 3, low, y + 3), (high, y - 3, high, y + 3)]
    # A white edge keeps the line visible on dark bars.
    return [
        f'<line x1="{a:.1f}" y1="{b:g}" x2="{c:.1f}" y2="{d:g}" stroke="{colour}" stroke-width="{width}"/>'
        for colour, width in (("#ffffff", 3), ("#b91c1c", 1.4))
        for a, b, c, d in strokes
    ]


def _parts(values: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Colour and figures of each bar of a method."""
    return [(colour, values if key == "all" else values["bands"][key]) for key, colour, _ in _BARS]


def _high(part: Mapping[str, Any]) -> float:
    return float((part.get("ndcg10") or 0.0) + (part.get("se") or 0.0))


def _x(value: float, top: float) -> float:
    return _LEFT + min(value / top, 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _text(
    x: float, y: float, text: str, *, size: int, anchor: str = "start", weight: str = "400",
    fill: str = "#111827",
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text)}</text>'
    )
