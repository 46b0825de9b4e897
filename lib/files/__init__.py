"""Files and disks: checksums, JSON, full disks."""
