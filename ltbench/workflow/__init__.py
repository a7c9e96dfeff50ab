"""What a user asks for, without a terminal: plan, run, find, report, sync, import."""
