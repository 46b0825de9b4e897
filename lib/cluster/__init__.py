"""Where the parts of a step are computed: here, by processes of this machine, or by a Ray cluster."""
