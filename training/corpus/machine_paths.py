"""Traces of the machine that made a corpus in texts that others will read: absolute paths, the user's name."""

import getpass
import re

# The folders of an absolute path, as decoders quote it in their messages. URLs are none.
_FOLDERS = re.compile(r"""(?<=['"])/[^'"]*/|(?<![\w.:/'"])/(?:[^/\s'"]+/)+|\b[A-Za-z]:\\(?:[^\\\s'"]+\\)*""")


def without_folders(text: str) -> str:
    """The text with absolute paths shortened to file names."""
    return _FOLDERS.sub("", text)


def machine_path(text: str) -> str | None:
    """The first absolute path in a text, or the first folder that has the user's name; `None` if there is neither."""
    user = re.escape(getpass.getuser())
    for pattern in (rf"(?:{_FOLDERS.pattern})[^\s'\"]*", rf"(?:(?<=[/\\\s'\"])|^){user}[/\\][^\s'\"]*"):
        if found := re.search(pattern, text):
            return found.group()
    return None
