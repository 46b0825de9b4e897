"""The comparison of variants on the same messages: what chance explains, which one is chosen, and how it is shown."""
