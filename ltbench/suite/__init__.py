"""A suite's YAML as checked data; every mistake is told with file, line and cure."""

from ltbench.suite.protocol import Protocol
from ltbench.suite.recipe import Recipe
from ltbench.suite.schema import DatasetEntry, MethodEntry, Suite

__all__ = ["DatasetEntry", "MethodEntry", "Protocol", "Recipe", "Suite"]
