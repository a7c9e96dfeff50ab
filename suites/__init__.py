"""Suites that come with ltbench; `ltbench run quickstart` finds them by name."""
