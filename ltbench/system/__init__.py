"""The machine: files written whole, locks, signals, temporary folders, URIs, remote stores."""
