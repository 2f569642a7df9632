"""Moved to `w2e_bridge.graph.data`."""

from w2e_bridge.graph.data import DataFile as DataFile
from w2e_bridge.graph.data import Pack as Pack
from w2e_bridge.graph.data import Region as Region
