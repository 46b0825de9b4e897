"""The artifact store, its housekeeping, and the code's part of a cache key."""
