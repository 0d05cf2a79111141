"""Names that try to be more than names, and a reader that notices when one succeeds."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</title></style><img src=x onerror=alert(3)>",
    '"><svg onload=alert(4)>',
    "' onmouseover='alert(5)",
    "{{7*7}} {% raw %}",
    "javascript:alert(6)",
    "=cmd()|'/c calc'!A1",
    "\x1b[31mred\x1b[0m\x07",
    "user\u202egnp.exe\u2066",
    "nul\x00\x08\ufffe\ud800 end",
    "]]> --> &amp; <!--",
    "[bold red]markup[/] [link=http://x.invalid]x[/link]",
)
ALL = " ".join(HOSTILE)

VOID = {"meta", "img", "br", "link", "input", "rect", "path", "circle"}


class Reader(HTMLParser):
    """Collects elements, attributes and text as a browser's parser would see them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def assert_inert(html: str) -> Reader:
    """No script, no event handler, no address that leaves the page, nothing hidden."""
    reader = read(html)
    for tag, attributes in reader.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form", "a", "use", "image"}, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "action", "srcset", "data", "poster", "background"}:
                assert value is not None
                assert value.startswith("data:image/png;base64,"), (tag, name, value[:60])
            if name == "style":
                assert "url(" not in (value or "").replace("url(#robustly-hatch)", "")
    hidden = [c for c in html if c in "\x00\x07\x08\x1b\u202e\u2066\ufffe" or 0xD800 <= ord(c) < 0xE000]
    assert not hidden
    return reader
