"""The report: one page that opens from disk, and its figures."""
