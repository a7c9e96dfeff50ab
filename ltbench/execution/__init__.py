"""A plan's trials on the machines there are: Ray, placement, sharing, progress."""
