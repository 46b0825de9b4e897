"""Source files: fetched, unpacked, told apart."""
