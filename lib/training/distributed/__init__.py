"""Training in several processes, on one machine or on many: how they meet, are started, and are listened to."""
