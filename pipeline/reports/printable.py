"""Text that came from files or names, shown to people: nothing in it may act on their terminal or
page.
"""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """The text on one line; characters that cannot be seen are written out: escapes, newlines,
    direction marks.

    A file name must not move the cursor, colour the terminal or turn a line around.
    longest: characters kept, all where None.
    """
    shown = (
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
    return "".join(shown)[:longest]
