"""A data address holds the whole file."""

import base64

from training.report.pictures import data_address


def test_data_address():
    kind, content = data_address(b"\x89PNG\xff", "image/png").split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == b"\x89PNG\xff"
