"""ltbench itself on a machine with a GPU and few packages: numbers first, then speed."""
