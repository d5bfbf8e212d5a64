"""Parts that several lessons share, each named by the first lesson that uses it."""
