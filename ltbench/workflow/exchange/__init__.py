"""Work shared with other repositories: splits go out, predictions come in; two sets of results side by side; views."""
