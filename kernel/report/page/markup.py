"""HTML, made in one place: whatever is not markup already is escaped here, in text and in attributes alike."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, TypeAlias

from kernel.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable


class Html(str):
    """Markup. Only this module makes it, so that a plain string can never pass for it."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"
Attribute: TypeAlias = "str | int | float | bool | None"

# Elements that have no end tag (https://html.spec.whatwg.org/multipage/syntax.html#void-elements).
_VOID = frozenset(("meta", "link", "br", "hr"))


def escaped(text: str) -> Html:
    """Text for any place of the page but the inside of style; what does not show is made visible, line breaks stay."""
    return Html(html.escape(visible(text.replace("\r\n", "\n"), keep="\n\t")))


def joined(content: Content, between: str = "") -> Html:
    """Content one after the other: strings are escaped, nested content is taken apart, None is nothing."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return escaped(content)
    return Html(escaped(between).join(joined(part) for part in content))


def tag(name: str, /, *content: Content, **attributes: Attribute) -> Html:
    """An element. In names of attributes a final _ is dropped (class_), others are -; None and False leave it out."""
    opened = name + "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{opened}>" if name in _VOID else f"<{opened}>{joined(content)}</{name}>")


def style(sheet: str) -> Html:
    """A style sheet of ours. Its text is no HTML: only its end tag could end it, and ours has none."""
    if "</" in sheet:
        raise ValueError("a style sheet that would end its own element")
    return Html(f"<style>\n{sheet}</style>")


def page(language: str, *content: Content) -> str:
    """A whole document."""
    return f"<!DOCTYPE html>\n{tag('html', *content, lang=language)}\n"


def name(text: str, *, class_: str | None = None) -> Html:
    """The name of something in a database or of a file: in its own reading direction, with its line breaks visible."""
    return tag("code", visible(text), class_=class_)


def _attribute(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")
