"""Several recipes side by side: what they share, a process for each training, and what is recorded of it."""
