"""The vocabulary shared with Harbor. Nothing here imports from the rest of the package but `errors`."""
