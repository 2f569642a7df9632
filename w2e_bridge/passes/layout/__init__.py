"""Where the channels stand: graphs between channels first and channels last, with few Transposes."""

from w2e_bridge.passes.layout.passes import ChannelsFirst, ChannelsLast

__all__ = ["ChannelsFirst", "ChannelsLast"]
