"""The scoring server's application and its page."""
