"""Text in CSV that no spreadsheet runs as a formula, and the way back to the text.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@`` (or their full-width forms), quoted or not, and
it may split cells at semicolons, tabs and line breaks where its language separates lists so (OWASP, CSV Injection). One
apostrophe in front makes such a beginning text. So that the column ``file`` stays a key, a text that already has
apostrophes there gets one more: every text has a cell of its own, and taking one apostrophe off gives it back.
"""

import re

_RISKY = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_AFTER_SEPARATOR = re.compile(f"([;\t\r\n])(?='*[{_RISKY}])")
_APOSTROPHE_AFTER_SEPARATOR = re.compile(f"([;\t\r\n])'(?='*[{_RISKY}])")
# A spreadsheet that looks for a formula skips tabs and line breaks at the very beginning.
_BEGINNING = re.compile(f"^(?='*[{_RISKY}\t\r\n])")
_APOSTROPHE_AT_BEGINNING = re.compile(f"^'(?='*[{_RISKY}\t\r\n])")


def neutralised(text: str) -> str:
    """Returns a text as it goes into a CSV cell, before quoting.

    Example:
        >>> neutralised("=1+1.png"), neutralised("'=1.png"), neutralised("a;=1.png"), neutralised("a=1.png")
        ("'=1+1.png", "''=1.png", "a;'=1.png", 'a=1.png')
    """
    return _BEGINNING.sub("'", _AFTER_SEPARATOR.sub(r"\1'", text))


def restored(cell: str) -> str:
    """Returns the text of a cell that :func:`neutralised` made, after unquoting: the name to look a file up by.

    Example:
        >>> restored("'=1+1.png"), restored("''=1.png"), restored("'quoted'.png")
        ('=1+1.png', "'=1.png", "'quoted'.png")
    """
    return _APOSTROPHE_AFTER_SEPARATOR.sub(r"\1", _APOSTROPHE_AT_BEGINNING.sub("", cell))
