"""Whether scored messages still resemble those that a classifier was measured on."""
