"""What results look like on the disk: the journal, a suite's folders, files of scores."""
