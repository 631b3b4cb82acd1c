"""ZEN on a running video: frame by frame from a file, a camera, a network stream or an iterator."""

from modeling_zen.streaming.capture import Reconnect
from modeling_zen.streaming.report import StreamReport
from modeling_zen.streaming.zen_stream import StreamResult, ZenStream

__all__ = ["Reconnect", "StreamReport", "StreamResult", "ZenStream"]
