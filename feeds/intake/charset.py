"""Finds out in which encoding a document really is, and decodes it without ever failing.

What a server, a prolog or a configuration says is believed as long as the bytes agree. Where they do
not, readings are compared by how strange their characters look: real Chinese keeps to a few thousand
characters, a wrong reading is full of rare ones. Never opens anything. Pure. Called by every parser.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice

from feeds.intake.types import Oddity

SAMPLE = 2_000  # characters outside ASCII that are judged; a reading is clear long before
ENOUGH = 12  # characters outside ASCII that say more than a claim
_JUDGED = 200_000  # bytes of a damaged document that are judged
MARGIN = 0.15  # strangeness by which another reading must be better than UTF-8
CLAIM_MARGIN = 0.4  # … and than one that is claimed and fits the bytes
_NATURAL = 0.3  # strangeness that real texts stay below
_BROKEN = 3.0  # strangeness of a character that could not be read
_HEAD = 4_096  # bytes in which a document says what it is
_PROLOG = re.compile(rb"\A\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_META = re.compile(rb"<meta\b[^>]*?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]+)", re.IGNORECASE)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]+)", re.IGNORECASE)
_OTHER = re.compile(r"[^\x00-\x7f]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BARE_WIDE = ((b"<\x00?\x00", "utf-16-le"), (b"\x00<\x00?", "utf-16-be"))
# What a name means in practice: nearly every server that says gb2312 or iso-8859-1 sends more than that.
_WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "hz": "hz",
    "big5": "big5hkscs",
    "cp950": "big5hkscs",
    "big5hkscs": "big5hkscs",
    "shift_jis": "cp932",
    "cp932": "cp932",
    "euc_jp": "euc_jp",
    "iso2022_jp": "iso2022_jp",
    "euc_kr": "cp949",
    "cp949": "cp949",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "cp1252": "cp1252",
    "utf-8": "utf-8",
    **{f"iso8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{
        name: name for name in ("cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "cp1258", "koi8-r", "cp866")
    },
}
_ALIASES = {
    "x-gbk": "gbk",
    "gb_2312-80": "gb2312",
    "x-sjis": "cp932",
    "x-euc-jp": "euc_jp",
    "x-cp1252": "cp1252",
}
_SHIFTED = ("hz", "iso2022_jp")  # their bytes are all ASCII
_DETECTED = ("utf-8", "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "cp1252")
# The characters that make up most of any Chinese text, in both scripts, and those of public notices.
_EVERYDAY = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法"
    "所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些前外天政四"
    "日社义事平形相全表间样与关各重新线内数正心反明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想"
    "已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别手期根论运农指几九"
    "区强放决西被做必先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清"
    "美再采转更单风打白教速花带安场身车例真务具万每目至达走积示议声报完类八离华名确才科张信马节话米整空元况今集温传土许步群广"
    "石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近矿千周委技备办省习响约支般史感劳便团往历市克何"
    "除构府称准精值号率族维划选标写存候毛快效斯院查江型眼按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁"
    "价告通知街镇村居委税保险金房屋租证申请登补贴预警监督审批企执招标拟录考试疫防控停水供燃气垃圾桥隧航班次线示例网站服务"
    "這為個國時來們於對會發動產種後過說學經進著電現實兩體機當點從業應開還無與關線內數樣間質氣變條沒結問題員總設見計頭資邊級"
    "圖統接較將組別論運農區強決處隊給門規熱領東導壓爭濟術極聯認權證採轉單風帶場車務萬達積議聲報類離華確張馬節話況傳許廣記觀"
    "織裝書復兒須際驗連斷難礦備辦習響約勞團歷構稱準號維劃選標寫屬圓滿縣參細聽該鐵價識廳稅險請貼預監審執擬錄試網點"
)


def decode(body: bytes, content_type: str, *, hint: str = "") -> tuple[str, list[Oddity]]:
    """Decode a document in the encoding that it really has.

    Args:
        body: As received.
        content_type: The HTTP header, or ``""``.
        hint: The encoding that the source's configuration names, or ``""``; it goes before what the
            document says, not before what its bytes show.

    Returns:
        The text without byte order mark, and one oddity ``wrong-encoding`` where a claim was wrong or
        bytes were damaged. Of several claims the first that fits the bytes is right. Bytes that no
        encoding explains become U+FFFD in the reading that loses least.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return _marked(body[len(mark) :], name)
    for start, name in _BARE_WIDE:
        if body.startswith(start):
            return _marked(body, name)
    claims = tuple(dict.fromkeys(_claims(body[:_HEAD], content_type, hint)))
    known = tuple(dict.fromkeys(name for _, name in claims if name))
    if body.isascii() and not (set(known) & set(_SHIFTED) and (b"\x1b" in body or b"~{" in body)):
        return body.decode("ascii"), _wrong(claims, "") if claims and not known else []
    text, name, whole = _read(body, known)
    if not whole:
        return text, [_oddity(claims[0][0] if claims else "", f"damaged {name}")]
    return text, _wrong(claims, name) if claims else []


def _marked(body: bytes, name: str) -> tuple[str, list[Oddity]]:
    text = body.decode(name, "replace")
    return text, [_oddity(name, f"damaged {name}")] if "\ufffd" in text and _cut(body, name) else []


def _cut(body: bytes, name: str) -> bool:
    try:
        body.decode(name)
    except UnicodeDecodeError:
        return True
    return False


def _claims(head: bytes, content_type: str, hint: str) -> Iterator[tuple[str, str]]:
    """What is said about the encoding, as written and as the codec to use (``""`` if unknown)."""
    header, prolog, meta = _HEADER.search(content_type), _PROLOG.search(head), _META.search(head)
    for name in (
        hint.strip(),
        header[1] if header else "",
        prolog[1].decode() if prolog else "",
        meta[1].decode() if meta else "",
    ):
        # A document that can be read byte by byte up to its claim is not in a two-byte encoding.
        if name and not name.lower().startswith(("utf-16", "utf-32", "utf16", "utf32", "ucs-")):
            yield name.lower(), codec_of(name)


@cache
def codec_of(name: str) -> str:
    """Return the codec that decodes what is called ``name``, or ``""``; Python has unsafe ones."""
    try:
        return _WIDER.get(codecs.lookup(_ALIASES.get(name.lower(), name)).name, "")
    except (LookupError, ValueError):
        return ""


def _read(body: bytes, claims: tuple[str, ...]) -> tuple[str, str, bool]:
    """The best reading: its text, its encoding, and whether every byte was read."""
    utf8 = _strictly(body, "utf-8")
    if utf8 is not None and (claims[:1] == ("utf-8",) or (not claims and not _may_be_two_byte(utf8))):
        return utf8, "utf-8", True
    first = _strictly(body, claims[0]) if utf8 is None and claims else None
    if first is not None and _strangeness(first) < _NATURAL:
        return first, claims[0], True
    names = dict.fromkeys((*claims, *_DETECTED))
    whole = {name: text for name in names if (text := _strictly(body, name)) is not None}
    if not whole or set(whole) <= {"cp1252"} - set(claims):
        return _repaired(body, claims, whole)
    strange = {name: _strangeness(text) for name, text in whole.items()}
    best = min(strange, key=lambda name: strange[name])
    if strange[best] > 0.5 and "utf-8" not in whole:  # nothing fits: perhaps bytes were lost
        text, name, fine = _repaired(body, claims, {})
        if _strangeness(text) + MARGIN < strange[best]:
            return text, name, fine
    for claim in claims:
        if claim in whole and not _overruled(claim, whole, strange):
            return whole[claim], claim, True
    if "utf-8" in whole and strange["utf-8"] <= strange[best] + MARGIN:
        best = "utf-8"
    return whole[best], best, True


def _overruled(claim: str, whole: dict[str, str], strange: dict[str, float]) -> bool:
    """Whether another reading is so much better that a claim must be wrong.

    A few rare characters in their true encoding may look better in another; only a longer text, or
    UTF-8 of three bytes a character, which chance hardly makes, counts against a claim.
    """
    rivals = []
    if "utf-8" in whole and (claim == "cp1252" or max(whole["utf-8"]) >= "\u0800"):
        rivals.append(("utf-8", MARGIN))
    if sum(1 for _ in islice(_OTHER.finditer(whole[claim]), ENOUGH)) == ENOUGH:
        rivals += [("gb18030", CLAIM_MARGIN), ("big5hkscs", CLAIM_MARGIN)]
    return any(strange.get(name, 9.0) + margin < strange[claim] for name, margin in rivals)


def _may_be_two_byte(text: str) -> bool:
    """Whether valid UTF-8 could be a few Chinese characters: nothing in it needs three bytes."""
    others = _OTHER.findall(text[: 50 * SAMPLE])
    return bool(others) and len(others) < 64 and max(others) < "\u0800"


def _repaired(body: bytes, claims: tuple[str, ...], whole: dict[str, str]) -> tuple[str, str, bool]:
    """The reading that loses least; a claimed one wins a tie, then UTF-8."""
    found = []
    for place, name in enumerate(dict.fromkeys((*claims, "utf-8", "gb18030", "big5hkscs"))):
        sample = body[:_JUDGED].decode(name, "replace")
        found.append((round(_strangeness(sample), 2), place, name))
    strange, _, name = min(found)
    if "cp1252" in whole and _strangeness(whole["cp1252"]) < strange:
        return whole["cp1252"], "cp1252", True
    text = body.decode(name, "replace")
    return text, name, "\ufffd" not in text


def _strictly(body: bytes, name: str) -> str | None:
    try:
        return body.decode(name)
    except UnicodeDecodeError:
        # Python's cp1252 has five holes; where the rest fits they are the control characters of Latin-1.
        return body.decode("latin-1") if name == "cp1252" and not re.search(rb"[\x80-\x9f]", body) else None


def _strangeness(text: str) -> float:
    """The mean strangeness of the characters outside ASCII: about 0.1 for Chinese, 1 for a wrong reading."""
    costs = [_cost(found[0], text, found.start()) for found in islice(_OTHER.finditer(text), SAMPLE)]
    return sum(costs) / len(costs) if costs else 0.0


def _cost(char: str, text: str, at: int) -> float:
    fixed = _known().get(char)
    if fixed is not None:
        return fixed
    if char < "\u00a0" or char == "\ufffd":
        return _BROKEN
    if char < "\u0250":
        # An accented letter stands beside plain letters; in a wrong reading it stands beside its like.
        near = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
        return 0.15 if any(one.isascii() and one.isalpha() for one in near) else 0.8
    if "\u0370" <= char < "\u0600" or "\uac00" <= char <= "\ud7a3":
        return 0.3
    if "\u4e00" <= char <= "\u9fff":
        return 0.8
    return 2.0 if "\ue000" <= char <= "\uf8ff" else 1.0


@cache
def _known() -> dict[str, float]:
    """Costs of the characters that real texts are made of."""
    costs = dict.fromkeys(_rows("gb2312", 0xB0, 0xD7, 0xA1), 0.25)
    costs |= dict.fromkeys(_rows("big5", 0xA4, 0xC6, 0x40), 0.25)
    costs |= dict.fromkeys(map(chr, range(0x3041, 0x30FF)), 0.15)
    costs |= dict.fromkeys(_EVERYDAY, 0.0)
    costs |= dict.fromkeys("“”‘’…—–·×°§«»、。《》〈〉「」『』【】〔〕〇　￥€•→←↑↓①②③④⑤⑥⑦⑧⑨⑩■□●○◆◇★☆※㎡℃", 0.1)
    return costs | dict.fromkeys(map(chr, range(0xFF01, 0xFF5F)), 0.1)


def _rows(codec: str, first: int, last: int, trail: int) -> Iterable[str]:
    """The rows of a national standard that hold its common characters."""
    for lead in range(first, last + 1):
        for second in range(trail, 0xFF):
            text = bytes((lead, second)).decode(codec, "ignore")
            if len(text) == 1 and not text.isascii():
                yield text


def _wrong(claims: tuple[tuple[str, str], ...], name: str) -> list[Oddity]:
    if name and any(codec == name for _, codec in claims):
        return []
    return [_oddity(claims[0][0], name or "plain ASCII")]


def _oddity(claimed: str, real: str) -> Oddity:
    said = f"It says its encoding is {claimed}" if claimed else "It does not say its encoding"
    return Oddity(0, "", "wrong-encoding", f"{said}; it was read as {real}.")
