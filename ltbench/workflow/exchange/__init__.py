"""Work shared with other repositories: splits go out, predictions come in."""
