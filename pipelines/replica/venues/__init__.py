"""One file a dialect: how each exchange words the same tape."""
