"""Results of other frameworks, kept as files, and what it takes to compare with them."""
