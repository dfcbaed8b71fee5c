"""The fast reader never reads a feed differently from feedparser: it agrees or it gives up.

Differential: thousands of made-up feeds, the golden files and the real files go through both.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.intake.parsers import feed as reader
from feeds.intake.parsers.fast_feed import MAX_ATTRIBUTES, read_fast
from feeds.intake.types import Parsed
from feeds.kernel.errors import BadInputError

GOLDEN = Path(__file__).parent.parent / "data" / "feeds"
URL = "https://www.sl.example/rss/all.xml"
EXAMPLES = int(os.environ.get("FEED_EXAMPLES", "250"))


def both(body: bytes, url: str = URL) -> tuple[Parsed | None, Parsed | str]:
    """The two readings of one document; a sentence where feedparser's path refuses it."""
    text, _ = reader.decode(body, "")
    document = reader._as_utf8(text)
    if reader._holds_illegal(document):
        text = reader._without_illegal(text, [])
        document = reader._as_utf8(text)
    try:
        reader._refuse_many(text, url)
    except BadInputError as error:
        return None, str(error)
    fast = reader._fast(document, {}, url, [])
    try:
        return fast, reader._slow(text, document, {}, url, [])
    except BadInputError as error:
        return fast, str(error)


def agreed(body: bytes, url: str = URL) -> bool:
    """Whether the fast reader took it; fails where it read anything differently."""
    fast, slow = both(body, url)
    assert fast is None or fast == slow
    return fast is not None


# -- made-up feeds -----------------------------------------------------------------------------------

SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "atom": "http://www.w3.org/2005/Atom",
    "media": "http://search.yahoo.com/mrss/",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "georss": "http://www.georss.org/georss",
    "gml": "http://www.opengis.net/gml",
    "itunes": "http://www.itunes.com/DTDs/PodCast-1.0.dtd",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
    "slash": "http://purl.org/rss/1.0/modules/slash/",
    "cc": "http://web.resource.org/cc/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "at": "http://purl.org/atompub/tombstones/1.0",
    "gov": "urn:example:gov",
    "summary": "urn:example:summary",
    "published": "urn:example:published",
}
PLAIN = (
    *("title", "link", "description", "guid", "pubDate", "category", "author", "enclosure"),
    *("source", "comments", "content", "summary", "id", "updated", "published", "contributor"),
    *("name", "email", "uri", "language", "image", "url", "ttl", "item"),
    *("entry", "issued", "modified", "created", "date", "expirationDate", "copyright", "rights"),
    *("keywords", "tags", "links", "authors", "generator", "textInput", "skipHours", "cloud"),
    *("where", "body", "abstract", "info", "managingEditor", "webMaster", "lastBuildDate", "docs"),
    *("publisher", "Title", "PUBDATE", "detail", "subtitle", "logo", "icon"),
)
PREFIXED = (
    *(
        "dc:title",
        "dc:creator",
        "dc:date",
        "dc:subject",
        "dc:description",
        "dc:publisher",
        "dc:language",
        "dc:rights",
    ),
    *(
        "dc:identifier",
        "dc:contributor",
        "dcterms:issued",
        "dcterms:modified",
        "dcterms:valid",
        "content:encoded",
        "atom:link",
        "atom:updated",
    ),
    *(
        "atom:title",
        "atom:id",
        "atom:author",
        "atom:summary",
        "atom:content",
        "media:content",
        "media:title",
        "media:thumbnail",
    ),
    *(
        "media:group",
        "media:description",
        "media:keywords",
        "media:credit",
        "geo:lat",
        "geo:Point",
        "georss:point",
        "georss:where",
    ),
    *(
        "gml:Point",
        "gml:pos",
        "itunes:author",
        "itunes:summary",
        "itunes:keywords",
        "itunes:image",
        "itunes:duration",
        "sy:updatePeriod",
    ),
    *(
        "slash:comments",
        "cc:license",
        "rdf:li",
        "at:deleted-entry",
        "at:comment",
        "gov:no",
        "gov:title",
        "gov:date",
    ),
    *("summary:detail", "published:parsed"),
)
WORDS = st.sampled_from(
    [
        "", " ", "\n", "关于公积金的通知", "a", "A&amp;B", "&lt;p&gt;x&lt;/p&gt;",
        "&lt;b&gt;市&amp;nbsp;民&lt;/b&gt;", "&#146;",
        "&#x4e2d;", "caf\u00e9", "Ã©", "Ã&#160;", "\x93x\x94", "x\u00a0", "\u3000示例\u3000",
        "<![CDATA[<p>a &amp; b</p>]]>",
        "<![CDATA[]]>", "<![CDATA[a]]]]><![CDATA[>b]]>", "<!-- c -->", "<?pi x?>", "]]&gt;", "\t", "\r\n",
        "&quot;", "&nbsp;", "&",
        "https://www.sl.example/1.html", "/a/b.html?x=1&amp;y=2", "http:///x",
        "https://sl.example/a;b?c&amp;d;", "http://[1",
        "//h/x", "?q", "#f", "urn:uuid:1", "tag:x,2026:1", "mailto:a@b.cn", "javascript:x", " /a ",
        "http://例子.示例/页",
        "a@b.cn", "a@b.cn (市教育局)", "市教育局 <a@b.cn>", "a@b.museum", "a@b.cn ()", "a@b.cn ( )",
        "(x) a@b.cn",
        "Fri, 20 Nov 2026 08:00:00 GMT", "2026-11-20", "2026-11-20T08:00:00+08:00", "2026-11-20 08:00:00",
        "2026年11月20日",
        "Tuesday, 20 Oct 26 14:00 EDT", "nonsense", "20261120", "Mon, 31 Feb 2026 00:00:00 GMT", "zh-CN",
        "en_US", "true",
        "12.5 3.4", "x,y", "start=2026-01-01;end=2026-12-31", "60", "hourly", "1.2",
    ]
)  # fmt: skip
TEXT = st.lists(WORDS, min_size=1, max_size=2).map("".join)
ATTRIBUTES = st.sampled_from(
    [
        "", "", "", "", "", "", ' type="html"', ' type="text"', ' type="xhtml"', ' type="text/plain"',
        ' type="TEXT/HTML"', ' mode="base64"',
        ' isPermaLink="false"', ' isPermaLink="true"', ' ispermalink="TRUE"', ' href="/x"',
        ' href="https://h.example/y" rel="alternate"',
        ' rel="self" href="/feed"', ' rel="enclosure" href="/a.pdf" type="application/PDF" title="附件"',
        ' rel="Alternate" type="text/HTML" href=" q "',
        ' rel="alternate" type="application/cap+xml" href="/c.cap"', ' rel="hub" href="https://hub.example/"',
        ' href=""', ' rel="enclosure"',
        ' url="/a.pdf" type="application/pdf" length="1"', ' url=""', ' url="http://[1" type="x"',
        ' term="公积金"', ' term="a" label="b" scheme="c"',
        ' domain="d"', ' scheme=""', ' xml:lang="en_GB"', ' lang="fr"', ' xml:base="https://o.example/z/"',
        ' base="/b/"', ' rdf:about="https://r.example/1"',
        ' unit="km"', ' src="/s"', ' gov:base="/g/"', ' gov:term="t"',
        ' ref="/1.html" when="2026-11-20T00:00:00Z"', ' version="2.0"',
    ]
)  # fmt: skip


def element(names: st.SearchStrategy[str], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda n, a, t: f"<{n}{a}>{t}</{n}>", names, ATTRIBUTES, inner)


ODD = element(st.sampled_from([*PLAIN, *PREFIXED]), TEXT)
DEEP = element(st.sampled_from([*PLAIN, *PREFIXED]), st.lists(ODD, max_size=3).map("".join))
USUAL = st.one_of(
    st.builds("<title>{}</title>".format, TEXT),
    st.builds("<link>{}</link>".format, TEXT),
    st.builds("<description>{}</description>".format, TEXT),
    st.builds("<content:encoded>{}</content:encoded>".format, TEXT),
    st.builds("<guid isPermaLink='{}'>{}</guid>".format, st.sampled_from(["true", "false"]), TEXT),
    st.builds("<guid>{}</guid>".format, TEXT),
    st.builds("<id>{}</id>".format, TEXT),
    st.builds("<{0}>{1}</{0}>".format, st.sampled_from(["pubDate", "dc:date", "updated", "published"]), TEXT),
    st.builds("<category{}>{}</category>".format, ATTRIBUTES, TEXT),
    st.builds("<{0}>{1}</{0}>".format, st.sampled_from(["author", "dc:creator", "dc:publisher"]), TEXT),
    st.builds("<author><name>{}</name><email>{}</email></author>".format, TEXT, TEXT),
    st.builds("<{0}{1}>{2}</{0}>".format, st.sampled_from(["summary", "content", "title"]), ATTRIBUTES, TEXT),
    st.builds("<{0}{1}/>".format, st.sampled_from(["link", "atom:link", "enclosure"]), ATTRIBUTES),
    st.builds("<{0}{1}>{2}</{0}>".format, st.sampled_from(["gov:no", "geo:lat", "slash:comments"]),
    ATTRIBUTES, TEXT),
)  # fmt: skip
PARTS = st.lists(st.one_of(*[USUAL] * 6, ODD, DEEP, TEXT), max_size=6).map("".join)
CALM = st.lists(USUAL, max_size=5, unique_by=lambda part: part[:6]).map("".join)
ENTRIES = st.lists(st.one_of(PARTS, CALM, CALM), max_size=4)
ROOTS = st.sampled_from(
    ["", "", "", ' xml:lang="zh-CN"', ' xml:lang="en_GB"', ' xml:base="/b/"', ' lang="fr"', ' xmlns="urn:x"']
)
HEADS = st.sampled_from(
    [
        "",
        "",
        "",
        "<?xml version='1.0'?>",
        "\n",
        "<!-- <rss> -->",
        "<?xml-stylesheet href='x'?>\n",
        "<!DOCTYPE rss>",
        "\ufeff",
    ]
)


@st.composite
def feeds(draw: st.DrawFn) -> bytes:
    """An RSS 2.0, RSS 1.0 or Atom feed with anything in it, mostly usual things."""
    shape = draw(st.sampled_from(["rss", "rss", "atom", "atom", "rdf", "odd"]))
    about, entries, after = (
        draw(st.one_of(PARTS, CALM, CALM)),
        draw(ENTRIES),
        draw(st.sampled_from(["", "", "", "<title>z</title>"])),
    )
    head, extra = draw(HEADS), draw(ROOTS)
    keep = (
        draw(st.sets(st.sampled_from(sorted(SPACES)), max_size=2)) if draw(st.integers(0, 5)) == 0 else set()
    )
    spaces = "".join(f' xmlns:{name}="{uri}"' for name, uri in SPACES.items() if name not in keep)
    if shape == "rss":
        version = draw(st.sampled_from(["2.0", "2.0", "0.91", "0.92", "1.0", ""]))
        items = "".join(f"<item>{one}</item>" for one in entries)
        text = f'<rss version="{version}"{spaces}{extra}><channel>{about}{items}{after}</channel></rss>'
    elif shape == "rdf":
        items = "".join(f'<item rdf:about="/{n}">{one}</item>' for n, one in enumerate(entries))
        spaces = spaces.replace(f' xmlns:atom="{SPACES["atom"]}"', "")
        text = (
            f'<rdf:RDF xmlns="http://purl.org/rss/1.0/"{spaces}><channel rdf:about="/c">{about}'
            f"<items><rdf:Seq><rdf:li rdf:resource='/1'/></rdf:Seq></items></channel>{items}</rdf:RDF>"
        )
    elif shape == "atom":
        items = "".join(f"<entry>{one}</entry>" for one in entries)
        extra = extra.replace(' xmlns="urn:x"', "")
        text = f'<feed xmlns="{SPACES["atom"]}"{spaces}{extra}>{about}{items}{after}</feed>'
    else:
        text = f"<{draw(st.sampled_from(['rss', 'feed', 'channel', 'html']))}{spaces}{extra}>{about}</rss>"
    return (head + text).encode()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    feeds(),
    st.sampled_from([URL, "http://a.example/x/y?z=1", "HTTP://A.example:80/../b#c", "ftp://f.example/x"]),
)
def test_it_agrees_with_feedparser_or_gives_up(body: bytes, url: str) -> None:
    agreed(body, url)


@settings(max_examples=100, deadline=None)
@given(st.lists(CALM, min_size=1, max_size=3))
def test_usual_entries_agree(entries: list[str]) -> None:
    for kind, name in (("rss version='2.0'", "item"), (f"feed xmlns='{SPACES['atom']}'", "entry")):
        spaces = "".join(f' xmlns:{key}="{SPACES[key]}"' for key in ("dc", "content", "gov", "geo", "slash"))
        items = "".join(f"<{name}>{one}</{name}>" for one in entries).replace("<atom:link", "<link")
        inner = f"<channel>{items}</channel>" if name == "item" else items
        agreed(f"<{kind}{spaces}>{inner}</{kind.split()[0]}>".encode())


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.xml")), ids=lambda path: path.name)
def test_golden_files_agree(path: Path) -> None:
    agreed(path.read_bytes())


def test_real_files_agree_and_the_ordinary_ones_are_taken(real_data: Path) -> None:
    taken = {path.name for path in (real_data / "cap").iterdir() if agreed(path.read_bytes())}
    assert all(agreed(path.read_bytes()) for path in (real_data / "rss").glob("*.xml"))
    assert "weather_index.atom" in taken


ORDINARY = {
    "rss": "<rss version='2.0'><channel><title>公告</title><link>https://sl.example/</link>"
    "<description>d</description>"
    "<language>zh-cn</language><pubDate>Fri, 20 Nov 2026 08:00:00 GMT</pubDate><ttl>60</ttl>"
    "<image><url>u</url><title>t</title><link>l</link></image><item><title>一</title><link>/1</link>"
    "<guid isPermaLink='false'>g</guid><pubDate>Fri, 20 Nov 2026 08:00:00 GMT</pubDate>"
    "<category>公积金</category>"
    "<description><![CDATA[<p>正文</p>]]></description><author>a@sl.gov.cn (市教育局)</author></item>"
    "</channel></rss>",
    "wordpress": "<rss version='2.0' xmlns:content='http://purl.org/rss/1.0/modules/content/' "
    "xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:atom='http://www.w3.org/2005/Atom' "
    "xmlns:sy='http://purl.org/rss/1.0/modules/syndication/' "
    "xmlns:slash='http://purl.org/rss/1.0/modules/slash/' "
    "xmlns:wfw='http://wellformedweb.org/CommentAPI/'><channel><title>t</title>"
    "<atom:link href='https://sl.example/feed/' rel='self' type='application/rss+xml'/>"
    "<link>https://sl.example</link>"
    "<lastBuildDate>Fri, 20 Nov 2026 08:00:00 +0000</lastBuildDate><sy:updatePeriod>hourly</sy:updatePeriod>"
    "<generator>g</generator><item><title>a</title><link>https://sl.example/1/</link><comments>c</comments>"
    "<dc:creator><![CDATA[市教育局]]></dc:creator><category><![CDATA[教育]]></category>"
    "<guid isPermaLink='false'>x</guid>"
    "<description><![CDATA[s]]></description><content:encoded><![CDATA[<p>b</p>]]></content:encoded>"
    "<wfw:commentRss>w</wfw:commentRss><slash:comments>0</slash:comments></item></channel></rss>",
    "atom": "<feed xmlns='http://www.w3.org/2005/Atom' xml:lang='en-GB'><id>https://sl.example/f</id>"
    "<title>t</title>"
    "<link rel='self' type='application/atom+xml' href='https://sl.example/f.atom'/>"
    "<updated>2026-11-20T08:00:00Z</updated>"
    "<author><name>市政府</name></author><entry><id>https://sl.example/1</id>"
    "<updated>2026-11-20T08:00:00Z</updated>"
    "<link rel='alternate' type='text/html' href='https://sl.example/1'/><title>x</title>"
    "<summary type='html'>&lt;p&gt;y&lt;/p&gt;</summary></entry></feed>",
    "rdf": "<rdf:RDF xmlns='http://purl.org/rss/1.0/' "
    "xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' "
    "xmlns:dc='http://purl.org/dc/elements/1.1/'><channel rdf:about='c'><title>t</title><link>l</link>"
    "<description>d</description><items><rdf:Seq><rdf:li rdf:resource='1'/></rdf:Seq></items></channel>"
    "<item rdf:about='https://sl.example/1'><title>x</title><link>https://sl.example/1</link>"
    "<dc:date>2026-11-20</dc:date><dc:subject>住房</dc:subject></item></rdf:RDF>",
}


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_ordinary_feeds_are_taken(name: str) -> None:
    assert agreed(ORDINARY[name].encode())


@pytest.mark.parametrize(("part", "why"), [
    ("<title>a</title><title>b</title>", "two titles"), ("<title>a<b/></title>", "markup in a title"),
    ("<description>a</description><description>b</description>", "two descriptions"),
    ("<pubDate>2026-W47-5</pubDate>", "a date that only feedparser might read"),
    ("<title xml:lang='fr'>a</title>", "a language of one element"),
    ("<link xml:base='/b/'>x</link>", "a base of one element"),
    ("<links>a</links>", "a name under which feedparser keeps something"),
    ("<title>&nbsp;</title>", "an entity"),
    ("<x:y xmlns:x='http://purl.org/dc/elements/1.1/'/>", "a namespace declared inside"),
    ("<author>市教育局 &lt;a@b.cn&gt;</author>", "a mail address in a name"),
    ("<标题>x</标题>", "a name that expat may not allow"),
])  # fmt: skip
def test_it_gives_up(part: str, why: str) -> None:
    body = f"<rss version='2.0'><channel><item>{part}</item></channel></rss>".encode()
    assert not agreed(body), why


@pytest.mark.parametrize("body", [
    b"<!DOCTYPE rss [<!ENTITY x 'y'>]><rss version='2.0'><channel><item><title>&x;</title></item>"
    b"</channel></rss>",
    b"<!DOCTYPE rss SYSTEM 'http://127.0.0.1/x.dtd'><rss version='2.0'><channel/></rss>",
    b"<rss version='2.0'><channel>" + b"<a>" * 300 + b"</a>" * 300 + b"</channel></rss>",
    b"<rss version='2.0'><channel>"
    b"<g " + b" ".join(b"a%d='1'" % n for n in range(MAX_ATTRIBUTES + 1)) + b"/></channel></rss>",
    b"<rss version='2.0'><channel>", b"", b"\x00", b"\xef\xbb\xbf<rss version='2.0'><channel/></rss>",
])  # fmt: skip
def test_hostile_and_broken_documents_are_not_for_it(body: bytes) -> None:
    assert read_fast(body, URL, reader._DIALECT) is None


def test_its_lists_of_names_fit_this_feedparser() -> None:
    from feeds.intake.parsers import fast_entry, fast_feed

    ruled = {*fast_entry._ONCE, *fast_entry._RULES, *fast_entry._HARMLESS, *fast_feed._HARMLESS_TEXT}
    assert ruled <= reader._DIALECT.handled, "feedparser no longer has a rule for one of these"
    assert reader._DIALECT.prefixes["http://www.w3.org/2005/atom"] == ""


SNIPPETS = st.sampled_from(
    [
        *("<", ">", "&", "'", '"', "/", "]]>", "<!--", "-->", "--", "<![CDATA[", "<?", "?>", "<?xml?>",
        "<?a:b c?>", "<!"),
        *("\ufeff", "\u00e9", "\u0085", "\u2028", "\ufffd", "\u0300", "\u00b7", "\U0001f600", "\r", "\n",
        "\t", "\u00a0"),
        *("&#13;", "&#xD;", "&#133;", "&#x80;", "&#195;&#169;", "&#0;", "&#x110000;", "&#xD800;",
        "&amp;#146;", "&#00065;"),
        *(" xmlns='urn:a'", " xmlns=''", " xmlns:dc='urn:b'", " xmlns:q='urn:c'", " xmlns:xml='urn:d'",
        " xmlns:xmlns='x'"),
        *(" xml:id='1'", " xml:space='x'", " xml:lang=''", " a:b='c'", " a='1' a='2'", " href='/h'",
        " type='html'", " LANG='x'"),
        *("<a/>", "<a:b/>", "<dc:a:b/>", "<:a/>", "<-a/>", "<1/>", "<\u4e2d/>", "<a\u00b7/>", "<item>",
        "</item>", "<title>x</title>"),
        *("<link/>", "<id>x</id>", "<svg/>", "<content>x</content>", "<atom:link href='x'/>", "<image/>",
        "<textInput/>"),
    ]
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from(sorted(ORDINARY)),
    st.lists(st.tuples(st.floats(0, 1), SNIPPETS, st.integers(0, 2)), min_size=1, max_size=2),
    st.booleans(),
)
def test_ordinary_feeds_with_odd_places_agree(
    name: str, edits: list[tuple[float, str, int]], tags: bool
) -> None:
    text = ORDINARY[name]
    for where, snippet, cut in edits:
        at = int(where * len(text))
        if tags:  # at the end of a tag, where attributes and elements may stand
            at = max(text.find(">", at), 0) + (not snippet.startswith(" "))
            cut = 0
        text = text[:at] + snippet + text[at + cut :]
    agreed(text.encode())
