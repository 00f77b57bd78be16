"""The venues we read, one adapter a file."""
