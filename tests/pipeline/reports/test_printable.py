"""What comes from files is shown, and does nothing else."""

from __future__ import annotations

import pytest

from unmask.pipeline.reports.printable import printable


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "a\tb", "\u202e", "\udcff", "\x00"])
def test_what_cannot_be_seen_is_written_out(text: str) -> None:
    assert printable(text).isprintable()
    assert printable("ümlaut 日本 ok") == "ümlaut 日本 ok"
    assert printable(f"{text}abc", 2).isprintable() and len(printable(f"{text}abc", 2)) == 2
