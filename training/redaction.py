"""Tokens, keys and passwords in texts: whether there is one, and the text without them."""

import mmap
import re

# Letters and digits may stand right before a token ("\nhf_..." inside JSON is such a place), so nothing is asked there
# where a token begins unmistakably.
_TOKENS = (
    rb"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"  # Hugging Face
    rb"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[\w-]{20,}"  # GitHub, GitLab
    rb"|(?<![A-Z0-9])A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Z])"  # Amazon
    rb"|xox[abprs]-[0-9A-Za-z-]{20,}"  # Slack
    rb"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # JSON Web Tokens
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# In the query of an address: what opens a door, or is signed.
_QUERY = rb"(?<=[?&])(?:access_token|api_?key|sig|signature|token|x-amz-signature)=[^&\s\"'`<>{}()\\]{16,}"
# "https://user:password@host"; what stands in angle brackets or braces is a placeholder.
_LOGIN = rb"(?<=://)[^\s/:@\"'`<>{}()\\]+:[^\s/@\"'`<>{}()\\]+(?=@[\w\[])"
_SECRET = re.compile(_TOKENS + rb"|(?i:" + _QUERY + rb")|" + _LOGIN)
_SECRET_TEXT = re.compile(_SECRET.pattern.decode("ascii"), re.ASCII)


def holds_secret(content: str | bytes | mmap.mmap) -> bool:
    """Whether a text, or any bytes, hold what looks like a token, a private key or an address with a password."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    return _SECRET.search(data) is not None


def without_secrets(text: str) -> str:
    """The text with "(secret)" in the place of every token, key and password in an address."""
    return _SECRET_TEXT.sub("(secret)", text)
