"""Decoding, the decoded cache, crops."""
