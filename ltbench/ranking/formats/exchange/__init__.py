"""A board in the formats of other projects."""
