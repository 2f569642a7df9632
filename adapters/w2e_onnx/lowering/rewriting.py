"""Moved to `w2e_bridge.graph.rewriting`."""

from w2e_bridge.graph.rewriting import constant as constant
from w2e_bridge.graph.rewriting import drop_unused as drop_unused
from w2e_bridge.graph.rewriting import first_of as first_of
from w2e_bridge.graph.rewriting import given as given
from w2e_bridge.graph.rewriting import maker as maker
from w2e_bridge.graph.rewriting import named as named
from w2e_bridge.graph.rewriting import node as node
from w2e_bridge.graph.rewriting import replace as replace
