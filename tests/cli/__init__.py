"""The command line: its options, what a run writes, how one is resumed, and how a model is trained."""
