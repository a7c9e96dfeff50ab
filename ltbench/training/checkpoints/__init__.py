"""Where a trial stands, for the next process."""
