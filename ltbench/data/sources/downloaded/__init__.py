"""Data sets that are fetched from where their authors offer them and checked by their published checksums."""
