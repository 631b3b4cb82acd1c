"""Under which licence the converted weights stand, and what must be said before non-commercial ones are touched."""

import re

UNKNOWN_LICENCE = "unknown"

# Creative Commons NC; NVIDIA's source code licence for research (RADIO without the C); words to that effect.
_NON_COMMERCIAL = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-?commercial|nsclv1|nvclv1|research[- ]only", re.IGNORECASE)


def is_non_commercial(licence: str) -> bool:
    """Whether the name of a licence says that it forbids commercial use."""
    return _NON_COMMERCIAL.search(licence) is not None


def check_licence(name: str, licence: str | None, accept_noncommercial: bool) -> str:
    """The licence of the weights of `name`, `"unknown"` if nobody states one.

    Raises:
        ValueError: The licence is non-commercial and the caller has not accepted that.
    """
    if licence is not None and is_non_commercial(licence) and not accept_noncommercial:
        raise ValueError(
            f"the weights of {name} are non-commercial ({licence}) and so is whatever they are converted into: pass "
            "accept_noncommercial=True (--accept-noncommercial) if your use is allowed"
        )
    return licence or UNKNOWN_LICENCE
