"""Finds the characters that write nothing and may command a terminal: escapes, ends of lines, changes of direction. Pure."""

import re
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOT_ONE_LINE: Final = "a reason is one line of printable characters"
"""What is told of a reason that is not."""


def is_one_line(text: str) -> bool:
    r"""Say whether a text is one line of characters that only write.

    >>> is_one_line("it confuses 4 and 9"), is_one_line("two\nlines"), is_one_line("\x1b[2J")
    (True, False, False)
    """
    return _UNPRINTABLE.search(text) is None


def in_one_line(text: str) -> str:
    r"""Return a text with a space for each character that does not write.

    >>> in_one_line("a\nb\x1b[2J")
    'a b [2J'
    """
    return _UNPRINTABLE.sub(" ", text)


def without_commands(text: str) -> str:
    r"""Return a text of several lines without what could command a terminal.

    >>> without_commands("a\nb\x1b[2J")
    'a\nb[2J'
    """
    return "\n".join(_UNPRINTABLE.sub("", line) for line in text.split("\n"))
