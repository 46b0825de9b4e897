"""What a finished run says of itself: its verdict and its report."""
